"""The keyword engine that ran before any model: fast, exact-match, and imperfect.

It indexes titles only (not attributes, not categories), knows no plural, no synonym, no jargon and no typo, and
breaks ties by popularity. Scores are sums of inverse document frequencies (no length normalisation).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from rankops.data.shop.catalogue import Floats, Ints

_WORD = re.compile(r"\w+")
_POPULARITY_WEIGHT = 0.3
DEPTH = 40  # products kept per query, enough to fill a page after late arrivals are filtered out


class KeywordEngine:
    """An inverted index over titles. ``popularity`` is one positive weight per title."""

    def __init__(self, titles: Sequence[str], popularity: Floats) -> None:
        postings: dict[str, list[int]] = defaultdict(list)
        for row, title in enumerate(titles):
            for word in set(_WORD.findall(title.lower())):
                postings[word].append(row)
        self._postings = {word: np.array(rows, dtype=np.int64) for word, rows in postings.items()}
        self._idf = {word: float(np.log1p(len(titles) / len(rows))) for word, rows in self._postings.items()}
        self._tie = _POPULARITY_WEIGHT * np.log1p(popularity) / np.log1p(popularity.max())
        self._scores = np.zeros(len(titles))
        self._cache: dict[str, Ints] = {}

    def rank(self, query: str) -> Ints:
        """Rows of up to ``DEPTH`` matching titles, best first; empty when no word of the query is known."""
        if query not in self._cache:
            self._cache[query] = self._rank(query)
        return self._cache[query]

    def _rank(self, query: str) -> Ints:
        known = [word for word in dict.fromkeys(_WORD.findall(query.lower())) if word in self._postings]
        if not known:
            return np.empty(0, dtype=np.int64)
        for word in known:
            self._scores[self._postings[word]] += self._idf[word]
        rows = np.flatnonzero(self._scores)
        scores = self._scores[rows] + self._tie[rows]
        self._scores[rows] = 0.0
        best = np.argpartition(-scores, DEPTH)[:DEPTH] if len(rows) > DEPTH else np.arange(len(rows))
        order = best[np.lexsort((rows[best], -scores[best]))]
        return rows[order]
