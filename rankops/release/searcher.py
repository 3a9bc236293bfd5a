"""A retriever's files, loaded: what answers a search in the server, in golden answers and in predictions alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankops.encoding import OnnxEncoder
from rankops.errors import IntegrityError
from rankops.fusion import DIGITS, Hybrid, load_fusion, top_rows
from rankops.lexical import LexicalIndex
from rankops.release.index import ProductIndex
from rankops.text import normalize_query

ENCODER, INDEX, LEXICAL = "encoder", "index", "lexical"
"""Folders of a retriever's bundle; the last is there where it is a hybrid."""


@dataclass(frozen=True)
class Found:
    """Products, best first, their scores, and the seconds of each stage that ran (encode, search, lexical, rerank)."""

    product_ids: list[str]
    scores: list[float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Searcher:
    """Encoder and index, and for a hybrid its lexical index and fusion. Safe to share between threads."""

    encoder: OnnxEncoder
    index: ProductIndex
    hybrid: Hybrid | None

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1) -> Searcher:
        """Load a retriever's bundle. Raises :class:`IntegrityError` where its parts do not belong together."""
        encoder = OnnxEncoder(folder / ENCODER, threads=threads)
        index = ProductIndex.open(folder / INDEX, encoder_digest=encoder.digest)
        fusion = load_fusion(folder)
        hybrid = None if fusion is None else Hybrid(fusion, LexicalIndex.open(folder / LEXICAL))
        if hybrid is not None and len(hybrid.lexical) != len(index):
            raise IntegrityError(
                f"{folder}: the lexical index has {len(hybrid.lexical)} products, the vectors are of {len(index)}",
                "roll back to the last release that verified, and rematerialize this one",
            )
        return cls(encoder, index, hybrid)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``(n, d)`` unit vectors of queries, each encoded alone."""
        return self.encoder.encode([normalize_query(text) for text in texts], role="query")

    def search(self, query: str, k: int) -> Found:
        """The ``k`` best products; equal scores are ordered by product id, also at the cut.

        A score is the fused one of a hybrid (0..1, see :mod:`rankops.fusion`), else the cosine.
        """
        scores, seconds = self.scores(query)
        started = time.perf_counter()
        rows = top_rows(scores, k)
        seconds["rerank"] += time.perf_counter() - started
        return Found([self.index.product_ids[row] for row in rows], _shown(scores[rows]), seconds)

    def scores(self, query: str, also: Sequence[int] = ()) -> tuple[np.ndarray, dict[str, float]]:
        """float32 ``(N,)``, rounded so that equal products tie, and the seconds of each stage.

        ``also``: see :meth:`rankops.fusion.Hybrid.scores`.
        """
        clock = _Clock()
        (vector,) = self.embed([query])
        clock.lap("encode")
        cosines = self.index.scores(vector)
        clock.lap("search")
        if self.hybrid is None:
            scores = np.round(cosines, DIGITS)
        else:
            matches = self.hybrid.lexical.match(query)
            clock.lap("lexical")
            scores = self.hybrid.rerank(cosines, matches, self.index.vectors, also)
        clock.lap("rerank")
        return scores, clock.seconds


def _shown(scores: np.ndarray) -> list[float]:
    return [round(float(score), DIGITS) for score in scores]


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
