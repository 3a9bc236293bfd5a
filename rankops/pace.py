"""Long work beside a server's requests: it takes a small share of a core, and leaves the rest to them.

A lower priority would not do: a thread that the system sets aside while it holds the interpreter's lock keeps every
other thread waiting (measured at 80 % of capacity: three times as many refused requests as with no priority at all).
A paced thread sleeps instead, at places where it holds nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Paced(threading.local):
    share: float | None = None
    used: float = 0.0


_THREAD = _Paced()


@contextmanager
def paced(share: float) -> Iterator[None]:
    """Within, this thread uses about ``share`` (0..1) of a core where its work calls :func:`rest`.

    Raises ValueError for a share that is none.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of a core lies in (0, 1], not at {share}")
    before = _THREAD.share
    _THREAD.share, _THREAD.used = share, time.thread_time()
    try:
        yield
    finally:
        _THREAD.share = before


def is_paced() -> bool:
    """Whether this thread is."""
    return _THREAD.share is not None


def rest() -> None:
    """Sleep for what this thread has used of its core since the last rest; nothing where it is not paced.

    Called once in a few milliseconds of work, where no lock is held.
    """
    share = _THREAD.share
    if share is None:
        return
    time.sleep((time.thread_time() - _THREAD.used) * (1 / share - 1))
    _THREAD.used = time.thread_time()
