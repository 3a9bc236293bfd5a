"""How sure we are of a mean over queries: the paired bootstrap, resampling groups of near-duplicate queries.

Systems are compared on the same queries, so the *difference per query* is resampled (Sakai, "Evaluating evaluation
metrics based on the bootstrap", SIGIR 2006; Efron & Tibshirani 1993, ch. 16). Near-duplicate queries are not
independent evidence: where groups are given, whole groups are drawn with replacement (cluster bootstrap, Davison &
Hinkley 1997, 3.8) and the mean is over the queries of the drawn groups.

Intervals are *expanded percentile* intervals (Hesterberg, "What teachers should know about the bootstrap", The
American Statistician 69(4), 2015): percentile intervals are too narrow for few queries by ``sqrt((n-1)/n)`` and by
normal instead of t quantiles, and both are corrected by reading wider percentiles. We preferred this to BCa because
it has no acceleration constant to go wrong where most differences are exactly zero, as they are between two
checkpoints of one model.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from rankops.errors import BadInput

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 20240607

_BLOCK = 4_000_000  # drawn indices held in memory at a time (32 MB)

Floats = NDArray[np.float64]


class Interval(BaseModel):
    """A mean over ``n`` queries with its two-sided confidence interval, in the unit of the values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    mean: float
    confidence: float
    n: int
    groups: int
    """Independent units that were resampled: equals ``n`` when no query has a near-duplicate."""
    standard_error: float


def mean_interval(
    values: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Interval:
    """The mean of ``values`` (n,) with its interval. ``groups`` (n labels) names which values belong together.

    Raises :class:`BadInput` for no values, values that are not finite, or lengths that differ.
    """
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    draws = resampled_means(column, groups=groups, resamples=resamples, seed=seed)[:, 0]
    n_groups = len(column) if groups is None else len(set(groups))
    return interval_of(draws, float(column.mean()), confidence=confidence, n=len(column), groups=n_groups)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Interval:
    """The mean of ``a - b`` with its interval; both are (n,) and position i is the same query in both."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise BadInput(
            f"cannot pair {first.shape[0]} values with {second.shape[0]}", "score both systems on the same queries"
        )
    return mean_interval(first - second, groups=groups, resamples=resamples, confidence=confidence, seed=seed)


def resampled_means(
    values: Floats, *, groups: Sequence[str] | None = None, resamples: int = RESAMPLES, seed: int = SEED
) -> Floats:
    """Column means (resamples, c) of ``values`` (n, c); the columns of one row share one draw of queries."""
    _check(values, groups)
    sums, sizes = _by_group(values, groups)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    rows = max(1, _BLOCK // len(sizes))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = rng.integers(0, len(sizes), size=(stop - start, len(sizes)))
        counts = sizes[drawn].sum(axis=1)
        for column in range(values.shape[1]):
            means[start:stop, column] = sums[drawn, column].sum(axis=1) / counts
    return means


def interval_of(draws: Floats, mean: float, *, confidence: float, n: int, groups: int) -> Interval:
    """The expanded percentile interval of resampled statistics ``draws`` (resamples,) around ``mean``.

    One group says nothing about the spread between groups: the interval is then infinitely wide in theory; here
    it is refused with :class:`BadInput`.
    """
    if groups < 2:
        raise BadInput(f"{groups} independent query group(s) give no interval", "judge more queries")
    from scipy.special import ndtr, stdtrit

    tail = (1 - confidence) / 2
    quantile = sqrt(groups / (groups - 1)) * float(stdtrit(groups - 1, tail))
    expanded = float(ndtr(quantile))
    low, high = np.quantile(draws, [expanded, 1 - expanded])
    spread = float(draws.std()) * sqrt(groups / (groups - 1))
    return Interval(
        low=float(low), high=float(high), mean=mean, confidence=confidence, n=n, groups=groups, standard_error=spread
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in input order (Holm, Scandinavian Journal of Statistics 6(2), 1979).

    Rejecting those at most alpha keeps the chance of *any* false alarm at most alpha, whatever the dependence
    between the slices, and is never weaker than Bonferroni.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _by_group(values: Floats, groups: Sequence[str] | None) -> tuple[Floats, Floats]:
    """Sums (g, c) and sizes (g,) of each group, in the order of the sorted labels."""
    if groups is None:
        return values, np.ones(len(values))
    _, codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums: Floats = np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1).astype(np.float64)
    return sums, np.bincount(codes).astype(np.float64)


def _check(values: Floats, groups: Sequence[str] | None) -> None:
    if len(values) == 0:
        raise BadInput("no query to average over", "judge some queries of this split")
    if not np.isfinite(values).all():
        raise BadInput("a metric value is not a finite number", "score every query of the split before comparing")
    if groups is not None and len(groups) != len(values):
        raise BadInput(f"{len(groups)} group labels for {len(values)} values", "give one group to each query")
