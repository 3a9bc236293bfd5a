"""Datasets of queries with judgements and without a click log: what the public sets have in common.

Queries that are one after normalization become one (a held-out one wins, so that nothing of it is learned from).
Published splits are kept; where a set has no dev part, a tenth of the train groups becomes it; where it has no split at
all, near-duplicate groups decide as everywhere (:mod:`rankops.data.splits`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from rankops.data.splits import assign_splits, near_duplicate_groups
from rankops.data.steps import Preparation
from rankops.data.tables import check_table
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput
from rankops.text import normalize_query

SEED = 13
_HELD_OUT_FIRST = {"test": 0, "dev": 1, "train": 2}


def judged_dataset(
    *,
    name: str,
    source: str,
    catalogue: pl.DataFrame,
    queries: pl.DataFrame,
    judgements: pl.DataFrame,
    gains: Mapping[str, int],
    note: str = "",
) -> Dataset:
    """A dataset from ``queries`` (query_id, query, split or null, category or null) and graded ``judgements``.

    ``gains`` says which grade each published label became, ``note`` what a reader must know of them; both go into
    ``info``. Judgements of unknown products or queries are dropped and counted. Raises :class:`BadInput` for a table
    that breaks a rule, or where no judgement is left.
    """
    log = Preparation()
    products = check_table("catalogue", catalogue, f"{source} (catalogue)").sort("product_id")
    asked, same = _one_per_text(queries, log)
    graded = _known(judgements.with_columns(pl.col("query_id").replace(same)), asked, products, log)
    if graded.is_empty():
        raise BadInput(f"{source}: no judgement of a known query and product", "check that the files belong together")
    table = check_table("queries", _with_groups(asked), f"{source} (queries)")
    counts = {split: table.filter(pl.col("split") == split).height for split in ("train", "dev", "test")}
    return Dataset(
        catalogue=products,
        interactions=pl.DataFrame(schema=COLUMNS["interactions"]),
        queries=table.sort("query_id"),
        judgements=check_table("judgements", graded, f"{source} (judgements)", catalogue=products),
        info={
            "name": name,
            "source": source,
            "judged_by": "raters",
            "gains": dict(gains),
            **({"gains_note": note} if note else {}),
            "counts": {"products": products.height, "judgements": graded.height, **counts},
            "preparation": log.facts(),
        },
    )


def graded(labels: pl.DataFrame, column: str, gains: Mapping[str, int], source: str) -> pl.DataFrame:
    """``labels`` with ``grade`` by ``gains``. Raises :class:`BadInput` naming a label that ``gains`` lacks."""
    if strange := sorted(set(labels[column].unique().to_list()) - set(gains), key=str):
        raise BadInput(f"{source}: the label {strange[0]!r} is not known", f"labels are {', '.join(gains)}")
    return labels.with_columns(pl.col(column).replace_strict(gains, return_dtype=pl.Int8).alias("grade"))


def _one_per_text(queries: pl.DataFrame, log: Preparation) -> tuple[pl.DataFrame, dict[str, str]]:
    """Queries with normalized texts, each once, and which id the others became."""
    texts = [normalize_query(query or "") for query in queries["query"].to_list()]
    order = pl.col("split").replace_strict(_HELD_OUT_FIRST, default=2, return_dtype=pl.Int8)
    ordered = queries.with_columns(pl.Series("query", texts, dtype=pl.String)).sort(order, "query_id")
    ids: dict[str, str] = {}
    same = {query_id: ids.setdefault(text, query_id) for query_id, text in ordered.select("query_id", "query").rows()}
    rules = {"blank query": pl.col("query") != "", "same text as another": pl.col("query").is_first_distinct()}
    return log.drop("one query a text", "queries", ordered, rules, show=["query_id", "query"]), same


def _known(judgements: pl.DataFrame, queries: pl.DataFrame, products: pl.DataFrame, log: Preparation) -> pl.DataFrame:
    ordered = judgements.select(list(COLUMNS["judgements"])).sort(
        ["query_id", "product_id", "grade"], descending=[False, False, True]
    )
    rules = {
        "query not known": pl.col("query_id").is_in(queries["query_id"].implode()),
        "product not in the catalogue": pl.col("product_id").is_in(products["product_id"].implode()),
        "judged again (the best grade stays)": pl.struct("query_id", "product_id").is_first_distinct(),
    }
    return log.drop("judgements", "judgements", ordered, rules, show=["query_id", "product_id"])


def _with_groups(queries: pl.DataFrame) -> pl.DataFrame:
    """With split, group and the columns that nothing is known of."""
    texts = queries["query"].to_list()
    given: list[str | None] = queries["split"].to_list()
    if not any(given):
        splits: list[Any] = assign_splits(texts, SEED)
    else:
        groups = near_duplicate_groups(texts)
        carve = "dev" not in given
        dev = dict(assign_splits(texts, SEED, (0.9, 0.1, 0.0))) if carve else {}
        splits = [
            (group, "dev" if carve and split == "train" and dev[group] == "dev" else split)
            for group, split in zip(groups, given, strict=True)
        ]
    # A published split may tear a group apart; its parts are then groups of their own (and the leak check says so).
    return queries.with_columns(
        pl.Series("split", [split for _, split in splits], dtype=pl.String),
        pl.Series("group_id", [f"{group}-{split}" for group, split in splits], dtype=pl.String),
        pl.lit("torso").alias("popularity"),
        pl.col("category").fill_null("unknown"),
    )
