"""How good yes-or-no decisions are, and whether a probability of 0.8 means eight in ten.

Definitions are scikit-learn's, to the last digit: precision, recall and F1 of the decisions, area under the ROC curve
(ties count half) and under the precision-recall steps (average precision), Brier score (mean squared error of the
probability). The expected calibration error is the mean distance between probability and frequency over ten bins of
equal width, weighted by their pairs (Naeini, Cooper & Hauskrecht, AAAI 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rankops.decisions import average_precision, f1_score
from rankops.errors import BadInput
from rankops.evaluation.bootstrap import CONFIDENCE, SEED, Interval, interval_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 10
_RESAMPLES = 300


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalibrationBin(_Record):
    """Pairs whose probability lies in ``[low, high)`` (the last bin: and 1): mean probability, share of matches."""

    low: float
    high: float
    n: int
    probability: float
    frequency: float


class DecisionQuality(_Record):
    """Metrics by name with intervals, the threshold of the decisions, and the reliability diagram's bins."""

    system: str
    n: int
    positives: int
    threshold: float
    metrics: dict[str, Interval]
    bins: list[CalibrationBin]


def roc_auc(labels: Bools, scores: Floats) -> float:
    """The chance that a match scores higher than a non-match, ties counting half (Mann-Whitney); 0.5 without both."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return 0.5
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    won = mean_rank[place][labels].sum() - positives * (positives + 1) / 2
    return float(won / (positives * negatives))


def brier(labels: Bools, scores: Floats) -> float:
    """Mean squared distance of the probability from what was: 0 is perfect, 0.25 is a coin."""
    return float(((scores - labels) ** 2).mean())


def calibration(labels: Bools, scores: Floats, bins: int = BINS) -> list[CalibrationBin]:
    """The reliability diagram: bins of equal width that have pairs."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        rows = place == number
        if rows.any():
            mean, share = float(scores[rows].mean()), float(labels[rows].mean())
            edges = {"low": number / bins, "high": (number + 1) / bins}
            found.append(CalibrationBin(**edges, n=int(rows.sum()), probability=mean, frequency=share))
    return found


def calibration_error(labels: Bools, scores: Floats, bins: int = BINS) -> float:
    """Expected calibration error; see the module."""
    parts = calibration(labels, scores, bins)
    return sum(part.n * abs(part.probability - part.frequency) for part in parts) / len(labels)


def precision_score(labels: Bools, decided: Bools) -> float:
    """Share of the yeses that are right; 0 where there is none."""
    return float((labels & decided).sum() / decided.sum()) if decided.any() else 0.0


def recall_score(labels: Bools, decided: Bools) -> float:
    """Share of the matches that got a yes; 0 where there is none."""
    return float((labels & decided).sum() / labels.sum()) if labels.any() else 0.0


MEASURES: dict[str, Callable[[Bools, Floats, float], float]] = {
    "precision": lambda labels, scores, threshold: precision_score(labels, scores >= threshold),
    "recall": lambda labels, scores, threshold: recall_score(labels, scores >= threshold),
    "F1": lambda labels, scores, threshold: f1_score(labels, scores >= threshold),
    "ROC-AUC": lambda labels, scores, _: roc_auc(labels, scores),
    "PR-AUC": lambda labels, scores, _: average_precision(labels, scores),
    "Brier score": lambda labels, scores, _: brier(labels, scores),
    "calibration error": lambda labels, scores, _: calibration_error(labels, scores),
}


def measure_decisions(
    labels: Bools, scores: Floats, threshold: float, *, system: str, groups: Sequence[str] | None = None
) -> DecisionQuality:
    """Every measure with its interval; ``groups`` (n labels) are resampled together.

    Raises :class:`BadInput` for no pairs, or scores that are no probabilities.
    """
    if not len(labels) or len(labels) != len(scores):
        raise BadInput(f"{len(labels)} labels for {len(scores)} scores", "label some pairs and score each")
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1:
        raise BadInput("a score is not a probability between 0 and 1", "calibrate the scores before measuring them")
    names = np.arange(len(labels)).astype(str) if groups is None else np.asarray(groups, dtype=object).astype(str)
    _, codes = np.unique(names, return_inverse=True)
    rows_of = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    rng = np.random.default_rng(SEED)
    draws = [
        np.concatenate([rows_of[group] for group in rng.integers(0, len(rows_of), len(rows_of))])
        for _ in range(_RESAMPLES)
    ]
    metrics = {}
    for name, measure in MEASURES.items():
        sampled = np.asarray([measure(labels[rows], scores[rows], threshold) for rows in draws])
        mean = measure(labels, scores, threshold)
        metrics[name] = interval_of(sampled, mean, confidence=CONFIDENCE, n=len(labels), groups=len(rows_of))
    return DecisionQuality(
        system=system,
        n=len(labels),
        positives=int(labels.sum()),
        threshold=threshold,
        metrics=metrics,
        bins=calibration(labels, scores),
    )
