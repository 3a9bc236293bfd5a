"""Labels that a model may give by itself: those above a score whose precision is proven on judged pairs.

The proof is the Wilson score interval (Wilson 1927; one-sided lower bound) of the share of right pairs above a
threshold. Thresholds are tried from the highest down and the first that fails ends the search (fixed-sequence
testing, as in Learn then Test: Angelopoulos et al. 2021), so that trying many does not spoil the confidence.

The bound holds for pairs like the judged ones. Counting what nobody judged among the model's results as wrong can only
make it more careful; leaving that out promises too much unless the judged ones are a fair sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rankops.errors import BadInput

STEPS = 50
"""Thresholds that are tried: quantiles of the judged scores."""


@dataclass(frozen=True)
class Threshold:
    """Scores from ``score`` on were right in ``right`` of ``judged`` cases; the precision is at least ``lower``."""

    score: float
    judged: int
    right: int
    lower: float
    confidence: float


def wilson_lower(right: int, judged: int, confidence: float = 0.95) -> float:
    """Lower end of the one-sided Wilson interval of ``right / judged``; 0 for no trials."""
    if judged == 0:
        return 0.0
    z = NormalDist().inv_cdf(confidence)
    share, spread = right / judged, z * z / judged
    margin = z * math.sqrt(share * (1 - share) / judged + spread / (4 * judged))
    return max(0.0, (share + spread / 2 - margin) / (1 + spread))


def find_threshold(
    scores: NDArray[np.float64], right: NDArray[np.bool_], *, precision: float, confidence: float = 0.95
) -> Threshold | None:
    """The lowest score from which on the precision is at least ``precision``, with that confidence; None if none is.

    Raises :class:`BadInput` for a precision or confidence outside (0, 1).
    """
    for name, value in (("precision", precision), ("confidence", confidence)):
        if not 0 < value < 1:
            raise BadInput(f"{name} {value} is not between 0 and 1", "give e.g. 0.9")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(right[order])
    found: Threshold | None = None
    least = _least_trials(precision, confidence)
    for depth in sorted({int(d) for d in np.linspace(least, len(ranked), STEPS)} if len(ranked) >= least else set()):
        last = int(np.searchsorted(-ranked, -ranked[depth - 1], side="right"))  # equal scores go together
        lower = wilson_lower(int(hits[last - 1]), last, confidence)
        if lower < precision:
            break
        found = Threshold(float(ranked[last - 1]), last, int(hits[last - 1]), lower, confidence)
    return found


def _least_trials(precision: float, confidence: float) -> int:
    """How many trials without a failure the bound needs: fewer cannot prove anything."""
    trials = 1
    while wilson_lower(trials, trials, confidence) < precision:
        trials += 1
    return trials


def pseudo_labels(scored: pl.DataFrame, known: pl.DataFrame, threshold: Threshold, grade: int = 3) -> pl.DataFrame:
    """``query_id, product_id, grade`` of scored pairs (query_id, product_id, score) at or above the threshold, sorted.

    Pairs that ``known`` judges are left out: a person's word stands.
    """
    taken = scored.filter(pl.col("score") >= threshold.score).join(known, on=["query_id", "product_id"], how="anti")
    return taken.select("query_id", "product_id", pl.lit(grade, dtype=pl.Int8).alias("grade")).sort(
        "query_id", "product_id"
    )
