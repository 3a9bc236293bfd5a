"""A loaded release: verified, then encoder, index and products in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankops.encoding import OnnxEncoder
from rankops.errors import IntegrityError
from rankops.release.bundle import ENCODER, INDEX, PRODUCT_COLUMNS, PRODUCTS
from rankops.release.index import ProductIndex
from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import verify
from rankops.serving.config import ServerConfig
from rankops.text import normalize_query

_REFUSED = "roll back to the last release that verified, and rematerialize this one"


@dataclass(frozen=True)
class Answer:
    """The products of one search, best first, and the seconds that its stages took."""

    results: list[dict[str, Any]]
    encode_seconds: float
    search_seconds: float


@dataclass(frozen=True)
class Engine:
    """Everything that answering needs. Safe to share between threads."""

    manifest: ReleaseManifest
    encoder: OnnxEncoder
    index: ProductIndex
    products: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, config: ServerConfig) -> Engine:
        """Verify the release, load it, and answer one query to warm up.

        Raises :class:`rankops.errors.BadInput` when something is missing and :class:`IntegrityError` when the
        signature, a digest, or the index's encoder is not right: there is no way to serve it all the same.
        """
        manifest = verify(config.release, config.public_key, config.digest)
        encoder = OnnxEncoder(config.release / ENCODER)
        if encoder.digest != manifest.encoder_digest:
            raise IntegrityError(
                f"the manifest's encoder is {manifest.encoder_digest}, the bundled one is {encoder.digest}", _REFUSED
            )
        index = ProductIndex.open(config.release / INDEX, encoder_digest=encoder.digest)
        engine = cls(manifest, encoder, index, _products(config, index))
        engine.search("warm up", 1)
        return engine

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.encoder.dimension

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``(n, d)`` unit vectors of queries."""
        return self.encoder.encode([normalize_query(text) for text in texts], role="query")

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


def _products(config: ServerConfig, index: ProductIndex) -> dict[str, dict[str, Any]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(config.release / PRODUCTS, columns=list(PRODUCT_COLUMNS)).to_pylist()
    products = {row["product_id"]: row for row in rows}
    if absent := [product_id for product_id in index.product_ids if product_id not in products]:
        raise IntegrityError(f"{PRODUCTS} lacks {len(absent)} products of the index, e.g. {absent[0]!r}", _REFUSED)
    return products
