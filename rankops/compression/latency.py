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
_QUIET = 10
"""Percentile of a round that other work on the machine leaves alone: what a model is dropped by."""


def latencies(
    calls: Mapping[str, Callable[[T], object]],
    questions: Sequence[T],
    *,
    rounds: int = 3,
    drop: float | None = None,
    keep: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Milliseconds per question, one at a time: ``(rounds, len(questions))`` for each model's call.

    ``drop``: a model that took this many times the fastest's time in the first round gets no other, unless it is
    named in ``keep``; its array is ``(1, len(questions))``.
    """
    names = list(calls)
    taken: dict[str, list[list[float]]] = {name: [] for name in names}
    with _no_collection():
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                taken[name].append(_block(calls[name], questions))
            if number == 0 and drop is not None and len(questions):
                quiet = {name: float(np.percentile(taken[name][0], _QUIET)) for name in names}
                limit = drop * min(quiet.values())
                names = [name for name in names if quiet[name] <= limit or name in keep]
    return {name: np.asarray(blocks) for name, blocks in taken.items()}


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
