"""Recorded searches through a result cache: how often it would have known the answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from rankops.advice.facts import Replay
from rankops.text import normalize_query

SIZES = (1_000, 5_000, 20_000, 100_000)


def replay(queries: Iterable[str], sizes: Sequence[int] = SIZES) -> tuple[Replay, ...]:
    """One :class:`Replay` a size, of the same queries in order of time; none without queries.

    Caches begin empty, so the first search of each query is a miss, as after a deploy.
    """
    asked = [normalize_query(query) for query in queries]
    return tuple(Replay(size, _hits(asked, size) / len(asked), len(asked)) for size in sizes) if asked else ()


def _hits(asked: Sequence[str], size: int) -> int:
    kept: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for query in asked:
        if query in kept:
            hits += 1
            kept.move_to_end(query)
        else:
            kept[query] = None
            if len(kept) > size:
                kept.popitem(last=False)
    return hits
