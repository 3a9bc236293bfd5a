"""Grades from clicks, for training and for teams without judgements. The estimators are in :mod:`rankops.pairs`."""

from __future__ import annotations

import polars as pl

from rankops.pairs import MIN_PROPENSITY, click_weights, estimate_propensities, normalized

EXACT, SUBSTITUTE = 0.4, 0.15
"""Attraction (clicks and purchases per look) from which a clicked product counts as grade 3, and as grade 2."""

MIN_LOOKS = 2.0
"""Expected looks without a click after which a product counts as judged irrelevant."""


def click_labels(interactions: pl.DataFrame) -> pl.DataFrame:
    """``query, product_id, weight, grade`` of every clicked pair, sorted by query and product.

    ``query`` is normalized, ``weight`` the debiased click mass (f64, purchases count more), ``grade`` (i8) 1..3 by
    attraction: see ``EXACT`` and ``SUBSTITUTE``.
    """
    graded = click_weights(interactions).filter(pl.col("clicks") > 0)
    return graded.select("query", "product_id", "weight", _grade())


def _grade() -> pl.Expr:
    strong = pl.when(pl.col("attraction") >= EXACT).then(3).when(pl.col("attraction") >= SUBSTITUTE).then(2)
    return strong.otherwise(1).cast(pl.Int8).alias("grade")


def judgements_from_clicks(interactions: pl.DataFrame) -> pl.DataFrame:
    """``query, product_id, grade`` (0..3), sorted: :func:`click_labels`, and 0 for what was looked at and left.

    A product counts as looked at when its summed examination reaches ``MIN_LOOKS``; what was hardly seen stays
    unjudged. Biased towards what the engine showed: use real judgements for a gate where you can get them.
    """
    log = normalized(interactions)
    positive = click_labels(log).select("query", "product_id", "grade")
    looks = log.join(estimate_propensities(log), on="position", how="left").group_by("query", "product_id")
    seen = looks.agg(pl.col("propensity").clip(MIN_PROPENSITY).sum().alias("looks"), pl.col("clicked").any())
    left = seen.filter(~pl.col("clicked") & (pl.col("looks") >= MIN_LOOKS))
    zero = left.select("query", "product_id", pl.lit(0, dtype=pl.Int8()).alias("grade"))
    return pl.concat([positive, zero]).sort("query", "product_id")
