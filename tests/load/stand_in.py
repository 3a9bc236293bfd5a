"""A server with a service time that is known: one queue, answered by a clock and not by work."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

Behaviour = Callable[["Server", int], "tuple[float, bytes] | None"]
"""For the n-th request: seconds of service and the whole answer; None closes the connection unanswered."""


def ok(body: bytes = b"{}", status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Server:
    """Answers in order of arrival; ``free_at`` is when the one server of the queue is free."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.free_at = 0.0
        self.requests: list[bytes] = []
        self.connections = 0

    def handle(self, transport: asyncio.Transport, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.requests.append(request)
        answer = self.behaviour(self, len(self.requests) - 1)
        if answer is None:
            transport.close()
            return
        self.free_at = max(self.free_at, loop.time()) + answer[0]
        if answer[0] == 0:
            transport.write(answer[1])
        else:
            loop.call_at(self.free_at, transport.write, answer[1])


class _Protocol(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server, self.buffer = server, b""

    def connection_made(self, transport):  # type: ignore[no-untyped-def]
        self.transport = transport
        self.server.connections += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if mark:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(rest) >= length:
                self.buffer = rest[length:]
                self.server.handle(self.transport, head + mark + rest[:length])


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[tuple[str, Server]]:
    """The address and the server, in a thread of its own."""
    server, started, loop = Server(behaviour), threading.Event(), asyncio.new_event_loop()
    address: list[str] = []

    def run() -> None:
        listening = loop.run_until_complete(loop.create_server(lambda: _Protocol(server), "127.0.0.1", 0))
        address.append(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        started.set()
        loop.run_forever()
        listening.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(5)
    try:
        yield address[0], server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
