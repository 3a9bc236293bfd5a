"""Parts of the held-out queries: by popularity, category, brand, language, age of the product, length, user segment.

A *slicer* is a function from the dataset and its queries to one label a query (null: in no slice of this dimension), or
None where the data cannot say. A team adds one with :func:`slicer`, in a module of ``EvaluationSpec.plugins``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import cast

import polars as pl

from rankops.dataset import Dataset
from rankops.pairs import normalized

Slicer = Callable[[Dataset, pl.DataFrame], "pl.Series | None"]
"""Labels (String) of the queries, in their order; None where the dataset has nothing to tell by."""

STANDING = ("popularity", "category")
"""Dimensions that every dataset's queries have as columns."""
NEW_DAYS = 30
_LONG = 4
_ALIKE = 0.975
_REGULAR = 0.5  # the most active users who make half of the searches are regulars

_SLICERS: dict[str, Slicer] = {}


def slicer(name: str) -> Callable[[Slicer], Slicer]:
    """Register a dimension; its slices are reported as ``name=label``. The same name again replaces it."""

    def register(function: Slicer) -> Slicer:
        _SLICERS[name] = function
        return function

    return register


def with_slices(
    dataset: Dataset, queries: pl.DataFrame, *, more: Mapping[str, Slicer] | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """``queries`` with a column for each dimension that divides them, and the dimensions' names.

    A dimension in which nearly all queries are alike says no more than the whole, and is left out. ``more`` adds
    dimensions for this call only.
    """
    table, names = queries, [column for column in STANDING if column in queries.columns]
    for name, function in {**_SLICERS, **(more or {})}.items():
        labels = function(dataset, queries)
        if labels is not None and _divides(labels):
            table = table.with_columns(labels.cast(pl.String).alias(name))
            names.append(name)
    # Recommendation without categories: one value tells nothing apart.
    return table, [name for name in names if table[name].drop_nulls().n_unique() > 0]


def _divides(labels: pl.Series) -> bool:
    known = labels.drop_nulls()
    return known.n_unique() > 1 and cast("int", known.value_counts()["count"].max()) <= _ALIKE * known.len()


def last_day(dataset: Dataset) -> date | None:
    """The last day that the data knows: of its events, else of its description, else of its products."""
    days = dataset.interactions["day"].drop_nulls()
    if days.len():
        return cast("date", days.max())
    if told := dataset.info.get("last_day"):
        return date.fromisoformat(str(told))
    return cast("date | None", dataset.catalogue["added_day"].drop_nulls().max())


def new_products(dataset: Dataset, days: int = NEW_DAYS) -> pl.Series | None:
    """Whether each product of the catalogue (Boolean, null: unknown) was added in the last ``days`` days."""
    last, added = last_day(dataset), dataset.catalogue["added_day"]
    if last is None or added.null_count() == added.len():
        return None
    return added > last - timedelta(days=days)


def new_brands(dataset: Dataset, days: int = NEW_DAYS) -> pl.Series | None:
    """The same for its brand (the seller, where a shop sells its makers' goods): none of it is older."""
    fresh = new_products(dataset, days)
    if fresh is None or dataset.catalogue["brand"].drop_nulls().is_empty():
        return None
    table = dataset.catalogue.select("brand").with_columns(fresh.alias("fresh"))
    return table.select(
        pl.when(pl.col("brand").is_not_null() & (pl.col("brand") != "")).then(pl.col("fresh").all().over("brand"))
    ).to_series()


def by_best_product(dataset: Dataset, queries: pl.DataFrame, labels: pl.Series) -> pl.Series:
    """Each query's label: that of most of its best-graded products (the first by name in a tie).

    ``labels`` has one label (String) for each row of the catalogue.
    """
    known = dataset.catalogue.select("product_id").with_columns(labels.cast(pl.String).alias("label"))
    judged = dataset.judgements.filter(pl.col("grade") > 0)
    best = judged.filter(pl.col("grade") == pl.col("grade").max().over("query_id"))
    counted = best.join(known, on="product_id").drop_nulls("label").group_by("query_id", "label").len()
    ordered = counted.sort(["query_id", "len", "label"], descending=[False, True, False])
    first = ordered.unique("query_id", keep="first", maintain_order=True).select("query_id", "label")
    return queries.select("query_id").join(first, on="query_id", how="left", maintain_order="left")["label"]


@slicer("brand")
def _brand(dataset: Dataset, queries: pl.DataFrame) -> pl.Series | None:
    brands = dataset.catalogue["brand"].replace("", None)
    return None if brands.drop_nulls().is_empty() else by_best_product(dataset, queries, brands)


@slicer("product_age")
def _product_age(dataset: Dataset, queries: pl.DataFrame) -> pl.Series | None:
    fresh = new_products(dataset)
    if fresh is None or fresh.drop_nulls().n_unique() < 2:
        return None
    return by_best_product(dataset, queries, fresh.replace_strict({True: "new", False: "old"}, default=None))


@slicer("length")
def _length(_: Dataset, queries: pl.DataFrame) -> pl.Series:
    """Words of a query, or products of a basket."""
    count = pl.col("query").str.split(" ").list.len()
    label = pl.when(count >= _LONG).then(pl.lit(f"{_LONG} or more")).otherwise(count.cast(pl.String))
    return queries.select(label.alias("length")).to_series()


@slicer("user_segment")
def _user_segment(dataset: Dataset, queries: pl.DataFrame) -> pl.Series | None:
    """Whether mostly regulars (the most active users, who make half of the searches) or occasional users ask."""
    seen = dataset.interactions.drop_nulls("user_id").unique("search_id")
    if seen.is_empty():
        return None
    active = seen.group_by("user_id").agg(pl.len().alias("searches")).sort("searches", "user_id", descending=True)
    before = (pl.col("searches").cum_sum() - pl.col("searches")) / pl.col("searches").sum()
    active = active.select("user_id", (before < _REGULAR).alias("regular"))
    by_text = normalized(seen.select("query", "user_id")).join(active, on="user_id").group_by("query")
    asked = by_text.agg(pl.col("regular").mean().alias("share"))
    # A next-item question is its shopper's own: the group is the user.
    own = active.select(pl.col("user_id").alias("group_id"), pl.col("regular").cast(pl.Float64).alias("own"))
    table = normalized(queries.select("query", "group_id")).join(asked, on="query", how="left", maintain_order="left")
    share = table.join(own, on="group_id", how="left", maintain_order="left").select(pl.coalesce("own", "share"))
    column = share.to_series()
    return (column >= 0.5).replace_strict({True: "regular", False: "occasional"}, default=None)
