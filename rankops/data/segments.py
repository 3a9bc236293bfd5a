"""User segments: shoppers of like behaviour, by k-means over what their interactions show.

The features of a user are scaled to zero mean and unit variance: log searches, click share, purchases per click, mean
position of the clicks, log of the mean price clicked, and the share of clicks in each of the largest top-level
categories. The result is deterministic: users are sorted, the seed is fixed, ten starts are tried, and segments are
numbered by size. A query belongs to the segment that asks it most (measured against the segment's share of traffic), so
that evaluation can slice by it: ``info["slices"]["segment"]`` maps query ids to segment names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rankops.dataset import Dataset
from rankops.errors import BadInput

SEGMENTS = 5
CATEGORIES = 6
_STARTS = 10
_MIN_USERS_EACH = 10


@dataclass(frozen=True)
class Segments:
    """``users``: user_id, segment; ``profiles``: one row a segment with its users and the mean of each feature."""

    users: pl.DataFrame
    profiles: pl.DataFrame


def user_features(interactions: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """One row a user, sorted: ``user_id`` and the features (f64, no missing values) named in this module's text."""
    products = catalogue.select(
        "product_id", "price", pl.col("category").str.split(" > ").list.first().alias("department")
    )
    log = interactions.join(products, on="product_id", how="left")
    clicked = log.filter("clicked")
    largest = clicked.drop_nulls("department").group_by("department").len()
    departments = largest.sort(["len", "department"], descending=[True, False]).head(CATEGORIES)["department"].to_list()
    shown = log.group_by("user_id").agg(
        pl.col("search_id").n_unique().cast(pl.Float64).log1p().alias("log searches"),
        pl.col("clicked").mean().alias("click share"),
    )
    acted = clicked.group_by("user_id").agg(
        pl.col("purchased").mean().alias("purchases per click"),
        pl.col("position").mean().alias("mean position"),
        pl.col("price").log().mean().alias("log price"),
        *[(pl.col("department") == name).mean().alias(f"clicks in {name}") for name in departments],
    )
    table = shown.join(acted, on="user_id", how="left").sort("user_id")
    numbers = [name for name in table.columns if name != "user_id"]
    # Who never clicked has no price and no position; the mean says nothing about them, as it should.
    return table.with_columns(
        pl.col(name).cast(pl.Float64).fill_nan(None).fill_null(strategy="mean").fill_null(0.0) for name in numbers
    )


def user_segments(
    interactions: pl.DataFrame, catalogue: pl.DataFrame, *, segments: int = SEGMENTS, seed: int = 13
) -> Segments:
    """Cluster the users. Raises :class:`BadInput` for fewer than ten users a segment."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    table = user_features(interactions, catalogue)
    if segments < 2 or table.height < _MIN_USERS_EACH * segments:
        raise BadInput(f"{segments} segments of {table.height} users", f"{_MIN_USERS_EACH} users a segment are needed")
    names = [name for name in table.columns if name != "user_id"]
    values = table.select(names).to_numpy()
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    with threadpool_limits(1):  # sums of several threads differ in the last digit from run to run
        found = KMeans(n_clusters=segments, n_init=_STARTS, random_state=seed).fit_predict(scaled)
    labels = _labels(found, scaled, names)
    users = table.select("user_id").with_columns(pl.Series("segment", labels, dtype=pl.String))
    profiles = table.with_columns(users["segment"]).group_by("segment")
    described = profiles.agg(pl.len().alias("users"), *[pl.col(name).mean().round(4) for name in names])
    return Segments(users, described.sort("segment"))


def query_segments(interactions: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    """``query, segment``: who asks a query most often, relative to how much the segment asks at all; sorted."""
    searches = interactions.select("search_id", "user_id", "query").unique("search_id").join(users, on="user_id")
    share = searches.group_by("segment").len("all")
    asked = searches.group_by("query", "segment").len("asked").join(share, on="segment")
    ordered = asked.with_columns((pl.col("asked") / pl.col("all")).alias("rate")).sort(
        ["query", "rate", "segment"], descending=[False, True, False]
    )
    return ordered.unique("query", keep="first", maintain_order=True).select("query", "segment").sort("query")


def segment_slice(dataset: Dataset, *, segments: int = SEGMENTS, seed: int = 13) -> dict[str, str]:
    """``{query_id: segment}`` of the dev and test queries that were asked; empty where there are too few users."""
    from rankops.pairs import normalized

    if dataset.interactions["user_id"].n_unique() < _MIN_USERS_EACH * segments or dataset.queries.is_empty():
        return {}
    found = user_segments(dataset.interactions, dataset.catalogue, segments=segments, seed=seed)
    held_out = dataset.queries.filter(pl.col("split") != "train").select("query_id", "query")
    asked = query_segments(normalized(dataset.interactions), found.users)
    return dict(held_out.join(asked, on="query").sort("query_id").select("query_id", "segment").iter_rows())


def _labels(found: NDArray[np.int32], scaled: NDArray[np.float64], names: list[str]) -> list[str]:
    """Segments numbered by size, named by what sets them apart most: ``1 more log searches``."""
    counts = np.bincount(found)
    order = np.lexsort((np.arange(len(counts)), -counts))
    labels = {}
    for number, cluster in enumerate(order.tolist(), 1):
        centre = scaled[found == cluster].mean(axis=0)
        feature = int(np.abs(centre).argmax())
        labels[cluster] = f"{number} {'more' if centre[feature] > 0 else 'less'} {names[feature]}"
    return [labels[cluster] for cluster in found.tolist()]
