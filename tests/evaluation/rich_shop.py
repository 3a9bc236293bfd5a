"""A small shop that knows brands, ages, users and languages: every slice and every kind of exposure has something."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from rankops.dataset import COLUMNS, Dataset
from tests.evaluation.samples import small_shop

LAST = date(2026, 4, 30)


def rich_shop(queries: int = 120) -> Dataset:
    """``small_shop`` with five brands (one of them new), new products, and searches of busy and of rare users."""
    plain = small_shop(queries)
    number = pl.col("product_id").str.slice(1, 3).cast(pl.Int64)
    new = number % 6 == 0
    catalogue = plain.catalogue.with_columns(
        pl.when(number % 12 == 0)
        .then(pl.lit("newcomer"))
        .otherwise(pl.concat_str(pl.lit("brand"), (number % 4).cast(pl.String)))
        .alias("brand"),
        pl.when(new)
        .then(pl.lit(LAST - timedelta(days=3)))
        .otherwise(pl.lit(LAST - timedelta(days=300)))
        .alias("added_day"),
    )
    texts = plain.queries["query"].to_list()
    asked = plain.queries.with_columns(
        pl.Series("query", [f"{t} rote schuhe" if i % 4 == 0 else t for i, t in enumerate(texts)])
    )
    rows = [
        (f"s{i:04d}", LAST, "busy" if i % 2 else f"rare{i}", text, 1, f"p{i:03d}-0", True, False)
        for i, text in enumerate(asked["query"].to_list())
    ]
    # searches of the training split, so that there is something to learn from and to leak
    train = asked.head(10).with_columns(
        pl.concat_str(pl.lit("t"), "query_id").alias("query_id"),
        pl.concat_str(pl.lit("cheap "), "query").alias("query"),
        pl.lit("train").alias("split"),
        pl.concat_str(pl.lit("t"), "group_id").alias("group_id"),
    )
    rows += [
        (f"t{i:04d}", LAST, "busy", text, 1, f"p{i + 50:03d}-0", True, False)
        for i, text in enumerate(train["query"].to_list())
    ]
    return replace(
        plain,
        catalogue=catalogue.select(list(COLUMNS["catalogue"])),
        queries=pl.concat([asked, train]).sort("query_id"),
        interactions=pl.DataFrame(rows, schema=COLUMNS["interactions"], orient="row"),
    )
