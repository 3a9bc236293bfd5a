"""Which tabular features tell right from wrong pairs: mutual information, chi-square, and what repeats another.

Mutual information (Kraskov et al. 2004, scikit-learn's nearest-neighbour estimate) sees any dependence; chi-square
tests counts of labels over ten quantile bins, so that it says how sure one can be. A feature is kept when its
chi-square is significant after Holm's correction for the number of features, it is not the twin of a better one (rank
correlation), and it is among the best by mutual information. Choose on train rows only: what is chosen on test rows
is not tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput

BINS = 10
TWIN = 0.98
"""Absolute Spearman correlation from which two features say the same."""
MAX_ROWS = 5000
"""Rows that mutual information is estimated on, drawn by the seed: its cost grows faster than its precision."""


@dataclass(frozen=True)
class FeatureScore:
    """``information`` in nats, ``chi_square`` with its p-value, whether it is ``kept``, else why not (``reason``)."""

    name: str
    information: float
    chi_square: float
    p_value: float
    kept: bool
    reason: str


def select_features(
    values: NDArray[np.float32], names: Sequence[str], labels: NDArray[np.int64], *, keep: int, seed: int = 13,
    alpha: float = 0.05,
) -> list[FeatureScore]:  # fmt: skip
    """Every feature, best first, at most ``keep`` of them kept. ``values`` is (rows, features), ``labels`` are classes.

    Raises :class:`BadInput` for shapes that do not fit, values that are not finite, or labels of one class only.
    """
    if values.shape != (len(labels), len(names)):
        raise BadInput(f"{values.shape} values for {len(labels)} labels and {len(names)} names", "give one row a label")
    if not np.isfinite(values).all():
        raise BadInput(f"feature {names[int((~np.isfinite(values)).any(axis=0).argmax())]!r} is not finite", "fill it")
    if len(np.unique(labels)) < 2:
        raise BadInput("all rows have one label", "give pairs of both kinds")
    information = _information(values, labels, seed)
    chi_squares, p_values = np.array([_chi_square(column, labels) for column in values.T]).T
    significant = holm(p_values, alpha)
    order = np.lexsort((np.arange(len(names)), -information))
    correlation = _rank_correlation(values)
    kept: list[int] = []
    scores = []
    for column in order.tolist():
        twin = next((other for other in kept if correlation[column, other] >= TWIN), None)
        reason = _reason(bool(significant[column]), None if twin is None else names[twin], len(kept) >= keep)
        if not reason:
            kept.append(column)
        numbers = (float(information[column]), float(chi_squares[column]), float(p_values[column]))
        scores.append(FeatureScore(names[column], *numbers, not reason, reason))
    return scores


def holm(p_values: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at family-wise error ``alpha`` (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    passed = p_values[order] <= alpha / (len(p_values) - np.arange(len(p_values)))
    rejected = np.zeros(len(p_values), dtype=bool)
    rejected[order[: len(passed) if passed.all() else int(passed.argmin())]] = True
    return rejected


def features_markdown(scores: Sequence[FeatureScore]) -> str:
    """A table for people."""
    lines = ["| feature | mutual information (nats) | chi-square | p | kept |", "|---|--:|--:|--:|---|"]
    lines += [
        f"| {s.name} | {s.information:.4f} | {s.chi_square:.1f} | {s.p_value:.2g} | {'yes' if s.kept else s.reason} |"
        for s in scores
    ]
    return "\n".join(lines)


def _reason(significant: bool, twin: str | None, full: bool) -> str:
    if not significant:
        return "not significant"
    if twin is not None:
        return f"same as {twin}"
    return "less informative" if full else ""


def _information(values: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    from sklearn.feature_selection import mutual_info_classif

    rows = np.arange(len(labels))
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng([seed, 7]).choice(rows, MAX_ROWS, replace=False))
    found: NDArray[np.float64] = mutual_info_classif(values[rows], labels[rows], random_state=seed)
    return found


def _chi_square(column: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Chi-square statistic of labels over quantile bins, and its p-value; (0, 1) for a constant feature."""
    from sklearn.feature_selection import chi2

    edges, times = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]), return_counts=True)
    # A value that several quantiles share gets a bin of its own, or what lies above it (often a feature's few
    # counts above zero) would share its bin and look as if it told nothing.
    edges = np.union1d(edges, np.nextafter(edges[times > 1], np.inf, dtype=edges.dtype))
    bins = np.searchsorted(edges, column, side="right")
    used = np.unique(bins)
    if len(used) < 2:
        return 0.0, 1.0
    # scikit-learn's chi2 tests one column of counts at a time; over one-hot bins the statistics add up, with
    # (bins - 1) * (classes - 1) degrees of freedom: Pearson's test of the whole table.
    from scipy.stats import chi2 as distribution

    statistics, _ = chi2((bins[:, None] == used[None, :]).astype(float), labels)
    total = float(np.nansum(statistics))
    freedom = (len(used) - 1) * (len(np.unique(labels)) - 1)
    return total, float(distribution.sf(total, freedom))


def _rank_correlation(values: NDArray[np.float32]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    centred = ranks - ranks.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    scaled = centred / np.where(norms > 0, norms, 1.0)
    return np.asarray(np.abs(scaled.T @ scaled))
