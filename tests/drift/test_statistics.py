import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from rankops.drift import statistics as st

REF, CUR = {"a": 120, "b": 60, "c": 20}, {"a": 30, "b": 40, "c": 30}
KEYS = ["a", "b", "c"]


def test_psi_is_siddiqis_sum() -> None:
    p, q = np.array([120.5, 60.5, 20.5]) / 201.5, np.array([30.5, 40.5, 30.5]) / 101.5
    assert st.psi(REF, CUR, KEYS) == pytest.approx(float(np.sum((q - p) * np.log(q / p))))
    assert st.psi(REF, REF, KEYS) == 0


def test_psi_of_two_samples_of_one_distribution_stays_under_its_noise() -> None:
    rng = np.random.default_rng(3)
    over = 0
    for _ in range(1000):
        a, b = rng.multinomial(400, [0.5, 0.3, 0.2]), rng.multinomial(100, [0.5, 0.3, 0.2])
        over += st.psi(
            dict(zip(KEYS, a.tolist(), strict=True)), dict(zip(KEYS, b.tolist(), strict=True)), KEYS
        ) > st.psi_noise(400, 100, 3)
    assert over <= 6  # 1 is expected at the level 0.001


def test_jensen_shannon_agrees_with_scipy() -> None:
    p, q = [0.6, 0.3, 0.1], [0.3, 0.4, 0.3]
    assert st.jensen_shannon(REF, CUR, KEYS) == pytest.approx(float(jensenshannon(p, q, base=2)) ** 2)
    assert st.jensen_shannon({"a": 1}, {"b": 1}, ["a", "b"]) == pytest.approx(1.0)


def test_the_homogeneity_test_is_scipys_g_test() -> None:
    table = [[120, 60, 20], [30, 40, 30]]
    expected = stats.chi2_contingency(table, lambda_="log-likelihood", correction=False).pvalue
    assert st.homogeneity_p(REF, CUR, KEYS) == pytest.approx(float(expected))


def test_the_rate_test_is_pooled_z_and_exact_for_small_counts() -> None:
    k1, n1, k2, n2 = 200, 1000, 130, 500
    pooled = (k1 + k2) / (n1 + n2)
    z = (k2 / n2 - k1 / n1) / math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    assert st.rate_increase_p(k1, n1, k2, n2) == pytest.approx(float(stats.norm.sf(z)))
    fisher = stats.fisher_exact([[3, 17], [1, 79]], alternative="greater").pvalue
    assert st.rate_increase_p(1, 80, 3, 20) == pytest.approx(float(fisher))
    assert st.rate_increase_p(0, 10, 0, 10) == 1.0


def test_the_kolmogorov_smirnov_distance_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 30, 400), rng.integers(4, 34, 300)
    distance, p = st.kolmogorov_smirnov(Counter(a.tolist()), Counter(b.tolist()))
    expected = stats.ks_2samp(a, b, method="asymp")
    assert distance == pytest.approx(float(expected.statistic))
    assert p == pytest.approx(float(expected.pvalue), rel=0.2)  # scipy corrects for the sample size


def test_a_normal_day_stays_under_the_prediction_bound_of_normal_days() -> None:
    rng = np.random.default_rng(1)
    over = 0
    for _ in range(2000):
        scores = rng.normal(0, 1, 8)
        bound = st.prediction_bound(scores[:7].tolist())
        assert bound is not None
        over += scores[7] > bound
    assert over <= 8  # 2 are expected at the level 0.001
    assert st.prediction_bound([0.1, 0.2, 0.1]) is None
