"""Who waits for an answer: how long they will, and whether they are still there.

The middleware opens a :class:`Caller` around each request; the service reads it where work is queued, so that no
endpoint has to hand it on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.types import Receive

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
_RAW_HEADER = TIMEOUT_HEADER.lower().encode()
_PATIENCE = 0.02
"""Seconds that work may take before we look whether its caller has hung up: most never pay for looking."""


class GoneError(Exception):
    """The caller has hung up: nobody reads an answer any more."""


class Caller:
    """One request's caller. ``started`` is the time (``time.perf_counter``) at which the request began."""

    __slots__ = ("_asked", "_headers", "_receive", "_watch", "gone", "started")

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, started: float) -> None:
        self._headers = headers
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self.started = started
        self.gone = False
        self._asked: float | None = None

    def ask(self, milliseconds: float) -> None:
        """The body asks for an answer within this time, as the protocol v2's parameter ``timeout`` does."""
        self._asked = milliseconds

    def deadline(self, longest_ms: float | None) -> float | None:
        """A time of ``time.perf_counter``: the header's or, where it comes first, the server's own limit.

        Raises ``ValueError`` for a header that is not a positive number of milliseconds.
        """
        known = [ms for ms in (longest_ms, self._asked) if ms is not None]
        asked = min(known) if known else None
        for name, value in self._headers:
            if name == _RAW_HEADER:
                given = _milliseconds(value)
                asked = given if asked is None else min(asked, given)
        return None if asked is None else self.started + asked / 1e3

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Cancel this task's work once the caller hangs up; raises :class:`GoneError` then.

        The request's body must have been read: what is received from then on is the end of the connection.
        """
        task = asyncio.current_task()
        if task is None:
            yield
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_PATIENCE, self._look, task)
        try:
            yield
        except asyncio.CancelledError:
            if not self.gone:
                raise  # somebody else ends this task
            task.uncancel()
            raise GoneError from None
        finally:
            timer.cancel()
            if self._watch is not None:
                self._watch.cancel()

    def _look(self, task: asyncio.Task[object]) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._hung_up(task))

    async def _hung_up(self, task: asyncio.Task[object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            await asyncio.sleep(_PATIENCE)  # a server may hand out the empty body of a GET again and again
        self.gone = True
        task.cancel()


def _milliseconds(value: bytes) -> float:
    try:
        given = float(value)
    except ValueError:
        given = 0.0
    if not 0 < given < 1e9:
        text = value.decode("latin-1")[:32]
        raise ValueError(f"{TIMEOUT_HEADER} must be a positive number of milliseconds, not {text!r}")
    return given


_CALLER: ContextVar[Caller | None] = ContextVar("rankops_caller", default=None)


def caller() -> Caller | None:
    """The caller of the request that is answered here; None outside of one."""
    return _CALLER.get()


def enter_caller(who: Caller) -> None:
    """Note the caller of this task's request."""
    _CALLER.set(who)
