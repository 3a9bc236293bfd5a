"""A retriever's files, loaded: what answers a search in the server, in golden answers and in predictions alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankops.encoding import OnnxEncoder
from rankops.errors import IntegrityError
from rankops.fusion import DIGITS, FusedSearch, Wanted, load_fusion, rescored
from rankops.lexical import Floats
from rankops.onnx_session import CPU, DEFAULT, SessionSettings
from rankops.release.index import ProductIndex, best_of
from rankops.text import normalize_query
from rankops.weighted_words import WeightedWords

ENCODER, INDEX, LEXICAL = "encoder", "index", "lexical"
"""Folders of a retriever's bundle; the last is there where it is a hybrid."""


@dataclass(frozen=True)
class Found:
    """Products, best first, their scores, and the seconds of each stage that ran (encode, search, lexical, rerank).

    Of a search that ran with others the seconds are those of all of them: what it waited for.
    """

    product_ids: list[str]
    scores: list[float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Ranked:
    """Rows of the index, best first, and their scores, rounded to six digits."""

    rows: NDArray[np.intp]
    scores: Floats


@dataclass(frozen=True)
class Searcher:
    """Encoder and index, and for a hybrid its words and fusion. Safe to share between threads.

    A score is the fused one of a hybrid (0..1, see :mod:`rankops.fusion`), else the cosine. Equal scores are ordered
    by product id, also at the cut. Nothing that a query is answered depends on the queries beside it.
    """

    encoder: OnnxEncoder
    index: ProductIndex
    hybrid: FusedSearch | None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU,
        session: SessionSettings = DEFAULT,
    ) -> Searcher:
        """Load a retriever's bundle. Raises :class:`IntegrityError` where its parts do not belong together."""
        encoder = OnnxEncoder(folder / ENCODER, threads=threads, providers=providers, session=session)
        index = ProductIndex.open(folder / INDEX, encoder_digest=encoder.digest)
        fusion = load_fusion(folder)
        hybrid = None if fusion is None else FusedSearch(fusion, WeightedWords.open(folder / LEXICAL))
        if hybrid is not None and len(hybrid.words) != len(index):
            raise IntegrityError(
                f"{folder}: the lexical index has {len(hybrid.words)} products, the vectors are of {len(index)}",
                "roll back to the last release that verified, and rematerialize this one",
            )
        return cls(encoder, index, hybrid)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``(n, d)`` unit vectors of queries, each encoded alone."""
        return self.encoder.encode([normalize_query(text) for text in texts], role="query")

    def search(self, query: str, k: int) -> Found:
        """The ``k`` best products."""
        return self.search_many([query], [k])[0]

    def search_many(self, queries: Sequence[str], ks: Sequence[int]) -> list[Found]:
        """The ``ks[i]`` best products for each of ``queries``: the vectors are compared with all of them at once.

        Answers are those of :meth:`search`, bit by bit.
        """
        if not queries:
            return []
        started = time.perf_counter()
        vectors = self.embed(queries)
        return self.find_many(queries, vectors, ks, encode_seconds=time.perf_counter() - started)

    def find_many(
        self, queries: Sequence[str], vectors: Floats, ks: Sequence[int], *, encode_seconds: float = 0.0
    ) -> list[Found]:
        """:meth:`search_many` where the queries' ``vectors`` (n, d) were made already, see :meth:`embed`."""
        ranked, seconds = self._rank(queries, vectors, ks, [()] * len(queries))
        told = {"encode": encode_seconds, **seconds}
        return [Found([self.index.product_ids[row] for row in one.rows], _shown(one.scores), told) for one in ranked]

    def rank(self, query: str, k: int, also: Sequence[int] = ()) -> Ranked:
        """Rows of the ``k`` best products and, among them by score, the rows ``also`` (a judged pool)."""
        ranked, _ = self._rank([query], self.embed([query]), [k], [also])
        return ranked[0]

    def _rank(
        self, queries: Sequence[str], vectors: Floats, ks: Sequence[int], pools: Sequence[Sequence[int]]
    ) -> tuple[list[Ranked], dict[str, float]]:
        clock = _Clock()
        hybrid = self.hybrid
        if hybrid is None:
            words = None
            wanted = [_by_vector(k, pool) for k, pool in zip(ks, pools, strict=True)]
        else:
            words = [hybrid.words.match(query) for query in queries]
            wanted = [hybrid.wanted(said, k, pool) for said, k, pool in zip(words, ks, pools, strict=True)]
            clock.lap("lexical")
        candidates = self.index.candidates(vectors, wanted)
        clock.lap("search")
        ranked = []
        for number, rows in enumerate(candidates):  # one at a time: its vectors fit the processor's cache
            found = self.index.score(vectors[number], rows)
            if hybrid is None or words is None:
                scores = np.round(found.cosines, DIGITS)
            else:
                scores = hybrid.scores(found.rows, found.cosines, found.vectors, words[number], pools[number])
            ranked.append(Ranked(*best_of(found.rows, scores, ks[number], pools[number])))
        clock.lap("rerank")
        return ranked, clock.seconds


def _by_vector(k: int, also: Sequence[int]) -> Wanted:
    return Wanted(rescored(k), also=np.unique(np.asarray(also, dtype=np.intp)))


def _shown(scores: Floats) -> list[float]:
    return [round(score, DIGITS) for score in scores.tolist()]


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
