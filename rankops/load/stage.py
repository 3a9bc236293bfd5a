"""One run of a generator: send what is due, read what comes, and count it."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rankops.load.connections import READ, WRITE, Connection, Connections
from rankops.load.result import StageResult
from rankops.load.sources import Source

_IDLE_WAIT = 0.25
Tick = Callable[[float], None]


@dataclass(frozen=True)
class Options:
    """How requests are sent. ``label`` names a header of the answer whose values are counted."""

    timeout: float = 10.0
    connections: int = 256
    label: bytes | None = b"x-rankops-release"


DEFAULT = Options()


class Stage:
    """What is due, in flight, and waiting for a connection.

    ``requests`` never ends; what was due before ``count_from`` is sent and not counted. ``last_answer``: when the last
    one came that was counted.
    """

    def __init__(
        self,
        connections: Connections,
        requests: Iterator[bytes],
        options: Options,
        source: Source,
        result: StageResult,
        count_from: float,
    ) -> None:
        self._connections, self._requests, self._options = connections, requests, options
        self._source, self._result, self._count_from = source, result, count_from
        self._backlog: deque[float] = deque()
        self._flying: deque[tuple[float, Connection, float]] = deque()  # (gives up at, connection, intended)
        self._in_flight = 0
        self.last_answer = 0.0

    def run(self, start: float, tick: Tick | None) -> None:
        """Until every request of the source has its answer, or was given up."""
        next_tick = start
        while True:
            now = time.perf_counter()
            self._backlog.extend(self._source.due(now))
            while self._backlog and self._send_one(now):
                pass
            self._give_up(now)
            if tick is not None and now >= next_tick:
                tick(now - start)
                next_tick = now + _IDLE_WAIT
            if not self._in_flight and not self._backlog and self._source.exhausted(now):
                return
            for key, events in self._connections.wait(self._until(now)):
                self._handle(key.data, events)

    def _until(self, now: float) -> float:
        wait = _IDLE_WAIT
        if (due := self._source.next()) is not None:
            wait = min(wait, due - now)
        if self._flying:
            wait = min(wait, self._flying[0][0] - now)
        return wait

    def _send_one(self, now: float) -> bool:
        """Send the oldest request that waits, if a connection is free or may be opened."""
        if (connection := self._connections.take()) is None:
            return False
        self._put(connection, self._backlog.popleft(), next(self._requests), now)
        return True

    def _put(self, connection: Connection, intended: float, request: bytes, now: float) -> None:
        connection.busy, connection.intended, connection.sent, connection.request = True, intended, now, request
        connection.answer.reset()
        connection.out = request
        self._in_flight += 1
        self._flying.append((intended + self._options.timeout, connection, intended))
        if connection.connected:
            self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            gone = connection.sock.send(connection.out)
        except BlockingIOError:
            gone = 0
        except OSError:
            self._lost(connection, "closed")
            return
        connection.out = connection.out[gone:]
        self._connections.watch(connection, READ | WRITE if connection.out else READ)

    def _handle(self, connection: Connection, events: int) -> None:
        if not connection.connected:
            if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lost(connection, "connect")
                return
            connection.connected = True
            self._flush(connection)
        elif connection.out and events & WRITE:
            self._flush(connection)
        if connection.connected and connection in self._connections and events & READ:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not connection.busy:
            self._connections.drop(connection)  # the server closed a connection that nobody used (or spoke unasked)
            return
        answer = connection.answer
        if not data:
            if answer.end == -3:
                self._done(connection)
            else:
                self._lost(connection, "closed")
            return
        answer.buffer += data
        try:
            complete = answer.complete()
        except ValueError:
            self._lost(connection, "malformed")
            return
        if complete:
            self._done(connection)

    def _done(self, connection: Connection) -> None:
        now, result, answer = time.perf_counter(), self._result, connection.answer
        self._release(connection, now)
        if connection.intended >= self._count_from:
            result.sent += 1
            result.statuses[answer.status] += 1
            result.lag.record(connection.sent - connection.intended)
            if 200 <= answer.status < 300:
                result.answered += 1
                result.latency.record(now - connection.intended)
                self.last_answer = now
            else:
                result.failures[f"status {answer.status}"] += 1
            if self._options.label is not None:
                result.labels[(answer.header(self._options.label) or b"").decode("latin-1")] += 1
        connection.fresh = False
        if answer.close:
            self._connections.drop(connection)
        else:
            self._connections.keep(connection)

    def _release(self, connection: Connection, now: float) -> None:
        connection.busy = False
        self._in_flight -= 1
        self._source.answered(now)

    def _lost(self, connection: Connection, kind: str) -> None:
        """The connection ended without an answer. A kept one may have been closed just before: once more on a new one,
        as every proxy does (RFC 9112, 9.3.1); its latency goes on counting."""
        now = time.perf_counter()
        again = kind == "closed" and not connection.fresh and not connection.answer.buffer
        intended, request = connection.intended, connection.request
        self._connections.drop(connection)
        if again:
            self._result.reconnects += 1
            self._in_flight -= 1
            connection.busy = False
            self._put(self._connections.open(), intended, request, now)
            return
        self._release(connection, now)
        self._count_failure(connection, kind)

    def _count_failure(self, connection: Connection, kind: str) -> None:
        if connection.intended >= self._count_from:
            self._result.sent += 1
            self._result.failures[kind] += 1
            self._result.lag.record(connection.sent - connection.intended)

    def _give_up(self, now: float) -> None:
        """Time-outs: counted with the time that they waited at least, so that they cannot improve a percentile."""
        timeout = self._options.timeout
        while self._flying:
            gives_up, connection, intended = self._flying[0]
            if connection.busy and connection.intended == intended:
                if gives_up > now:
                    break
                self._connections.drop(connection)
                self._release(connection, now)
                self._expire(connection, now)
            self._flying.popleft()
        while self._backlog and now - self._backlog[0] > timeout:  # never had a connection
            intended = self._backlog.popleft()
            self._source.answered(now)
            if intended >= self._count_from:
                self._result.sent += 1
                self._result.failures["timeout"] += 1
                self._result.latency.record(now - intended)

    def _expire(self, connection: Connection, now: float) -> None:
        self._count_failure(connection, "timeout")
        if connection.intended >= self._count_from:
            self._result.latency.record(now - connection.intended)
