"""The ranker's tabular features of a dataset's judged pairs, and which of them are worth their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rankops.dataset import Dataset
    from rankops.feature_selection import FeatureScore

Progress = Callable[[str], None]


def pair_table(dataset: Dataset, progress: Progress) -> tuple[NDArray[np.float32], list[str], NDArray[np.int64]]:
    """Features (rows, features), their names and the labels (right or wrong) of the train split's judged pairs.

    Beside the texts: the product's log price and log clicks where the dataset knows them. Raises
    :class:`rankops.errors.BadInput` where the split has no judged pair.
    """
    import polars as pl

    from rankops.pair_features import NAMES, clean_text, fit_features
    from rankops.training.crossencoder_data import judged_pairs

    found = judged_pairs(dataset, "train")
    progress(f"features of {len(found):,} judged pairs")
    features = fit_features(
        [text for pair in found.pairs for text in pair] + [clean_text(t) for t in dataset.product_texts()]
    )
    values = features(found.pairs)
    # judged_pairs sorts by query and product, and keeps what has a query and a product: so does this.
    train = dataset.split("train").select("query_id")
    rows = dataset.judgements.sort("query_id", "product_id").join(
        train, on="query_id", how="semi", maintain_order="left"
    )
    clicks = dataset.interactions.filter("clicked").group_by("product_id").len("clicks")
    known = (
        rows.join(dataset.catalogue.select("product_id", "price"), on="product_id", how="inner", maintain_order="left")
        .join(clicks, on="product_id", how="left", maintain_order="left")
        .select(
            pl.col("price").log1p().fill_null(strategy="mean").fill_null(0.0).alias("log price"),
            pl.col("clicks").fill_null(0).log1p().alias("log clicks"),
        )
    )
    table = np.hstack([values, known.to_numpy().astype(np.float32)])
    return table, [*NAMES, *known.columns], found.labels.astype(np.int64)


def feature_report(dataset: Dataset, *, keep: int, seed: int, progress: Progress) -> list[FeatureScore]:
    """Every feature with what it tells and whether it is kept; see :mod:`rankops.feature_selection`."""
    from rankops.feature_selection import select_features

    values, names, labels = pair_table(dataset, progress)
    progress(f"mutual information and chi-square of {len(names)} features")
    return select_features(values, names, labels, keep=keep, seed=seed)
