"""Decisions about pairs from scores: the threshold, how good it is, and calibrated weights of several scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def best_threshold(labels: NDArray[np.bool_], scores: Floats) -> tuple[float, float]:
    """``(threshold, F1)`` that is best on these pairs; ``score >= threshold`` says yes.

    The threshold lies halfway between the last yes and the first no. Of equally good ones the highest is taken.
    Without any positive nothing can be gained by saying yes: the threshold is infinite and F1 is 0.
    """
    if not labels.any():
        return float("inf"), 0.0
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + labels.sum())
    ends = np.append(ranked[1:] != ranked[:-1], True)  # equal scores are decided alike
    last = int(np.argmax(np.where(ends, f1, -1.0)))
    below = ranked[last + 1] if last + 1 < len(ranked) else ranked[last]
    return float((ranked[last] + below) / 2), float(f1[last])


def f1_score(labels: NDArray[np.bool_], decided: NDArray[np.bool_]) -> float:
    """``2 tp / (predicted + positives)``; 0 where there is neither."""
    size = labels.sum() + decided.sum()
    return float(2 * (labels & decided).sum() / size) if size else 0.0


def average_precision(labels: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the precision-recall steps (as scikit-learn's ``average_precision_score``); ties count together."""
    if not labels.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.flatnonzero(np.append(scores[order][1:] != scores[order][:-1], True))
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def decided_run(query_ids: Sequence[str], product_ids: Sequence[str], yes: NDArray[np.bool_]) -> dict[str, list[str]]:
    """A run that answers each pair's query with its product where the decision is yes, else with nothing."""
    return {
        query: [product] if said else []
        for query, product, said in zip(query_ids, product_ids, yes.tolist(), strict=True)
    }


def best_shares(
    columns: Mapping[str, Floats], measure: Callable[[Floats], float], *, steps: int = 10
) -> dict[str, float]:
    """Weights of the columns, whose weighted sum has the best ``measure``: every mixture in ``steps``-ths is tried.

    Columns are mixed in units of their standard deviation. Of equally good mixtures the first is taken, which leans on
    the columns that come last.
    """
    names = list(columns)
    scales = {name: max(float(columns[name].std()), 1e-9) for name in names}
    best: tuple[float, dict[str, float]] | None = None
    for parts in product(range(steps + 1), repeat=len(names)):
        if sum(parts) != steps:
            continue
        shares = {name: part / steps / scales[name] for name, part in zip(names, parts, strict=True)}
        value = measure(sum((shares[name] * columns[name] for name in names), np.zeros(1)))
        if best is None or value > best[0]:
            best = value, shares
    if best is None:
        raise ValueError("no column to mix")
    return best[1]


def fit_logistic(columns: Mapping[str, Floats], targets: Floats, *, ridge: float = 1e-3) -> dict[str, float]:
    """Weights of the columns and ``bias`` that minimize log-loss against targets in 0..1 (Newton's method).

    Columns are standardized inside, ``ridge`` is the penalty of their squared weights there. This is Platt scaling
    (1999) with several scores.
    """
    names = list(columns)
    raw = np.stack([columns[name] for name in names], axis=1).astype(np.float64)
    mean, scale = raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-9)
    design = np.column_stack([(raw - mean) / scale, np.ones(len(raw))])
    penalty = np.diag([*[ridge * len(raw)] * len(names), 1e-6])
    weights = np.zeros(design.shape[1])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (chance - targets) + penalty @ weights
        curvature = design.T @ (design * np.maximum(chance * (1 - chance), 1e-6)[:, None]) + penalty
        step = np.linalg.solve(curvature, gradient)
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        weights -= step
        if np.abs(step).max() < 1e-10:
            break
    slopes = weights[:-1] / scale
    found = {name: float(slope) for name, slope in zip(names, slopes, strict=True)}
    return {**found, "bias": float(weights[-1] - slopes @ mean)}
