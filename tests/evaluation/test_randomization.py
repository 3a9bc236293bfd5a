"""The randomization test counts sign patterns, holds its level, and sees what changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control, permutation_test

from rankops.evaluation.randomization import benjamini_hochberg, loss_p_value, loss_p_values, two_sided


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1).filter(lambda v: abs(v) > 1e-6), min_size=1, max_size=9))
def test_few_changes_are_counted_pattern_by_pattern(values: list[float]) -> None:
    sums = [np.dot(signs, np.abs(values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    share = np.mean(np.asarray(sums) <= sum(values) + 1e-9)
    assert loss_p_values(np.asarray([[*values, 0.0, 0.0]]))[0] == pytest.approx(share)


def test_few_changes_agree_with_scipy() -> None:
    values = np.array([-0.3, -0.1, 0.05, -0.2, -0.4, 0.02, -0.15])
    theirs = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="less")
    assert loss_p_values(values[None, :])[0] == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(("losses", "gains"), [(14, 2), (15, 5), (30, 20), (60, 45)])
def test_hits_and_misses_are_a_sign_test(losses: int, gains: int) -> None:
    values = np.array([-1.0] * losses + [1.0] * gains + [0.0] * 100)
    exact = binomtest(gains, losses + gains, 0.5, alternative="less").pvalue
    assert loss_p_values(values[None, :])[0] == pytest.approx(exact, rel=0.5, abs=2e-4)


def test_no_change_proves_nothing_and_groups_toss_one_coin() -> None:
    assert loss_p_value(np.zeros(5), list("abcde")) == 1.0
    many = loss_p_value(np.full(12, -0.1), [f"g{i}" for i in range(12)])
    one = loss_p_value(np.full(12, -0.1), ["g"] * 12)
    assert (many, one) == (0.5**12, 0.5)


@pytest.mark.parametrize("kind", ["hits", "ndcg", "sparse", "skewed"])
def test_equal_systems_are_called_worse_no_more_often_than_promised(kind: str) -> None:
    rng = np.random.default_rng(3)
    sizes = {
        "hits": (rng.random(300) < 0.1).astype(float),
        "ndcg": np.abs(rng.normal(0, 0.15, 300)),
        "sparse": np.where(rng.random(300) < 0.03, rng.random(300), 0.0),
        "skewed": rng.exponential(0.1, 300) ** 2,
    }[kind]
    signs = rng.choice([-1.0, 1.0], size=(6000, 300))
    found = loss_p_values(sizes * signs)
    for level in (0.05, 0.01, 0.002):
        # three standard errors above the level
        assert (found <= level).mean() <= level + 3 * np.sqrt(level / 6000)


def test_false_discovery_control_agrees_with_scipy() -> None:
    p_values = [0.03, 0.001, 0.2, 0.8, 0.04, 0.012]
    assert benjamini_hochberg(p_values) == pytest.approx(false_discovery_control(p_values).tolist())
    assert benjamini_hochberg([]) == []
    assert two_sided(0.7, 0.31) == 0.62 and two_sided(0.9, 0.8) == 1.0
