"""Replay: pairs that the champion learned from, mixed into the training that continues it.

A model that is trained on the newest days only forgets what it knew of the rest of the shop (catastrophic
forgetting); a share of old examples among the new ones is the simplest thing that helps (experience replay: Rolnick
et al., NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.pairs import normalized, training_pairs

GroupQueries = Callable[[Sequence[str]], list[str]]
"""A group id for each query; near-duplicates share one (``rankops.data.splits.near_duplicate_groups``)."""


def replayable(now: Dataset, before: Dataset, group: GroupQueries) -> pl.DataFrame:
    """Pairs ``query, product_id, weight`` of ``before``'s train split that may be mixed into a training on ``now``.

    Left out: products that are no longer in the catalogue, pairs that ``now`` has itself, and queries that are held
    out now or nearly equal to one that is (which queries are held out can change from window to window).
    """
    old = training_pairs(before)
    held_out = pl.concat([now.split("dev"), now.split("test")]).select("query")
    banned = _near_duplicates(old["query"].unique().sort().to_list(), normalized(held_out)["query"].to_list(), group)
    kept = old.filter(~pl.col("query").is_in(banned))
    kept = kept.join(now.catalogue.select("product_id"), on="product_id", how="semi")
    return kept.join(training_pairs(now), on=["query", "product_id"], how="anti").sort("query", "product_id")


def _near_duplicates(queries: list[str], held_out: list[str], group: GroupQueries) -> list[str]:
    groups = group([*queries, *held_out])
    wrong = set(groups[len(queries) :])
    return [query for query, own in zip(queries, groups, strict=False) if own in wrong]


def mixed(pairs: pl.DataFrame, old: pl.DataFrame, share: float) -> pl.DataFrame:
    """Both tables as one, with the weights of ``old`` scaled so that it makes up ``share`` of the sum of weights.

    Batches draw pairs by weight, so this is the share of old pairs among those drawn (below one half). ``pairs``
    comes back as it is where ``old`` is empty or ``share`` is 0.
    """
    if old.is_empty() or not share:
        return pairs
    wanted = float(pairs["weight"].sum()) * share / (1 - share)
    scaled = old.with_columns(pl.col("weight") * (wanted / float(old["weight"].sum())))
    return pl.concat([pairs, scaled.select(pairs.columns).cast(dict(pairs.schema))]).sort("query", "product_id")  # type: ignore[arg-type]


def read_pairs(path: Path) -> pl.DataFrame:
    """The pairs that a stage wrote. Raises :class:`BadInput` when the file is no such table."""
    try:
        return pl.read_parquet(path).select("query", "product_id", "weight")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{path} holds no pairs to replay: {error}", "rematerialize the checkpoint") from error
