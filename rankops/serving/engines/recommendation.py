"""A recommender, loaded: the next-item model and products in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankops.errors import IntegrityError
from rankops.next_item import NextItemModel, Recommendation, load_next_item, next_item_digest
from rankops.pace import rest
from rankops.release.manifest import ReleaseManifest
from rankops.release.products import read_products
from rankops.release.recommendation import ITEMS, MODEL, PRODUCT_IDS, SCORES, V2_DEPTH, recommend_tensors
from rankops.serving.config import ServerConfig
from rankops.serving.engines import REFUSED, Tensor


@dataclass(frozen=True)
class RecommendEngine:
    """Implements :class:`rankops.serving.engines.Engine` for recommendation.

    ``unavailable`` are products that cannot be bought: no answer names them, unless a request asks for it. They still
    count as context, since what was bought yesterday says what goes with it.
    """

    manifest: ReleaseManifest
    model: NextItemModel
    products: dict[str, dict[str, Any]]
    categories: dict[str, str | None]
    unavailable: frozenset[str] = frozenset()
    endpoint: str = "/recommend"
    inputs: tuple[Tensor, ...] = (Tensor(ITEMS, "BYTES", (-1,)),)
    outputs: tuple[Tensor, ...] = (
        Tensor(PRODUCT_IDS, "BYTES", (-1, V2_DEPTH)),
        Tensor(SCORES, "FP32", (-1, V2_DEPTH)),
    )

    @property
    def summary(self) -> str:
        """How many products there are."""
        return f"{len(self.model.ids):,} products"

    def infer(self, texts: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """The 20 best products of each context."""
        return recommend_tensors(self.model, texts[ITEMS], self.unavailable)

    def recommend(
        self,
        items: Sequence[str],
        k: int,
        exclude: Sequence[str],
        max_per_category: int | None,
        include_unavailable: bool = False,
    ) -> Recommendation:
        """See :meth:`rankops.next_item.NextItemModel.recommend`."""
        barred = exclude if include_unavailable else self.unavailable.union(exclude)
        return self.model.recommend(
            items, k, exclude=barred, categories=self.categories, max_per_category=max_per_category
        )


def load(config: ServerConfig, manifest: ReleaseManifest) -> RecommendEngine:
    """Load a verified release. Raises :class:`IntegrityError` where the model is not the manifest's."""
    folder = config.release / MODEL
    if (digest := next_item_digest(folder)) != manifest.encoder_digest:
        raise IntegrityError(f"the manifest's model is {manifest.encoder_digest}, the bundled one is {digest}", REFUSED)
    model = load_next_item(folder)
    rest()
    products = read_products(config.release, model.ids)
    rest()
    categories = {product_id: product.get("category") for product_id, product in products.shown.items()}
    engine = RecommendEngine(manifest, model, products.shown, categories, products.unavailable)
    engine.recommend(model.ids[:1], 1, (), None)
    return engine
