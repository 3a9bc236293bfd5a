"""How long one query takes, with the noise of the machine shared fairly between those compared.

Each round gives every encoder one block of all queries, in rotating order. Blocks, not single queries, because a
server runs one model and keeps its weights in the CPU's cache; rounds, because a shared machine slows and recovers.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from rankops.encoding import Encoder

_WARM_UP = 3


def query_latencies(
    encoders: Mapping[str, Encoder], queries: Sequence[str], *, rounds: int = 3
) -> dict[str, np.ndarray]:
    """Milliseconds per query, batch 1: ``(rounds, len(queries))`` for each encoder."""
    names = list(encoders)
    taken = {name: np.empty((rounds, len(queries))) for name in names}
    with _no_collection():
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                taken[name][number] = _block(encoders[name], queries)
    return taken


def product_throughput(encoder: Encoder, texts: Sequence[str]) -> tuple[np.ndarray, float]:
    """The vectors of ``texts`` and products per second while they were made."""
    start = time.perf_counter()
    vectors = encoder.encode(texts, role="product")
    return vectors, len(texts) / (time.perf_counter() - start)


def _block(encoder: Encoder, queries: Sequence[str]) -> list[float]:
    for query in queries[:_WARM_UP]:
        encoder.encode([query], role="query")
    taken = []
    for query in queries:
        start = time.perf_counter()
        encoder.encode([query], role="query")
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
