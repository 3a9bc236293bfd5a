"""Relevance metrics per query, with the definitions of trec_eval and ranx.

* ``ndcg@10``: Järvelin & Kekäläinen (ACM TOIS 20(4), 2002) with *linear* gains: gain = grade, discount
  ``1 / log2(rank + 1)``, divided by the same sum over the query's best possible order. This is ``ranx``'s ``ndcg``
  and trec_eval's ``ndcg_cut_10``; ``ndcg_burges`` (gain ``2**grade - 1``) is another metric.
* ``recall@100``: share of the query's relevant products among its first 100 results.
* ``mrr@10``, ``mrr@20``: reciprocal rank of the first relevant result, 0 when none is among the first 10 (20).
* ``hr@20``: 1 where a relevant product is among the first 20 results, else 0 (hit rate).
* ``f1``: of a decision: a run answers a pair with its product where it says "match", and with nothing where it says
  "no match". F1 is a ratio of sums, so a query has no F1 of its own. What it gets is its linearized share (the delta
  method; Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 22), whose mean over the queries is exactly
  F1 and whose resampled means follow F1's: gates and intervals work on it as on any other metric.

Relevant means ``grade >= min_grade``. A product without a judgement counts as grade 0; ``judged_at`` says how much
of a result list that affects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from rankops.errors import BadInput
from rankops.specs import Metric

Run = Mapping[str, Sequence[str]]
"""A ranking of products for each query: ``{query_id: [product_id, ...]}``, best first."""

METRICS: tuple[Metric, ...] = ("ndcg@10", "recall@100", "mrr@10")
"""What a ranking of products for a query is measured by."""
ORDER_METRICS: tuple[Metric, ...] = ("ndcg@10", "mrr@10")
"""What the order of given candidates is measured by: how many relevant ones are among them is not the order's work."""
NEXT_ITEM_METRICS: tuple[Metric, ...] = ("hr@20", "mrr@20", "ndcg@10")
"""What a recommendation of the next item is measured by."""
MATCH_METRICS: tuple[Metric, ...] = ("f1",)
"""What a decision about pairs is measured by."""
_NDCG_DEPTH = 10
_RECALL_DEPTH = 100
_MRR_DEPTH = 10
_NEXT_DEPTH = 20


def per_query(run: Run, judgements: pl.DataFrame, *, min_grade: int = 1) -> pl.DataFrame:
    """Score every query of ``judgements``: columns query_id and every metric of :data:`rankops.specs.LABELS` (Float64).

    ``judgements`` has query_id, product_id, grade (0 or more). Rows are sorted by query_id. A query that the run
    does not answer scores 0; queries of the run without judgements are left out; so are results beyond rank 100.
    A query with nothing relevant scores 0, as in ranx: leave such queries out before averaging.
    Raises :class:`BadInput` for a product ranked or judged twice for one query.
    """
    _refuse_duplicates(judgements, "is judged twice", "keep one judgement for each query and product")
    results = _ranked(run, _RECALL_DEPTH)
    _refuse_duplicates(results, "is ranked twice", "a ranking names each product once; remove the duplicates")
    found = results.join(judgements.select("query_id", "product_id", "grade"), on=["query_id", "product_id"])
    first = pl.col("first")
    table = (
        _ideals(judgements, min_grade)
        .join(_gains(found, min_grade), on="query_id", how="left", maintain_order="left")
        .join(results.group_by("query_id").agg(pl.len().alias("returned")), on="query_id", how="left")
        .sort("query_id")
    )
    return table.select(
        "query_id",
        _ratio(pl.col("dcg"), pl.col("ideal")).alias("ndcg@10"),
        _ratio(pl.col("hits"), pl.col("relevant")).alias("recall@100"),
        _ratio((first <= _MRR_DEPTH).cast(pl.Float64), first).alias("mrr@10"),
        (first <= _NEXT_DEPTH).fill_null(False).cast(pl.Float64).alias("hr@20"),
        _ratio((first <= _NEXT_DEPTH).cast(pl.Float64), first).alias("mrr@20"),
        _f1_shares().alias("f1"),
    )


def _f1_shares() -> pl.Expr:
    """The linearized share of each query in F1 = 2 tp / (returned + relevant), all summed over the queries."""
    twice, size = (
        2.0 * pl.col("hits").fill_null(0),
        (pl.col("returned").fill_null(0) + pl.col("relevant")).cast(pl.Float64),
    )
    f1 = twice.sum() / size.sum()
    share = f1 + (twice - f1 * size) / size.mean()
    return pl.when(size.sum() > 0).then(share).otherwise(0.0)


def judged_at(run: Run, judgements: pl.DataFrame, *, depth: int = 10) -> float:
    """Share of the first ``depth`` results, over the judged queries that the run answers, that have a judgement.

    Pools made by another engine leave good results of a new model unjudged; a low value means that its metrics
    are a lower bound. 0 when nothing was retrieved.
    """
    judged = judgements.select("query_id", "product_id")
    results = _ranked(run, depth).join(judged.select("query_id").unique(), on="query_id", how="semi")
    if results.is_empty():
        return 0.0
    return results.join(judged, on=["query_id", "product_id"], how="semi").height / results.height


def _ranked(run: Run, depth: int) -> pl.DataFrame:
    """One row for each result: query_id, product_id, rank (from 1)."""
    heads = [list(products[:depth]) for products in run.values()]
    table = pl.DataFrame(
        {"query_id": list(run.keys()), "product_id": heads},
        schema={"query_id": pl.String, "product_id": pl.List(pl.String)},
    )
    ranks = pl.int_ranges(1, pl.col("product_id").list.len() + 1).alias("rank")
    return table.with_columns(ranks).filter(pl.col("product_id").list.len() > 0).explode("product_id", "rank")


def _discount(rank: pl.Expr) -> pl.Expr:
    return 1.0 / (rank + 1).cast(pl.Float64).log(2.0)


def _gains(found: pl.DataFrame, min_grade: int) -> pl.DataFrame:
    """What the run achieved for each query: dcg, hits (relevant in the first 100), first (relevant rank, or null)."""
    rank, grade = pl.col("rank"), pl.col("grade").cast(pl.Float64)
    relevant = pl.col("grade") >= min_grade
    return found.group_by("query_id").agg(
        (grade * _discount(rank)).filter(rank <= _NDCG_DEPTH).sum().alias("dcg"),
        relevant.sum().alias("hits"),
        rank.filter(relevant).min().alias("first"),
    )


def _ideals(judgements: pl.DataFrame, min_grade: int) -> pl.DataFrame:
    """What the best order would achieve for each query: ideal (dcg), relevant (count). Sorted by query_id."""
    grade = pl.col("grade").cast(pl.Float64)
    best = grade.sort(descending=True).head(_NDCG_DEPTH)
    ranks = pl.int_range(1, pl.min_horizontal(pl.len(), pl.lit(_NDCG_DEPTH)) + 1)
    return (
        judgements.group_by("query_id")
        .agg((best * _discount(ranks)).sum().alias("ideal"), (grade >= min_grade).sum().alias("relevant"))
        .sort("query_id")
    )


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole``, and 0 where either is missing or ``whole`` is 0."""
    return pl.when(whole > 0).then(part / whole).otherwise(0.0).fill_null(0.0).cast(pl.Float64)


def _refuse_duplicates(table: pl.DataFrame, what: str, remedy: str) -> None:
    repeated = table.filter(pl.struct("query_id", "product_id").is_duplicated())
    if not repeated.is_empty():
        query, product = repeated.select("query_id", "product_id").row(0)
        raise BadInput(f"product {product!r} {what} for query {query!r}", remedy)
