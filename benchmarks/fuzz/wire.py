"""HTTP/1.1 on a socket, without the good manners of a client library: bytes out, status and body back."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass, field

NO_ANSWER = 0
"""Status of a connection that the server closed without an answer."""


@dataclass(frozen=True)
class Sent:
    """One request. ``raw`` is sent as it is; else the rest is framed properly, whatever it contains."""

    kind: str
    method: str = "GET"
    target: bytes = b"/"
    headers: tuple[tuple[str, bytes], ...] = ()
    body: bytes | None = None
    chunked: bool = False
    raw: bytes | None = None

    def framed(self) -> bytes:
        """The bytes on the wire."""
        if self.raw is not None:
            return self.raw
        lines = [b"%b %b HTTP/1.1" % (self.method.encode(), self.target), b"Host: fuzz"]
        lines += [name.encode() + b": " + value for name, value in self.headers]
        body = self.body
        if body is None:
            return b"\r\n".join([*lines, b"", b""])
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", body])


@dataclass(frozen=True)
class Got:
    """What came back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Wire:
    """A connection that is opened again whenever the server has closed it."""

    def __init__(self, host: str, port: int, timeout: float = 20.0) -> None:
        self._address, self._timeout = (host, port), timeout
        self._socket: socket.socket | None = None
        self._rest = b""

    def ask(self, sent: Sent) -> Got:
        """The answer. Raises ``TimeoutError`` when none came in time, ``ConnectionRefusedError`` without a server."""
        if sent.raw is not None:
            return self._ask_raw(sent.raw)
        for fresh in (self._socket is None, True):
            if fresh:
                self.close()
                self._socket = socket.create_connection(self._address, self._timeout)
            try:
                self._send(sent.framed())
                got = self._read(sent.method)
            except (ConnectionError, EOFError):
                self.close()
                if fresh:
                    return Got(NO_ANSWER)
                continue
            if got.headers.get("connection") == "close":
                self.close()
            return got
        return Got(NO_ANSWER)

    def _ask_raw(self, raw: bytes) -> Got:
        """The first answer to bytes that may be anything; nothing more is sent after them."""
        self.close()
        self._socket = socket.create_connection(self._address, self._timeout)
        try:
            self._send(raw)
            self._socket.shutdown(socket.SHUT_WR)
            return self._read(raw.lstrip(b"\r\n").partition(b" ")[0].decode("latin-1"))
        except (ConnectionError, EOFError):
            return Got(NO_ANSWER)
        finally:
            self.close()

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        with suppress(ConnectionError):  # an early refusal may be waiting for us all the same
            self._socket.sendall(data)

    def _read(self, method: str) -> Got:
        while True:
            head = self._until(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            status = int(first.split(b" ", 2)[1])
            headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in lines if line)
            if status >= 200:
                break
        if method == "HEAD" or status in (204, 304):
            return Got(status, headers)
        return Got(status, headers, self._exactly(int(headers.get("content-length", "0"))))

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(end)
        return head

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        body, self._rest = self._rest[:size], self._rest[size:]
        return body

    def _more(self) -> None:
        assert self._socket is not None
        chunk = self._socket.recv(1 << 16)
        if not chunk:
            raise EOFError
        self._rest += chunk

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""
