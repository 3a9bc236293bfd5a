"""An advisory lock on a file that dies with whoever holds it (and with the children that were handed it)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, seconds: float) -> Iterator[int | None]:
    """Hold the lock on ``path``; yields its descriptor, or None when it was not free within ``seconds``.

    A child that inherits the descriptor keeps the lock until it ends too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor if _acquire(descriptor, time.monotonic() + seconds) else None
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
            continue
        return True
