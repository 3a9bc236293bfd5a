"""From tables to a dataset: the window of days, the query table with splits, and the judgements to measure with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import get_args

import polars as pl

from rankops.baskets import NO_QUERY
from rankops.data.labels import judgements_from_clicks
from rankops.data.splits import assign_splits
from rankops.data.tables import check_table
from rankops.dataset import COLUMNS, Dataset, Split
from rankops.errors import BadInput
from rankops.files import sha256_bytes
from rankops.pairs import estimate_propensities, normalized
from rankops.text import normalize_query

Judge = Callable[[list[str]], pl.DataFrame]
"""From distinct normalized queries to ``query, product_id, grade``."""

HEAD, TORSO = 0.5, 0.8
"""The most asked queries that make up half of the traffic are head; up to 80 % torso; the rest tail."""

SPLITS: tuple[Split, ...] = get_args(Split)
_UNKNOWN = "unknown"


def query_id(query: str) -> str:
    """A stable id of a query: the same text has the same id in every dataset."""
    return "q" + sha256_bytes(normalize_query(query).encode())[:12]


def build_dataset(
    catalogue: pl.DataFrame,
    interactions: pl.DataFrame,
    judgements_for: Judge | pl.DataFrame | None,
    *,
    name: str,
    seed: int,
    first_day: date,
    last_day: date,
    source: str,
    max_dev: int = 150,
    max_test: int = 400,
    progress: Callable[[str], None] | None = None,
) -> Dataset:
    """Assemble the dataset of the days ``first_day`` to ``last_day`` (inclusive).

    ``judgements_for`` grades dev and test queries: a function, a table ``query, product_id, grade``, or None for
    grades from clicks. Train queries always get grades from clicks. Dev and test keep at most ``max_dev`` and
    ``max_test`` queries (chosen by hash, so the choice is stable), each with at least one grade above 0; held-out
    queries beyond that are dropped, never moved to train. Rows are in a fixed order: same input, same bytes.
    Without any search (all queries are ``-``) there are no queries and no judgements: next-item questions come from
    the baskets. Raises :class:`BadInput` for a table that breaks a rule, an empty window, or no held-out query with a
    grade.
    """
    report = progress or _silent
    window = interactions.filter(pl.col("day").is_between(first_day, last_day))
    if window.is_empty():
        raise BadInput(
            f"dataset {name}: there is no event from {first_day} to {last_day}",
            "materialize the interactions of those days, or choose a window that has traffic",
        )
    report(f"checking {catalogue.height:,} products and {window.height:,} impressions")
    products = check_table("catalogue", catalogue, f"{source} (catalogue)").sort("product_id")
    window = check_table("interactions", window, f"{source} (interactions)", catalogue=products)
    window = window.sort("day", "search_id", "position")
    report("splitting queries by near-duplicate groups")
    # Events that were no search (invoices, sessions) are kept for who learns from baskets; they ask nothing.
    searches = window.filter(pl.col("query") != NO_QUERY)
    queries = _query_table(normalized(searches), products, seed)
    clicks = judgements_from_clicks(searches)
    report(f"judging held-out queries of {queries.height:,}")
    caps = {"dev": max_dev, "test": max_test} if searches.height else {}
    judged = _held_out_grades(queries, judgements_for, clicks, caps)
    kept = queries.filter((pl.col("split") == "train") | pl.col("query").is_in(judged["query"].unique().implode()))
    judgements = _judgement_table(kept, judged, clicks, products)
    info = {
        "name": name,
        "seed": seed,
        "source": source,
        "first_day": first_day.isoformat(),
        "last_day": last_day.isoformat(),
        "judged_by": "clicks" if judgements_for is None else "raters",
        "propensities": estimate_propensities(searches)["propensity"].round(4).to_list(),
    }
    dataset = Dataset(catalogue=products, interactions=window, queries=kept, judgements=judgements, info=info)
    return replace(dataset, info={**info, "counts": _counts(dataset)})


def _counts(dataset: Dataset) -> dict[str, int]:
    tables = {
        "products": dataset.catalogue.height,
        "impressions": dataset.interactions.height,
        "searches": dataset.interactions["search_id"].n_unique(),
        "judgements": dataset.judgements.height,
    }
    return tables | {split: dataset.split(split).height for split in SPLITS}


def _silent(message: str) -> None:
    """Report to nobody."""


def _query_table(log: pl.DataFrame, products: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Every query of the window with id, group, split, popularity and category, sorted by id."""
    traffic = log.group_by("query").agg(pl.col("search_id").n_unique().alias("searches"))
    traffic = traffic.sort(["searches", "query"], descending=[True, False])
    before = (pl.col("searches").cum_sum() - pl.col("searches")) / pl.col("searches").sum()
    popularity = pl.when(before < HEAD).then(pl.lit("head")).when(before < TORSO).then(pl.lit("torso"))
    splits = assign_splits(traffic["query"].to_list(), seed)
    table = traffic.with_columns(
        popularity.otherwise(pl.lit("tail")).alias("popularity"),
        pl.Series("query_id", [query_id(query) for query in traffic["query"].to_list()], dtype=pl.String),
        pl.Series("group_id", [group for group, _ in splits], dtype=pl.String),
        pl.Series("split", [split for _, split in splits], dtype=pl.String),
    )
    table = table.join(_categories(log, products), on="query", how="left")
    table = table.with_columns(pl.col("category").fill_null(_UNKNOWN))
    return table.select(list(COLUMNS["queries"])).sort("query_id")


