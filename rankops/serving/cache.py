"""Answers that were given before, and questions that are being answered right now.

A key names everything an answer depends on, the release's digest first, so that an answer of another release is never
given. Runs on the event loop only: no locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar

V = TypeVar("V")
Outcome = Literal["hit", "miss", "coalesced"]
_ENTRY_BYTES = 500
"""What an entry takes beside its value: a key of a short query, links, objects."""


class ResultCache(Generic[V]):
    """The least recently used go first, once there are ``max_entries`` or their sizes exceed ``max_bytes``.

    ``ttl``: seconds after which an answer is made anew (None: never; a release's answers do not age). ``size`` gives a
    value's bytes, ``evicted`` is called for each that makes room. Without room for one entry the cache is off.
    """

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int,
        size: Callable[[V], int],
        ttl: float | None = None,
        evicted: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries, self._max_bytes, self._ttl = max_entries, max_bytes, ttl
        self._size, self._evicted, self._clock = size, evicted, clock
        self._entries: OrderedDict[Hashable, _Entry[V]] = OrderedDict()
        self._flights: dict[Hashable, _Flight[V]] = {}
        self.bytes = 0

    @property
    def on(self) -> bool:
        """False where nothing is kept and nothing is shared."""
        return self._max_entries > 0 and self._max_bytes > 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """The value of ``key``, None where there is none or it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until is not None and self._clock() >= entry.until:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value, unless it alone is larger than the cache."""
        size = self._size(value) + _ENTRY_BYTES
        if not self.on or size > self._max_bytes:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = _Entry(value, size, None if self._ttl is None else self._clock() + self._ttl)
        self.bytes += size
        while len(self._entries) > self._max_entries or self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
            self._evicted()

    def clear(self) -> None:
        """Forget every value; what is being made is given to those who wait for it, and not kept."""
        self._entries.clear()
        self.bytes = 0
        for flight in self._flights.values():
            flight.keep = False
        self._flights = {}

    async def through(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> tuple[V, Outcome]:
        """The value of ``key``: kept, being made for somebody else, or made now by ``make``.

        ``make`` is cancelled once nobody waits for it any more, not when the first who asked goes away. Errors reach
        everybody who waits, and are not kept.
        """
        if (kept := self.get(key)) is not None:
            return kept, "hit"
        outcome: Outcome = "coalesced"
        flight = self._flights.get(key)
        if flight is None:
            outcome, flight = "miss", _Flight(asyncio.ensure_future(make()))
            self._flights[key] = flight
            flight.task.add_done_callback(partial(self._landed, key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task), outcome
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
                self._leave(key, flight)

    def _landed(self, key: Hashable, flight: _Flight[V], _task: object) -> None:
        self._leave(key, flight)
        if flight.keep and not flight.task.cancelled() and flight.task.exception() is None:
            self.put(key, flight.task.result())

    def _leave(self, key: Hashable, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _drop(self, key: Hashable) -> None:
        self.bytes -= self._entries.pop(key).size


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    size: int
    until: float | None


@dataclass(eq=False, slots=True)
class _Flight(Generic[V]):
    task: asyncio.Future[V]
    waiting: int = 0
    keep: bool = True
