"""Baskets: which products went together, and the next-item questions that are asked of them.

A basket is what one shopper took at one time. In a click log that is everything a user clicked or bought on one day;
where an interaction has no query (an invoice, a recorded session) its ``search_id`` names the basket.

Neutral ground: training learns from baskets, evaluation asks about them, and neither imports the other.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import numpy as np
import polars as pl

from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput
from rankops.specs import RecommendationSpec

MAX_CONTEXT = 20
"""Products of a basket that a question names at most."""
MIN_BASKET, MAX_BASKET = 3, 100
"""Baskets of other sizes are learned from (up to the maximum), but not asked about."""
HEAD_SHARE, TORSO_SHARE = 0.1, 0.4
"""The best-selling tenth of the products that were sold is the head, the next 40 % the torso."""
NO_QUERY = "-"
"""The query of an interaction that was no search."""
NEW_SALES = 10
"""A product in fewer training baskets than this is new: little can be known of it but its text."""
_SEED = 13


def baskets_of(interactions: pl.DataFrame) -> pl.DataFrame:
    """``basket_id``, ``user_id``, ``day``, ``product_ids`` (list, distinct, in order), sorted by day and id.

    Only products that were clicked or purchased count; baskets of one product or of more than ``MAX_BASKET`` are
    left out: the one says nothing about pairs, the other is a wholesale order.
    """
    searched = pl.col("query") != NO_QUERY
    own = pl.concat_str(pl.col("user_id"), pl.lit("@"), pl.col("day").cast(pl.String))
    basket = pl.when(searched).then(own).otherwise(pl.col("search_id")).alias("basket_id")
    taken = interactions.filter(pl.col("clicked") | pl.col("purchased")).with_columns(basket)
    return (
        taken.sort("day", "search_id", "position")
        .group_by("basket_id", maintain_order=True)
        .agg(
            pl.col("user_id").first(),
            pl.col("day").first(),
            pl.col("product_id").unique(maintain_order=True).alias("product_ids"),
        )
        .filter(pl.col("product_ids").list.len().is_between(2, MAX_BASKET))
        .sort("day", "basket_id")
    )


def next_item_view(dataset: Dataset, spec: RecommendationSpec) -> Dataset:
    """The dataset with next-item questions in place of its search queries.

    The last ``spec.test_days`` days ask the test questions, the ``spec.dev_days`` before them the dev questions; each
    basket of 3 to 100 products asks one: a product drawn from it is held out, and up to 20 of the others are the
    context. ``queries.query`` holds the context's product ids, separated by blanks; ``judgements`` the held-out
    product with grade 3; ``popularity`` how often that product was in the baskets before the test days
    (``head | torso | tail``, ``new`` below ten); ``group_id`` the shopper, so that one shopper's questions stay
    together in a bootstrap. ``interactions`` keeps the days before the test days. With no test days there are no test
    questions, and everything is learned from.

    A held-out product that the catalogue says cannot be bought makes no question: no recommender may name it.

    Raises :class:`BadInput` where no basket is left to ask about, or to learn from.
    """
    baskets = baskets_of(dataset.interactions)
    if baskets.is_empty():
        raise BadInput(
            "no basket of two products in the interactions", "record what was clicked or bought, with its user and day"
        )
    last = cast("Any", baskets["day"].max())
    test_from = last - timedelta(days=spec.test_days - 1)
    dev_from = test_from - timedelta(days=spec.dev_days)
    known = baskets.filter(pl.col("day") < test_from)
    if known.filter(pl.col("day") < dev_from).is_empty():
        raise BadInput(
            f"no basket before {dev_from} to learn from", "take a longer window, or lower dev_days and test_days"
        )
    questions = [
        _questions(baskets.filter(pl.col("day").is_between(start, end)), split)
        for split, start, end in (("dev", dev_from, test_from - timedelta(days=1)), ("test", test_from, last))
    ]
    asked = pl.concat(questions).filter(~pl.col("held_out").is_in(list(dataset.unavailable())))
    for split in ("dev", "test") if spec.test_days else ("dev",):
        if asked.filter(pl.col("split") == split).is_empty():
            raise BadInput(f"no basket of {MIN_BASKET} products in the {split} days", "take more days")
    return replace(
        dataset,
        interactions=dataset.interactions.filter(pl.col("day") < test_from),
        queries=_described(asked, dataset.catalogue, known).select(list(COLUMNS["queries"])),
        judgements=asked.select("query_id", pl.col("held_out").alias("product_id"), pl.lit(3, pl.Int8).alias("grade")),
        info={**dataset.info, "questions": "next item", "dev_from": str(dev_from), "test_from": str(test_from)},
    )


def contexts(queries: pl.DataFrame) -> list[list[str]]:
    """The product ids that each question names."""
    return [query.split() for query in queries["query"].to_list()]


def _questions(baskets: pl.DataFrame, split: str) -> pl.DataFrame:
    rows = []
    sized = baskets.filter(pl.col("product_ids").list.len() >= MIN_BASKET)
    for basket_id, user, products in sized.select("basket_id", "user_id", "product_ids").iter_rows():
        # By the basket's own id, so that a question stays as it is when other baskets come and go.
        order = np.random.default_rng([_SEED, zlib.crc32(basket_id.encode())]).permutation(len(products))
        context = " ".join(products[i] for i in order[1 : MAX_CONTEXT + 1])
        rows.append((basket_id, context, user or basket_id, split, products[order[0]]))
    names = ["query_id", "query", "group_id", "split", "held_out"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()), orient="row")


def _described(asked: pl.DataFrame, catalogue: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """With ``popularity`` and ``category`` of the held-out product, as known before the test days."""
    sold = known.explode("product_ids").group_by(pl.col("product_ids").alias("held_out")).agg(pl.len().alias("sales"))
    ranked = sold.sort("sales", "held_out", descending=[True, False]).with_columns(
        (pl.int_range(1, pl.len() + 1) / pl.len()).alias("place")
    )
    popularity = (
        pl.when(pl.col("sales").fill_null(0) < NEW_SALES)
        .then(pl.lit("new"))
        .when(pl.col("place") <= HEAD_SHARE)
        .then(pl.lit("head"))
        .when(pl.col("place") <= HEAD_SHARE + TORSO_SHARE)
        .then(pl.lit("torso"))
        .otherwise(pl.lit("tail"))
        .alias("popularity")
    )
    categories = catalogue.select(pl.col("product_id").alias("held_out"), "category")
    return (
        asked.join(ranked, on="held_out", how="left", maintain_order="left")
        .join(categories, on="held_out", how="left", maintain_order="left")
        .with_columns(popularity)
        .sort("query_id")
    )
