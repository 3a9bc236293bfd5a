"""What the model may have seen of the answers: overlaps between what it learned from and what it is asked.

Near-duplicate queries across splits are an own check of the dataset asset; here the pairs themselves are looked at,
as the trainers read them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import cast

import polars as pl
from pydantic import BaseModel, ConfigDict

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.evaluation.gate import GateCheck
from rankops.pairs import training_pairs
from rankops.text import normalize_query

_EXAMPLES = 5
_LEARNABLE = 2


class Leak(BaseModel):
    """One kind of overlap: ``found`` of ``looked_at`` (0 found: clean), with some examples for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    found: int
    looked_at: int
    examples: list[str]


def find_leaks(dataset: Dataset) -> list[Leak]:
    """What can be checked on this (viewed) dataset; kinds that make no sense for it are left out.

    * ``judged in two splits``: a query, its words in any order, with a product that is judged for both train and test;
    * ``test answers in training pairs``: what a trainer learns from, met again as a test judgement;
    * ``future interactions``: events of the test days among what may be learned from (next-item questions);
    * ``answer in its own question``: the held-out product named by its own context (next-item questions).
    """
    checks: list[Callable[[Dataset], Leak | None]] = [_judged_twice, _in_training, _future, _self_answered]
    return [leak for check in checks if (leak := check(dataset)) is not None]


def leak_check(leaks: list[Leak]) -> GateCheck:
    """The gate's rule: nothing leaked. A measurement on answers that were learned is none."""
    found = [leak for leak in leaks if leak.found]
    if found:
        told = "; ".join(f"{leak.kind}: {leak.found} of {leak.looked_at} ({leak.examples[0]})" for leak in found)
        text = f"What is asked was learned: {told}. Rebuild the dataset, with splits by group."
    else:
        text = f"Nothing that is asked was learned ({', '.join(leak.kind for leak in leaks) or 'nothing to check'})."
    measured = float(sum(leak.found for leak in leaks))
    return GateCheck(name="no-leak", passed=not found, measured=measured, bound=0.0, explanation=text)


def _next_item(dataset: Dataset) -> bool:
    return "test_from" in dataset.info


def _keyed(dataset: Dataset, split: str) -> pl.DataFrame:
    """``key`` (the query's words, sorted) and ``query`` of the judged products of a split, with their grades."""
    queries = dataset.queries.filter(pl.col("split") == split)
    joined = dataset.judgements.join(queries.select("query_id", "query"), on="query_id")
    keys = pl.Series("key", [_key(query) for query in joined["query"].to_list()], dtype=pl.String)
    return joined.with_columns(keys)


def _key(query: str) -> str:
    return " ".join(sorted(normalize_query(query).split(" ")))


def _judged_twice(dataset: Dataset) -> Leak | None:
    if _next_item(dataset):
        return None
    train, test = _keyed(dataset, "train"), _keyed(dataset, "test")
    learnable = train.filter(pl.col("grade") >= _LEARNABLE)
    return _leak("judged in two splits", test, test.join(learnable, on=["key", "product_id"], how="semi"))


def _in_training(dataset: Dataset) -> Leak | None:
    if _next_item(dataset):
        return None
    try:
        pairs = training_pairs(dataset)
    except BadInput:  # nothing to learn from, so nothing leaks
        return None
    keys = pl.Series("key", [_key(query) for query in pairs["query"].to_list()], dtype=pl.String)
    test = _keyed(dataset, "test")
    learned = pairs.with_columns(keys)
    return _leak("test answers in training pairs", test, test.join(learned, on=["key", "product_id"], how="semi"))


def _future(dataset: Dataset) -> Leak | None:
    if not _next_item(dataset):
        return None
    first = date.fromisoformat(str(dataset.info["test_from"]))
    late = dataset.interactions.filter(pl.col("day") >= first)
    examples = [f"{row['product_id']} on {row['day']}" for row in late.head(_EXAMPLES).iter_rows(named=True)]
    looked_at = dataset.interactions.height
    return Leak(kind="future interactions", found=late.height, looked_at=looked_at, examples=examples)


def _self_answered(dataset: Dataset) -> Leak | None:
    if not _next_item(dataset):
        return None
    asked = dataset.split("test").join(dataset.judgements, on="query_id")
    own = asked.filter(pl.col("query").str.split(" ").list.contains(pl.col("product_id")))
    return _leak("answer in its own question", asked, own)


def _leak(kind: str, looked_at: pl.DataFrame, found: pl.DataFrame) -> Leak:
    rows = cast("list[tuple[str, str]]", found.select("query", "product_id").head(_EXAMPLES).rows())
    examples = [f"{query!r} with {product}" for query, product in rows]
    return Leak(kind=kind, found=found.height, looked_at=looked_at.height, examples=examples)
