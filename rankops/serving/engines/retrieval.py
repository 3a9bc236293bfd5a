"""A retriever, loaded: encoder, index and products in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankops.encoding import OnnxEncoder
from rankops.errors import IntegrityError
from rankops.release.index import ProductIndex
from rankops.release.manifest import ReleaseManifest
from rankops.release.products import read_products
from rankops.release.retrieval import EMBEDDING, ENCODER, INDEX, QUERY
from rankops.serving.config import ServerConfig
from rankops.serving.engines import REFUSED, Tensor
from rankops.text import normalize_query


@dataclass(frozen=True)
class Answer:
    """The products of one search, best first, and the seconds that its stages took."""

    results: list[dict[str, Any]]
    encode_seconds: float
    search_seconds: float


@dataclass(frozen=True)
class SearchEngine:
    """Implements :class:`rankops.serving.engines.Engine` for retrieval."""

    manifest: ReleaseManifest
    encoder: OnnxEncoder
    index: ProductIndex
    products: dict[str, dict[str, Any]]
    endpoint: str = "/search"
    inputs: tuple[Tensor, ...] = (Tensor(QUERY, "BYTES", (-1,)),)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """One embedding a query."""
        return (Tensor(EMBEDDING, "FP32", (-1, self.encoder.dimension)),)

    @property
    def summary(self) -> str:
        """How many products there are."""
        return f"{len(self.index):,} products"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``(n, d)`` unit vectors of queries."""
        return self.encoder.encode([normalize_query(text) for text in texts], role="query")

    def infer(self, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """Embeddings of queries."""
        return {EMBEDDING: self.embed(texts[QUERY])}

    def search(self, query: str, k: int, min_score: float | None = None) -> Answer:
        """The ``k`` best products for ``query``; below ``min_score`` (cosine) they are left out."""
        started = time.perf_counter()
        (vector,) = self.embed([query])
        encoded = time.perf_counter()
        ids, scores = self.index.search(vector, k)
        results = [
            {**self.products[product_id], "score": round(score, 6)}
            for product_id, score in zip(ids, scores.tolist(), strict=True)
            if min_score is None or score >= min_score
        ]
        return Answer(results, encoded - started, time.perf_counter() - encoded)


def load(config: ServerConfig, manifest: ReleaseManifest) -> SearchEngine:
    """Load a verified release. Raises :class:`IntegrityError` when index and encoder do not belong together."""
    encoder = OnnxEncoder(config.release / ENCODER)
    if encoder.digest != manifest.encoder_digest:
        raise IntegrityError(
            f"the manifest's encoder is {manifest.encoder_digest}, the bundled one is {encoder.digest}", REFUSED
        )
    index = ProductIndex.open(config.release / INDEX, encoder_digest=encoder.digest)
    engine = SearchEngine(manifest, encoder, index, read_products(config.release, index.product_ids))
    engine.search("warm up", 1)
    return engine
