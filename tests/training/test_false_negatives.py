"""The positive-aware filter: what scores nearly as high as the positive is likely right, and no negative."""

from __future__ import annotations

import numpy as np

from rankops.training.examples import Examples, mine_negatives


def mined(
    scores: list[float], positive: int, *, relevant: frozenset[int], pool: list[int], seeds: int = 40
) -> set[int]:
    """Every negative that is ever drawn for one query whose cosine with product ``i`` is ``scores[i]``."""
    angles = np.arccos(np.array(scores))
    products = np.column_stack([np.cos(angles), np.sin(angles)])
    examples = Examples(["q"], ["g"], np.array([positive]), np.ones(1), {"g": relevant})
    drawn = [
        mine_negatives(examples, np.array([[1.0, 0.0]]), products[pool], pool, per_row=1, seed=seed)
        for seed in range(seeds)
    ]
    return {int(row[0, 0]) for row in drawn}


# Product 0 is the positive (0.80); 1..12 score more or nearly as much; 13..19 are clearly less.
SCORES = [0.80, *np.linspace(0.95, 0.77, 12), *np.linspace(0.7, 0.1, 7)]
ALL = list(range(20))


def test_a_product_that_scores_nearly_as_high_as_the_positive_is_never_a_negative() -> None:
    found = mined(SCORES, 0, relevant=frozenset({0}), pool=ALL)
    assert found == set(range(13, 20))


def test_without_the_positive_in_the_pool_the_best_known_product_sets_the_ceiling() -> None:
    assert mined(SCORES, 0, relevant=frozenset({0, 1}), pool=ALL[1:]) <= set(range(5, 20))
    found = mined(SCORES, 0, relevant=frozenset({0, 15}), pool=ALL[1:])
    assert found <= {16, 17, 18, 19}, "all that scores more than the known right one is doubtful"


def test_where_everything_is_doubtful_the_lowest_ranked_are_taken() -> None:
    scores = [0.5, *np.linspace(0.9, 0.6, 9)]
    assert mined(scores, 0, relevant=frozenset({0}), pool=list(range(10))) == {9}
