"""The generator: one thread, kept connections, and a clock that no answer can hold back."""

from __future__ import annotations

import gc
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rankops.errors import BadInput, RemoteUnavailable
from rankops.load.http import Answer, Target
from rankops.load.result import StageResult

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_IDLE_WAIT = 0.25
_HEAD_START = 0.01  # seconds to make ready before the first request is due
Tick = Callable[[float], None]


@dataclass(frozen=True)
class Options:
    """How requests are sent. ``label`` names a header of the answer whose values are counted."""

    timeout: float = 10.0
    connections: int = 256
    label: bytes | None = b"x-rankops-release"


class _Source(Protocol):
    """Which requests are due."""

    def due(self, now: float) -> Iterator[float]:
        """The intended times of the requests to send now, earliest first."""
        ...

    def next(self) -> float | None:
        """When the next one is due; None where that hangs on an answer, or there is none."""
        ...

    def answered(self, now: float) -> None:
        """A request ended."""
        ...

    def exhausted(self, now: float) -> bool:
        """Whether no more are to be sent."""
        ...


class _Open:
    """Open loop: a schedule that the server has no say in."""

    def __init__(self, offsets: np.ndarray, start: float) -> None:
        self._times = (offsets + start).tolist()
        self._at = 0

    def due(self, now: float) -> Iterator[float]:
        times = self._times
        while self._at < len(times) and times[self._at] <= now:
            self._at += 1
            yield times[self._at - 1]

    def next(self) -> float | None:
        return self._times[self._at] if self._at < len(self._times) else None

    def answered(self, now: float) -> None:
        pass

    def exhausted(self, now: float) -> bool:
        return self._at >= len(self._times)


class _Closed:
    """Closed loop: N clients, each asks again when it was answered."""

    def __init__(self, clients: int, until: float, start: float) -> None:
        self._ready = clients
        self._start, self._until = start, until
        self._begun = False

    def due(self, now: float) -> Iterator[float]:
        if (self._begun and now < self._until) or (not self._begun and now >= self._start):
            self._begun = True  # a first round is sent however late it is
            ready, self._ready = self._ready, 0
            yield from [now] * ready

    def next(self) -> float | None:
        return None if self._begun else self._start

    def answered(self, now: float) -> None:
        self._ready += 1

    def exhausted(self, now: float) -> bool:
        return self._begun and now >= self._until


