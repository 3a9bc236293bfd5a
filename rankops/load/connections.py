"""Kept connections to one server, without waiting for any of them."""

from __future__ import annotations

import select
import selectors
import socket
from typing import Any

from rankops.errors import RemoteUnavailable
from rankops.load.http import Answer, Target

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Connection:
    """One connection and what is under way on it.

    ``request`` was due at ``intended`` and went at ``sent``; ``out`` is left of it to send.
    """

    __slots__ = ("answer", "busy", "connected", "events", "fresh", "intended", "out", "request", "sent", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.answer = Answer(bytearray())
        self.connected = False
        self.busy = False
        self.fresh = True  # no answer came on it yet
        self.out: bytes = b""
        self.events = READ | WRITE
        self.intended = self.sent = 0.0
        self.request: bytes = b""


class Connections:
    """At most ``limit`` connections to ``target``, and the selector that watches them."""

    def __init__(self, target: Target, limit: int) -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise RemoteUnavailable(f"{target.host}:{target.port}: {error}", "check the address") from error
        self._family: int = found[0]
        self._address: Any = found[4]
        self._limit = limit
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._all

    def take(self) -> Connection | None:
        """An idle connection, or a new one; None where all are busy."""
        if self._idle:
            return self._idle.pop()
        if len(self._all) >= self._limit:
            return None
        try:
            return self.open()
        except OSError:  # no descriptor left: as if all connections were busy
            if not self._all:
                raise
            return None

    def open(self) -> Connection:
        """A new connection, which is being made."""
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        sock.connect_ex(self._address)
        self._selector.register(sock, connection.events, connection)
        self._all.add(connection)
        return connection

    def keep(self, connection: Connection) -> None:
        """It was answered, and waits for its next request."""
        self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """Close it."""
        self._all.discard(connection)
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def watch(self, connection: Connection, events: int) -> None:
        """What :meth:`wait` is to look for."""
        if connection.events != events:
            connection.events = events
            self._selector.modify(connection.sock, events, connection)

    def wait(self, seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Connections (``data`` of the key) on which something happened, and what; after ``seconds`` at the latest."""
        # epoll waits in whole milliseconds; select on epoll's own descriptor has microseconds
        select.select([self._selector.fileno()], [], [], max(seconds, 0.0))  # type: ignore[attr-defined]
        return self._selector.select(0)

    def close(self) -> None:
        """Close all."""
        for connection in list(self._all):
            self.drop(connection)
        self._selector.close()
