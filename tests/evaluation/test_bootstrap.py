"""Intervals cover what they promise, are the same on every run, and respect groups of near-duplicate queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankops.errors import BadInput
from rankops.evaluation.bootstrap import holm, mean_interval, paired_difference


def test_the_interval_covers_the_true_mean_as_often_as_it_promises_even_for_thirty_queries() -> None:
    rng = np.random.default_rng(1)
    values = rng.beta(2, 1, size=(800, 30))  # skewed and bounded, as nDCG is
    hits = [(i := mean_interval(row, resamples=400, seed=7)).low <= 2 / 3 <= i.high for row in values]
    assert 0.93 <= np.mean(hits) <= 0.97


def test_the_interval_is_close_to_the_t_interval_for_normal_values() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.1, 200)
    half = 1.972 * values.std(ddof=1) / np.sqrt(200)
    found = mean_interval(values, resamples=20_000)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=5e-4)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(200), rel=0.03)


def test_equal_systems_have_a_difference_of_exactly_zero() -> None:
    values = np.random.default_rng(0).random(50)
    found = paired_difference(values, values)
    assert (found.low, found.mean, found.high) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).random(80)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_copies_of_a_query_in_one_group_are_not_more_evidence() -> None:
    values = np.random.default_rng(0).normal(0, 1, 50)
    once = mean_interval(values, resamples=4000)
    copied = np.repeat(values, 4)
    groups = [f"g{i // 4}" for i in range(200)]
    honest = mean_interval(copied, groups=groups, resamples=4000)
    naive = mean_interval(copied, resamples=4000)
    assert honest.n == 200 and honest.groups == 50
    assert honest.high - honest.low == pytest.approx(once.high - once.low, rel=0.05)
    assert naive.high - naive.low < 0.6 * (honest.high - honest.low)


def test_pairing_proves_a_difference_that_two_separate_intervals_would_hide() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random(100)
    better = difficulty + rng.normal(0.03, 0.02, 100)
    assert paired_difference(better, difficulty).low > 0
    assert mean_interval(better).low < mean_interval(difficulty).high


@pytest.mark.parametrize(
    ("a", "b", "groups", "message"),
    [
        ([], [], None, "no query"),
        ([0.1, float("nan")], [0.1, 0.2], None, "not a finite number"),
        ([0.1, 0.2], [0.1], None, "cannot pair"),
        ([0.1, 0.2], [0.1, 0.2], ["g"], "1 group labels for 2 values"),
        ([0.1, 0.2], [0.1, 0.3], ["g", "g"], "1 independent query group"),
    ],
)
def test_input_that_proves_nothing_is_refused(a, b, groups, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        paired_difference(a, b, groups=groups)


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests_and_never_reorders() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_between_the_raw_p_values_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= min(1.0, p * len(p_values)) + 1e-12 for p, a in zip(p_values, adjusted, strict=True))