class _Connection:
    __slots__ = ("answer", "busy", "connected", "events", "fresh", "intended", "out", "request", "sent", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.answer = Answer(bytearray())
        self.connected = False
        self.busy = False
        self.fresh = True  # no answer came on it yet
        self.out: bytes = b""
        self.events = _READ | _WRITE
        self.intended = self.sent = 0.0
        self.request = 0


class Generator:
    """Sends ``requests`` over and over, in order, to one server. One stage at a time; connections are kept between."""

    def __init__(self, target: Target, requests: Sequence[bytes], options: Options = Options()) -> None:
        if not requests:
            raise BadInput("there is no request to send", "give at least one query")
        self._requests, self._options = list(requests), options
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise RemoteUnavailable(f"{target.host}:{target.port}: {error}", "check the address") from error
        self._family: int = found[0]
        self._address: Any = found[4]
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._number = 0

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._all):
            self._drop(connection)
        self._selector.close()

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_loop(
        self, offsets: np.ndarray, *, rate: float | None = None, warm_up: float = 0.0, tick: Tick | None = None
    ) -> StageResult:
        """Send a request at each of ``offsets`` (seconds from now, rising), whatever the answers do.

        What is due in the first ``warm_up`` seconds is sent but not counted. ``tick`` is called about four times a
        second with the seconds since the start; it must be short.
        """
        return self._run(lambda start: _Open(offsets, start), StageResult(rate), warm_up, tick)

    def closed_loop(
        self, clients: int, seconds: float, *, warm_up: float = 0.0, tick: Tick | None = None
    ) -> StageResult:
        """``clients`` that each wait for their answer before they ask again: for latency without a queue, and for the
        throughput that an open loop cannot exceed."""
        length = warm_up + seconds
        return self._run(lambda start: _Closed(clients, start + length, start), StageResult(None), warm_up, tick)

    def _run(
        self, source: Callable[[float], _Source], result: StageResult, warm_up: float, tick: Tick | None
    ) -> StageResult:
        with _undisturbed():
            used, begun = time.thread_time(), time.perf_counter()
            start = begun + _HEAD_START
            stage = _Stage(self, source(start), result, start + warm_up)
            stage.run(start, tick)
            result.generator_cpu_seconds = time.thread_time() - used
        result.seconds = max(time.perf_counter() - begun, 1e-9)
        result.answered_seconds = max(stage.last_answer - start - warm_up, 0.0)
        return result

    # what a stage asks of the connections

    def _open(self) -> _Connection:
        sock = socket.socket(self._family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        sock.connect_ex(self._address)
        self._selector.register(sock, connection.events, connection)
        self._all.add(connection)
        return connection

    def _drop(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def _watch(self, connection: _Connection, events: int) -> None:
        if connection.events != events:
            connection.events = events
            self._selector.modify(connection.sock, events, connection)

    def _wait(self, seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
        # epoll waits in whole milliseconds; select on epoll's own descriptor has microseconds
        select.select([self._selector.fileno()], [], [], max(seconds, 0.0))  # type: ignore[attr-defined]
        return self._selector.select(0)


class _Stage:
    """One run of a generator: what is due, in flight, and waiting for a connection."""

    def __init__(self, generator: Generator, source: _Source, result: StageResult, count_from: float) -> None:
        self._g, self._source, self._result, self._count_from = generator, source, result, count_from
        self._backlog: deque[float] = deque()
        self._flying: deque[tuple[float, _Connection, float]] = deque()  # (gives up at, connection, intended)
        self._in_flight = 0
        self.last_answer = 0.0

    def run(self, start: float, tick: Tick | None) -> None:
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
            for key, events in self._g._wait(self._until(now)):
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
        g = self._g
        if g._idle:
            connection = g._idle.pop()
        elif len(g._all) < g._options.connections:
            try:
                connection = g._open()
            except OSError:  # no descriptor left: as if all connections were busy
                if not g._all:
                    raise
                return False
        else:
            return False
        g._number += 1
        self._put(connection, self._backlog.popleft(), g._number % len(g._requests), now)
        return True

    def _put(self, connection: _Connection, intended: float, request: int, now: float) -> None:
        connection.busy, connection.intended, connection.sent, connection.request = True, intended, now, request
        connection.answer.reset()
        connection.out = self._g._requests[request]
        self._in_flight += 1
        self._flying.append((intended + self._g._options.timeout, connection, intended))
        if connection.connected:
            self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        try:
            gone = connection.sock.send(connection.out)
        except BlockingIOError:
            gone = 0
        except OSError:
            self._lost(connection, "closed")
            return
        connection.out = connection.out[gone:]
        self._g._watch(connection, _READ | _WRITE if connection.out else _READ)

    def _handle(self, connection: _Connection, events: int) -> None:
        if not connection.connected:
            if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._lost(connection, "connect")
                return
            connection.connected = True
            self._flush(connection)
        elif connection.out and events & _WRITE:
            self._flush(connection)
        if connection.connected and connection in self._g._all and events & _READ:
            self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not connection.busy:
            self._g._drop(connection)  # the server closed a connection that nobody used (or spoke unasked)
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

    def _done(self, connection: _Connection) -> None:
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
            if self._g._options.label is not None:
                result.labels[(answer.header(self._g._options.label) or b"").decode("latin-1")] += 1
        connection.fresh = False
        if answer.close:
            self._g._drop(connection)
        else:
            self._g._idle.append(connection)

    def _release(self, connection: _Connection, now: float) -> None:
        connection.busy = False
        self._in_flight -= 1
        self._source.answered(now)

    def _lost(self, connection: _Connection, kind: str) -> None:
        """The connection ended without an answer. A kept one may have been closed just before: once more on a new one,
        as every proxy does (RFC 9112, 9.3.1); its latency goes on counting."""
        now = time.perf_counter()
        again = kind == "closed" and not connection.fresh and not connection.answer.buffer
        intended, request = connection.intended, connection.request
        self._g._drop(connection)
        if again:
            self._result.reconnects += 1
            self._in_flight -= 1
            connection.busy = False
            self._put(self._g._open(), intended, request, now)
            return
        self._release(connection, now)
        self._count_failure(connection, kind)

    def _count_failure(self, connection: _Connection, kind: str) -> None:
        if connection.intended >= self._count_from:
            self._result.sent += 1
            self._result.failures[kind] += 1
            self._result.lag.record(connection.sent - connection.intended)

    def _give_up(self, now: float) -> None:
        """Time-outs: counted with the time that they waited at least, so that they cannot improve a percentile."""
        timeout = self._g._options.timeout
        while self._flying:
            gives_up, connection, intended = self._flying[0]
            if connection.busy and connection.intended == intended:
                if gives_up > now:
                    break
                self._g._drop(connection)
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

    def _expire(self, connection: _Connection, now: float) -> None:
        self._count_failure(connection, "timeout")
        if connection.intended >= self._count_from:
            self._result.latency.record(now - connection.intended)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No collection of garbage while a stage runs: its pauses would be told as the server's."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
