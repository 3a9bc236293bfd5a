"""How long one question takes, with the noise of the machine shared fairly between those compared.

Each round gives every model one block of all questions, in rotating order. Blocks, not single ones, because a
server runs one model and keeps its weights in the CPU's cache; rounds, because a shared machine slows and recovers.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_WARM_UP = 3


def latencies(
    calls: Mapping[str, Callable[[T], object]], questions: Sequence[T], *, rounds: int = 3
) -> dict[str, np.ndarray]:
    """Milliseconds per question, one at a time: ``(rounds, len(questions))`` for each model's call."""
    names = list(calls)
    taken = {name: np.empty((rounds, len(questions))) for name in names}
    with _no_collection():
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                taken[name][number] = _block(calls[name], questions)
    return taken


def _block(call: Callable[[T], object], questions: Sequence[T]) -> list[float]:
    for question in questions[:_WARM_UP]:
        call(question)
    taken = []
    for question in questions:
        start = time.perf_counter()
        call(question)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
