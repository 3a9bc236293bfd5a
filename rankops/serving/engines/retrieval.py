"""A retriever, loaded: encoder, indexes and products in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankops.errors import IntegrityError
from rankops.release.manifest import ReleaseManifest
from rankops.release.products import read_products
from rankops.release.retrieval import EMBEDDING, QUERY
from rankops.release.searcher import Searcher
from rankops.serving.config import ServerConfig
from rankops.serving.engines import REFUSED, Tensor


@dataclass(frozen=True)
class Answer:
    """The products of one search, best first, and the seconds of its stages (encode, search, lexical, rerank)."""

    results: list[dict[str, Any]]
    seconds: dict[str, float]


@dataclass(frozen=True)
class SearchEngine:
    """Implements :class:`rankops.serving.engines.Engine` for retrieval."""

    manifest: ReleaseManifest
    searcher: Searcher
    products: dict[str, dict[str, Any]]
    endpoint: str = "/search"
    inputs: tuple[Tensor, ...] = (Tensor(QUERY, "BYTES", (-1,)),)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """One embedding a query."""
        return (Tensor(EMBEDDING, "FP32", (-1, self.searcher.encoder.dimension)),)

    @property
    def summary(self) -> str:
        """How many products there are, and what finds them."""
        how = "vectors" if self.searcher.hybrid is None else "vectors and words"
        return f"{len(self.products):,} products, by {how}"

    def infer(self, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """Embeddings of queries."""
        return {EMBEDDING: self.searcher.embed(texts[QUERY])}

    def search(self, query: str, k: int, min_score: float | None = None) -> Answer:
        """The ``k`` best products for ``query``; those that score below ``min_score`` are left out."""
        found = self.searcher.search(query, k)
        results = [
            {**self.products[product_id], "score": score}
            for product_id, score in zip(found.product_ids, found.scores, strict=True)
            if min_score is None or score >= min_score
        ]
        return Answer(results, found.seconds)


def load(config: ServerConfig, manifest: ReleaseManifest) -> SearchEngine:
    """Load a verified release. Raises :class:`IntegrityError` when its parts do not belong together."""
    searcher = Searcher.open(config.release)
    if (digest := searcher.encoder.digest) != manifest.encoder_digest:
        raise IntegrityError(
            f"the manifest's encoder is {manifest.encoder_digest}, the bundled one is {digest}", REFUSED
        )
    engine = SearchEngine(manifest, searcher, read_products(config.release, searcher.index.product_ids))
    engine.search("warm up", 1)
    return engine