def _categories(log: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """The top-level category that most clicks of each query went to (the first by name in a tie)."""
    top = products.select("product_id", pl.col("category").str.split(" > ").list.first())
    clicks = log.filter("clicked").join(top, on="product_id").filter(pl.col("category").is_not_null())
    counted = clicks.group_by("query", "category").len()
    ordered = counted.sort(["query", "len", "category"], descending=[False, True, False])
    return ordered.unique("query", keep="first", maintain_order=True).select("query", "category")


def _held_out_grades(
    queries: pl.DataFrame, judgements_for: Judge | pl.DataFrame | None, clicks: pl.DataFrame, caps: dict[str, int]
) -> pl.DataFrame:
    """``query, product_id, grade`` of the dev and test queries that are kept."""
    parts = [clicks.clear()]
    for split, cap in caps.items():
        # query_id is a hash: the first ``cap`` by id are a fixed random sample.
        names = queries.filter(pl.col("split") == split).sort("query_id")["query"].to_list()
        parts.append(_first_graded(names, cap, judgements_for, clicks))
        if parts[-1].is_empty():
            raise BadInput(
                f"no query of the {split} split has a product with a grade above 0 (of {len(names)} queries)",
                "take a longer window of days, or add judgements for more queries",
            )
    return pl.concat(parts)


def _first_graded(
    names: list[str], cap: int, judgements_for: Judge | pl.DataFrame | None, clicks: pl.DataFrame
) -> pl.DataFrame:
    """Grades of the first ``cap`` queries that have one above 0, asking the judge for no more than needed."""
    good: list[pl.DataFrame] = [clicks.clear()]
    found = 0
    for start in range(0, len(names), max(cap, 1)):
        graded = _ask(names[start : start + cap], judgements_for, clicks)
        useful = graded.filter((pl.col("grade") > 0).any().over("query"))
        answered = set(useful["query"].to_list())
        chosen = [query for query in names[start : start + cap] if query in answered][: cap - found]
        good.append(useful.filter(pl.col("query").is_in(chosen)))
        found += len(chosen)
        if found >= cap:
            break
    return pl.concat(good)


def _ask(names: list[str], judgements_for: Judge | pl.DataFrame | None, clicks: pl.DataFrame) -> pl.DataFrame:
    given = clicks if judgements_for is None else judgements_for
    graded = given(names) if callable(given) else given
    columns = ["query", "product_id", "grade"]
    if missing := [column for column in columns if column not in graded.columns]:
        raise BadInput(f"judgements lack the columns {', '.join(missing)}", "give query, product_id, grade")
    clean = normalized(graded.select(columns)).filter(pl.col("query").is_in(names))
    return clean.with_columns(pl.col("grade").cast(pl.Int8))


def _judgement_table(
    queries: pl.DataFrame, judged: pl.DataFrame, clicks: pl.DataFrame, products: pl.DataFrame
) -> pl.DataFrame:
    ids = queries.select("query_id", "query", "split")
    train = clicks.join(ids.filter(pl.col("split") == "train"), on="query")
    held_out = judged.join(ids.filter(pl.col("split") != "train"), on="query")
    columns = list(COLUMNS["judgements"])
    both = pl.concat([train.select(columns), held_out.select(columns)]).sort("query_id", "product_id")
    return check_table("judgements", both, "judgements", catalogue=products)
