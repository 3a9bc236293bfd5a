"""From clicks to training pairs, with position bias taken out.

A click needs two things: that the shopper looked at the position, and that the product attracted (the
position-based model, Craswell et al. 2008). Only the second is a label. Examination is estimated from the same log:
``log P(click) = log examination(position) + log attraction(query, product)``, fitted as a Poisson model by
alternating closed-form updates (iterative proportional fitting) on the pairs that were shown at several positions;
clicks then count with their inverse examination (Joachims et al. 2017), clipped.

Neutral ground: training reads pairs from here, the data room labels with it, and neither imports the other.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.text import normalize_query

MIN_PROPENSITY = 0.1
"""Examination is not taken for less than this: a click far down counts at most ten times."""

PURCHASE_BONUS = 2.0
"""A purchase counts this many clicks on top of its click."""

MIN_CLICKS = 50
"""With fewer informative clicks than this the estimate would be noise and ``1 / position`` is used instead."""

PRIOR_VIEWS, PRIOR_ATTRACTION = 4.0, 0.1
"""Every pair starts with this many imagined looks, a tenth of which were clicks."""

_ROUNDS = 200
_JUDGED_WEIGHT = {3: 1.0, 2: 0.5}
_PAIRS = {"query": pl.String(), "product_id": pl.String(), "weight": pl.Float64()}


def normalized(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its ``query`` column normalized (each distinct string once)."""
    distinct = frame["query"].unique(maintain_order=True)
    clean = pl.Series([normalize_query(query) for query in distinct.to_list()], dtype=pl.String)
    return frame.with_columns(pl.col("query").replace_strict(distinct, clean, return_dtype=pl.String))


def estimate_propensities(interactions: pl.DataFrame) -> pl.DataFrame:
    """Examination by position, relative to position 1: ``position`` (i32, 1..last shown), ``propensity`` (f64).

    Falls with the position by construction (running minimum). Where the log has fewer than ``MIN_CLICKS`` clicks on
    pairs that were seen at two or more positions, ``1 / position`` is returned: order never varied, so bias and
    relevance cannot be told apart.
    """
    last = cast("int | None", interactions["position"].max()) or 0
    positions = np.arange(1, last + 1)
    counts = (
        interactions.group_by("query", "product_id", "position")
        .agg(pl.len().alias("shown"), pl.col("clicked").sum().alias("clicks"))
        .filter((pl.col("clicks").sum().over("query", "product_id") > 0) & (pl.len().over("query", "product_id") > 1))
        .sort("query", "product_id", "position")  # a fixed order of additions gives the same last digit every time
    )
    theta = _fit(counts, last) if counts["clicks"].sum() >= MIN_CLICKS else 1.0 / np.maximum(positions, 1)
    return pl.DataFrame(
        {"position": positions, "propensity": theta}, schema={"position": pl.Int32(), "propensity": pl.Float64()}
    )


def _fit(counts: pl.DataFrame, last: int) -> npt.NDArray[np.float64]:
    pair = counts.select(pl.struct("query", "product_id").rank("dense") - 1).to_series().to_numpy().astype(np.int64)
    place = counts["position"].to_numpy().astype(np.int64) - 1
    shown, clicks = counts["shown"].to_numpy().astype(float), counts["clicks"].to_numpy().astype(float)
    pair_clicks = np.bincount(pair, clicks)
    place_clicks = np.bincount(place, clicks, minlength=last)
    theta = np.ones(last)
    for _ in range(_ROUNDS):
        attraction = pair_clicks / np.maximum(np.bincount(pair, shown * theta[place]), 1e-12)
        looks = np.bincount(place, shown * attraction[pair], minlength=last)
        theta = np.where(looks > 0, place_clicks / np.maximum(looks, 1e-12), theta)
        theta = theta / max(theta[0], 1e-12)
    return np.minimum.accumulate(np.clip(theta, 1e-3, 1.0))


def click_weights(interactions: pl.DataFrame) -> pl.DataFrame:
    """One row per (normalized query, product) shown, sorted by both.

    Columns: ``impressions``, ``clicks``, ``purchases`` (i64); ``weight`` (f64: clicks and purchases, each divided by
    the examination of its position, clipped); ``attraction`` (f64: clicks plus purchases per expected look, shrunk
    towards ``PRIOR_ATTRACTION``; an estimate of relevance that does not grow with traffic).
    """
    log = normalized(interactions.select("query", "product_id", "position", "clicked", "purchased"))
    theta = estimate_propensities(log)
    clipped = pl.col("propensity").clip(MIN_PROPENSITY, 1.0)
    value = pl.col("clicked").cast(pl.Float64) + PURCHASE_BONUS * pl.col("purchased").cast(pl.Float64)
    won = (pl.col("clicked").cast(pl.Float64) + pl.col("purchased").cast(pl.Float64)).sum()
    return (
        log.join(theta, on="position", how="left")
        .sort("query", "product_id", "position")
        .group_by("query", "product_id", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("impressions"),
            pl.col("clicked").sum().cast(pl.Int64).alias("clicks"),
            pl.col("purchased").sum().cast(pl.Int64).alias("purchases"),
            (value / clipped).sum().alias("weight"),
            ((won + PRIOR_VIEWS * PRIOR_ATTRACTION) / (pl.col("propensity").sum() + PRIOR_VIEWS)).alias("attraction"),
        )
    )


def training_pairs(dataset: Dataset) -> pl.DataFrame:
    """``query, product_id, weight`` to learn from, sorted by query and product; train-split queries only.

    With interactions: clicked products, weight ``log(1 + debiased clicks)`` scaled to a mean of 1 (so that head
    queries do not drown the tail). Without interactions: judged pairs of the train split with grade 3 (weight 1)
    or 2 (weight 0.5). Raises :class:`BadInput` when nothing is left to learn from.
    """
    train = normalized(dataset.split("train").select("query_id", "query"))
    pairs = _clicked(dataset, train) if dataset.interactions.height else _judged(dataset, train)
    if pairs.is_empty():
        raise BadInput(
            f"dataset {dataset.info.get('name', '')} has no training pair: no click and no judgement of grade 2 or 3 "
            "on a query of the train split",
            "take a longer window of days, or add judgements",
        )
    return pairs.with_columns(pl.col("weight") / pl.col("weight").mean()).sort("query", "product_id")


def _clicked(dataset: Dataset, train: pl.DataFrame) -> pl.DataFrame:
    known = dataset.catalogue.select("product_id")
    weighted = click_weights(dataset.interactions).filter(pl.col("clicks") > 0)
    kept = weighted.join(train, on="query", how="semi").join(known, on="product_id", how="semi")
    return kept.select("query", "product_id", pl.col("weight").log1p()).cast(_PAIRS)  # type: ignore[arg-type]


def _judged(dataset: Dataset, train: pl.DataFrame) -> pl.DataFrame:
    weight = pl.col("grade").cast(pl.Int64).replace_strict(_JUDGED_WEIGHT, default=None, return_dtype=pl.Float64)
    judged = dataset.judgements.join(train, on="query_id").with_columns(weight.alias("weight"))
    return judged.filter(pl.col("weight").is_not_null()).select(list(_PAIRS)).cast(_PAIRS)  # type: ignore[arg-type]
