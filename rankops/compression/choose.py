"""Which rung wins: the fastest inside the quality budget, and the most faithful among the equally fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

TIE = 1.05
"""Rungs within this factor of the fastest passing one count as equally fast: measured times differ by that much."""


@dataclass(frozen=True)
class Choice:
    """``winner`` is None when every rung breaks the budget; ``losses`` holds what had to be measured."""

    winner: str | None
    losses: dict[str, float]


def choose(
    cost: Mapping[str, float],
    fidelity: Mapping[str, float],
    loss: Callable[[str], float],
    budget: float,
    *,
    all_of_them: bool = False,
) -> Choice:
    """Ask ``loss`` (expensive) from the cheapest rung on, and stop once no other rung can win.

    ``all_of_them`` asks for the others too, for the record; the winner is the same.

    ``cost``: latency or rank; ``fidelity``: larger is closer to the checkpoint; ``loss``: share of relevance lost.
    """
    losses: dict[str, float] = {}
    fastest: float | None = None
    for name in sorted(cost, key=lambda n: (cost[n], n)):
        if fastest is not None and cost[name] > TIE * fastest and not all_of_them:
            break
        losses[name] = loss(name)
        if fastest is None and losses[name] <= budget:
            fastest = cost[name]
    limit = float("inf") if fastest is None else TIE * fastest
    passing = [name for name in losses if losses[name] <= budget and cost[name] <= limit]
    winner = max(passing, key=lambda n: (fidelity[n], -cost[n]), default=None)
    return Choice(winner, losses)


def paired_difference(
    scores: np.ndarray, reference: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Mean of ``scores - reference`` over queries, with its 95 % percentile bootstrap interval (Efron 1979)."""
    differences = scores - reference
    picks = np.random.default_rng(seed).integers(0, len(differences), size=(resamples, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), [2.5, 97.5])
    return float(differences.mean()), (float(low), float(high))
