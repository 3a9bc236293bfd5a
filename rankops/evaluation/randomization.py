"""The paired randomization test: could these differences as well have had the other signs?

Two systems that are equally good could swap their names on any query. So under "no difference" every sign of a
difference is a coin toss, and the p-value of a loss is the share of all sign patterns whose sum is as low as the
observed one (Fisher 1935; for retrieval: Smucker, Allan & Carterette, CIKM 2007). Near-duplicate queries toss one
coin: the unit is the sum over a group.

Only what changed counts: two releases of one model differ on few queries, and a test on the changed ones sees a small
loss that an interval over all queries cannot be sure of. Nothing is assumed about the size of differences, and the
result is the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_EXACT = 12  # changed groups up to which all sign patterns (4,096) are looked at
_TINY = 1e-9


def loss_p_values(sums: Floats) -> Floats:
    """One-sided p-values (rows,) of "no loss" for summed differences (rows, groups); 1 where nothing changed.

    Up to 12 changed groups all sign patterns are counted. Beyond, the sum under random signs is normal with variance
    ``sum(s ** 2)``, with half a step of a lattice (the smallest difference) as correction for metrics that are 0 or 1,
    and the p-value is never below ``2 ** -changed``, the smallest that any pattern can have.
    """
    from scipy.special import ndtr

    values = np.where(np.abs(sums) < _TINY, 0.0, sums)
    changed = (values != 0).sum(axis=1)
    total = values.sum(axis=1)
    step = np.where(values == 0, np.inf, np.abs(values)).min(axis=1, initial=np.inf)
    spread = np.sqrt((values**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = ndtr((total + step) / spread)
    p_values = np.where(changed > 0, np.maximum(normal, 0.5 ** np.minimum(changed, 1000)), 1.0)
    for count in range(1, _EXACT + 1):
        rows = changed == count
        if rows.any():
            p_values[rows] = _exact(values[rows][values[rows] != 0].reshape(-1, count))
    return np.minimum(p_values, 1.0)


def loss_p_value(differences: Floats, groups: Sequence[str]) -> float:
    """The p-value of "no loss" for the differences (n,) of queries in groups (n labels)."""
    _, codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(codes, weights=differences).astype(np.float64)
    return float(loss_p_values(sums[None, :])[0])


def two_sided(p_loss: float, p_gain: float) -> float:
    """The p-value of "no difference" from the one-sided ones."""
    return min(1.0, 2 * min(p_loss, p_gain))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (q-values), in input order (Benjamini & Hochberg, JRSS B 57(1), 1995).

    Of those at most 0.05, one in twenty is expected to be a false alarm: right for a list that people read, too weak
    for a gate (see :func:`rankops.evaluation.bootstrap.holm`).
    """
    adjusted = [0.0] * len(p_values)
    running = 1.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for place in range(len(order), 0, -1):
        index = order[place - 1]
        running = min(running, p_values[index] * len(order) / place)
        adjusted[index] = running
    return adjusted


def _exact(values: Floats) -> Floats:
    """The share of sign patterns whose sum is at most the observed one, for each row of ``values`` (rows, count)."""
    sums = np.abs(values) @ _patterns(values.shape[1]).T
    shares: Floats = (sums <= values.sum(axis=1, keepdims=True) + _TINY).mean(axis=1)
    return shares


@cache
def _patterns(count: int) -> Floats:
    """Every pattern of signs, (2 ** count, count)."""
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    signs: Floats = bits.astype(np.float64) * 2.0 - 1.0
    return signs
