"""What the benchmark reports about pairs whose labels chose nothing that decides them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.matching_wdc import cross_fitted, f1_shares, halves, weighted_f1
from rankops.decisions import f1_score


def test_a_title_is_never_on_both_sides_of_a_split() -> None:
    groups = [f"t{row % 7}" for row in range(40)]
    for first, second in halves(groups, 5):
        assert sorted([*first, *second]) == list(range(40))
        assert not {groups[row] for row in first} & {groups[row] for row in second}


def test_scores_that_say_nothing_gain_nothing_from_choosing_a_threshold() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.random(600) < 0.25, [str(row) for row in range(600)]
    sure = {"neural": labels + rng.normal(0, 0.05, 600)}
    assert min(f1_score(labels, decided) for decided in cross_fitted(sure, labels, groups, 3)) > 0.99
    blind = {"neural": rng.normal(size=600)}
    found = np.mean([f1_score(labels, decided) for decided in cross_fitted(blind, labels, groups, 3)])
    assert found < f1_score(labels, np.ones(600, dtype=bool)) + 0.02


def test_shares_average_to_f1_and_weights_change_it_as_repetition_would() -> None:
    rng = np.random.default_rng(1)
    labels, decided = rng.random(50) < 0.4, rng.random(50) < 0.5
    assert f1_shares(labels, decided).mean() == pytest.approx(f1_score(labels, decided))
    times = rng.integers(1, 4, 50)
    again = weighted_f1(labels, decided, times.astype(float))
    assert again == pytest.approx(f1_score(np.repeat(labels, times), np.repeat(decided, times)))
