"""Which requests are due: by a schedule (open loop), or as clients get their answers (closed loop)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class Source(Protocol):
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


def open_loop(offsets: np.ndarray) -> Callable[[float], Source]:
    """From its start to a source whose requests are due at ``offsets`` (seconds after it, rising)."""
    return lambda start: _Open(offsets, start)


def closed_loop(clients: int, seconds: float) -> Callable[[float], Source]:
    """From its start to a source of ``clients`` that ask again when they were answered, for ``seconds``."""
    return lambda start: _Closed(clients, start + seconds, start)


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
