"""A ranker or matcher, loaded: the cross-encoder, product texts and products in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankops.cross_encoding import OnnxCrossEncoder
from rankops.errors import IntegrityError
from rankops.pace import rest
from rankops.release.manifest import ReleaseManifest
from rankops.release.products import read_products
from rankops.release.ranking import PRODUCT, QUERY, RANKER, SCORE
from rankops.release.texts import read_texts
from rankops.serving.config import ServerConfig
from rankops.serving.engines import REFUSED, Tensor


@dataclass(frozen=True)
class RankEngine:
    """Implements :class:`rankops.serving.engines.Engine` for ranking."""

    manifest: ReleaseManifest
    encoder: OnnxCrossEncoder
    texts: dict[str, str]
    products: dict[str, dict[str, Any]]
    endpoint: str = "/rerank"
    inputs: tuple[Tensor, ...] = (Tensor(QUERY, "BYTES", (-1,), long=True), Tensor(PRODUCT, "BYTES", (-1,), long=True))
    outputs: tuple[Tensor, ...] = (Tensor(SCORE, "FP32", (-1,)),)

    @property
    def summary(self) -> str:
        """How many products there are, and from which score a pair matches."""
        told = "" if self.threshold is None else f", match from {self.threshold:.3f}"
        return f"{len(self.texts):,} products{told}"

    @property
    def threshold(self) -> float | None:
        """The score from which two offers match; None for a ranker."""
        return self.encoder.config.threshold

    def infer(self, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """One probability a row."""
        return {SCORE: self.score(list(zip(texts[QUERY], texts[PRODUCT], strict=True))).astype(np.float32)}

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """float64 ``(len(pairs),)``."""
        return self.encoder.score(pairs)

    def rerank(self, query: str, product_ids: Sequence[str], texts: Sequence[str], k: int) -> list[dict[str, Any]]:
        """The ``k`` best products; what is known of them for display comes along, and where it applies ``match``."""
        ids, scores = self.encoder.rank(query, product_ids, texts, k)
        return [
            {**self.products.get(product_id, {"product_id": product_id}), **self.verdict(score)}
            for product_id, score in zip(ids, scores, strict=True)
        ]

    def verdict(self, score: float) -> dict[str, Any]:
        """``score`` and, for a matcher, ``match``."""
        return {"score": score} if self.threshold is None else {"score": score, "match": score >= self.threshold}


def load(config: ServerConfig, manifest: ReleaseManifest) -> RankEngine:
    """Load a verified release. Raises :class:`IntegrityError` where the cross-encoder is not the manifest's."""
    encoder = OnnxCrossEncoder(config.release / RANKER, providers=config.providers, session=config.session(manifest))
    if encoder.digest != manifest.encoder_digest:
        raise IntegrityError(
            f"the manifest's model is {manifest.encoder_digest}, the bundled one is {encoder.digest}", REFUSED
        )
    rest()
    texts = read_texts(config.release)
    rest()
    engine = RankEngine(manifest, encoder, texts, read_products(config.release, texts).shown)
    rest()
    engine.score([("warm up", "warm up")])
    return engine
