"""The few formulas of the room, each with its source. Counts in, plain floats out; no state.

``ALPHA`` is the level of every significance test here: ten tests a day at 0.001 mean a false alarm on at most one
normal day in a hundred, before the effect-size thresholds of ``causes`` make it rarer still.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

ALPHA = 0.001
Key = TypeVar("Key", str, int)


def shares(counts: Mapping[Key, int], keys: Sequence[Key], pseudo: float = 0.0) -> list[float]:
    """Share of each key; ``pseudo`` counts are added to every cell (0.5: Jeffreys' prior, avoids log 0)."""
    total = sum(counts.get(key, 0) for key in keys) + pseudo * len(keys)
    return [(counts.get(key, 0) + pseudo) / total for key in keys]


def psi(reference: Mapping[Key, int], current: Mapping[Key, int], keys: Sequence[Key]) -> float:
    """Population stability index, the sum of (q - p) ln(q / p) (Siddiqi, Credit Risk Scorecards, 2006).

    Below 0.1 stable, 0.1 to 0.25 a moderate change, above 0.25 a major one.
    """
    p, q = shares(reference, keys, 0.5), shares(current, keys, 0.5)
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def psi_noise(n: int, m: int, cells: int, alpha: float = ALPHA) -> float:
    """What PSI reaches by chance: (1/n + 1/m) times the chi-square quantile with ``cells - 1`` degrees of freedom.

    Yurdakul and Naranjo, Statistical properties of the population stability index, J. Risk Model Validation, 2020.
    """
    return (1 / n + 1 / m) * chi_square_quantile(cells - 1, alpha) if cells > 1 else 0.0


def jensen_shannon(reference: Mapping[Key, int], current: Mapping[Key, int], keys: Sequence[Key]) -> float:
    """Jensen-Shannon divergence in bits, between 0 and 1 (Lin, IEEE Trans. Information Theory 37(1), 1991)."""
    p, q = shares(reference, keys), shares(current, keys)
    return sum(_kl_term(a, (a + b) / 2) / 2 + _kl_term(b, (a + b) / 2) / 2 for a, b in zip(p, q, strict=True))


def homogeneity_p(reference: Mapping[Key, int], current: Mapping[Key, int], keys: Sequence[Key]) -> float:
    """p of the likelihood-ratio (G) test that two rows of counts have one distribution (Wilks 1938).

    G = 2 (n + m) ln 2 times the Jensen-Shannon divergence weighted by sample size.
    """
    n, m = sum(reference.get(k, 0) for k in keys), sum(current.get(k, 0) for k in keys)
    used = sum(1 for k in keys if reference.get(k, 0) + current.get(k, 0))
    if used < 2 or not n or not m:
        return 1.0
    p, q, w = shares(reference, keys), shares(current, keys), n / (n + m)
    divergence = 0.0
    for a, b in zip(p, q, strict=True):
        mixed = w * a + (1 - w) * b
        divergence += w * _kl_term(a, mixed) + (1 - w) * _kl_term(b, mixed)
    return chi_square_tail(2 * (n + m) * math.log(2) * divergence, used - 1)


def rate_increase_p(k_ref: int, n_ref: int, k_cur: int, n_cur: int) -> float:
    """One-sided p that the current rate is higher: the two-proportion z test with a pooled rate.

    With under five expected hits in a cell the normal approximation is poor: then Fisher's exact test.
    """
    if not n_ref or not n_cur:
        return 1.0
    pooled = (k_ref + k_cur) / (n_ref + n_cur)
    if pooled in (0.0, 1.0):
        return 1.0
    if min(n_ref, n_cur) * min(pooled, 1 - pooled) < 5:
        return _fisher_tail(k_ref, n_ref, k_cur, n_cur)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_ref + 1 / n_cur))
    return normal_tail((k_cur / n_cur - k_ref / n_ref) / spread)


def kolmogorov_smirnov(reference: Mapping[int, int], current: Mapping[int, int]) -> tuple[float, float]:
    """``(D, p)`` of two histograms over the same bins; binning makes p conservative.

    p is the first term of Kolmogorov's series, 2 exp(-2 D^2 nm / (n + m)) (Smirnov 1948).
    """
    n, m = sum(reference.values()), sum(current.values())
    if not n or not m:
        return 0.0, 1.0
    below_ref = below_cur = 0
    distance = 0.0
    for bin_ in sorted({*reference, *current}):
        below_ref += reference.get(bin_, 0)
        below_cur += current.get(bin_, 0)
        distance = max(distance, abs(below_ref / n - below_cur / m))
    return distance, min(1.0, 2 * math.exp(-2 * distance**2 * n * m / (n + m)))


def mean_and_error(values: Mapping[float, int]) -> tuple[float, float]:
    """``(mean, standard error)`` of a weighted table ``{value: count}``."""
    n = sum(values.values())
    if not n:
        return 0.0, 0.0
    mean = sum(value * count for value, count in values.items()) / n
    variance = sum(count * (value - mean) ** 2 for value, count in values.items()) / max(1, n - 1)
    return mean, math.sqrt(variance / n)


def prediction_bound(normal: Sequence[float], alpha: float = ALPHA) -> float | None:
    """What one more normal day stays under: mean + t s sqrt(1 + 1/K) over the scores of K normal days.

    None with fewer than four days: a spread from three numbers says nothing. Source: the one-sided prediction
    interval for a normal sample (Hahn 1969).
    """
    k = len(normal)
    if k < 4:
        return None
    from scipy.special import stdtrit

    mean = sum(normal) / k
    spread = math.sqrt(sum((value - mean) ** 2 for value in normal) / (k - 1))
    return mean + float(stdtrit(k - 1, 1 - alpha)) * spread * math.sqrt(1 + 1 / k)


def normal_tail(z: float) -> float:
    """P(Z > z)."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def chi_square_tail(x: float, freedom: int) -> float:
    """P(chi-square > x)."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, max(0.0, x)))


def chi_square_quantile(freedom: int, alpha: float = ALPHA) -> float:
    """The value that chi-square exceeds with probability ``alpha``."""
    from scipy.special import chdtri

    return float(chdtri(freedom, alpha))


def _fisher_tail(k_ref: int, n_ref: int, k_cur: int, n_cur: int) -> float:
    hits, total = k_ref + k_cur, n_ref + n_cur

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    base = log_choose(total, hits)
    most = min(hits, n_cur)
    terms = (
        log_choose(n_cur, k) + log_choose(n_ref, hits - k) - base for k in range(max(k_cur, hits - n_ref), most + 1)
    )
    return min(1.0, sum(math.exp(term) for term in terms))


def _kl_term(a: float, b: float) -> float:
    return a * math.log2(a / b) if a > 0 else 0.0
