"""What one connection may do before there is a request: uvicorn's protocol with the limits that it leaves out.

uvicorn bounds neither the size of headers (with httptools), nor the time that they or a body may take, nor how many
connections may be open; a caller who sends one byte a minute would hold a connection for ever, and one who never ends
its headers would fill the memory. The body's size is the application's business (:mod:`rankops.serving.body`).
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rankops.serving.config import ServerConfig
from rankops.serving.wire import OnePiece

_SPARE_SECONDS = 5.0
"""A body that is late is first refused by the application, with a text; the connection ends only after that."""


class HeadersTooLarge(Exception):
    """More header bytes than allowed."""


def limited_protocol(config: ServerConfig) -> type[HttpToolsProtocol]:
    """The protocol class of one server."""
    return type("LimitedProtocol", (_Limited,), {"limits": config})


class _Limited(OnePiece):
    limits: ServerConfig
    _timer: asyncio.TimerHandle | None = None
    _in_headers = True
    _header_bytes = 0
    _counted = 0
    _completed = False
    _too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection; one too many is told so and closed."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "too many connections are open; try again", "Retry-After: 1\r\n")
            return
        self._arm(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of it."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More bytes. Those of headers are counted, also of one header that does not end."""
        if self.parser is None or self.transport.is_closing():
            return  # we have answered, and read what had been sent before the caller heard it
        self._completed = False
        super().data_received(data)
        if self._in_headers and not self._completed:  # else an unknown part of these bytes was the request before
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.max_header_bytes:
                self._refuse_headers()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_headers, self._header_bytes, self._counted = True, 0, 0
        self._arm(self.limits.header_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; a request that brings its headers and body at once is counted here."""
        self._counted += len(name) + len(value) + 4
        if self._counted > self.limits.max_header_bytes:
            self._too_large = True
            raise HeadersTooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The application begins; the body may follow."""
        self._in_headers = False
        if len(self.url) + self._counted > self.limits.max_header_bytes:
            self._too_large = True
            raise HeadersTooLarge
        self._arm(self.limits.body_seconds + _SPARE_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of the request is here: from now on only we can be slow."""
        self._disarm()
        self._in_headers, self._header_bytes, self._completed = True, 0, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP, in the form of all our errors."""
        if self._too_large:
            self._refuse_headers()
        else:
            self._refuse(400, "the request is not HTTP/1.1")

    def _refuse_headers(self) -> None:
        self._refuse(431, f"the request line and headers are larger than {self.limits.max_header_bytes} bytes")

    def _refuse(self, status: int, message: str, header: str = "") -> None:
        if self.transport.is_closing():
            return
        self._disarm()
        body = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{header}connection: close\r\n\r\n"
        )
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:  # never into the middle of an answer
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._in_headers and self._header_bytes:
            self._refuse(408, "the request's headers did not arrive in time")
        else:  # nothing was asked, or the application has said that the body is late
            self.transport.close()


def settings(config: ServerConfig) -> dict[str, Any]:
    """Arguments of ``uvicorn.Config``."""
    return {"http": limited_protocol(config), "timeout_keep_alive": config.keep_alive_seconds}
