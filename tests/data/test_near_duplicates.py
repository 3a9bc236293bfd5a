from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.data.near_duplicates import BANDS, ROWS, find_near_duplicates, jaccard, shingles, signatures
from rankops.errors import BadInput

WORDS = ["red", "boots", "leather", "kettle", "steel", "lamp", "oak", "desk", "garden", "hose"]
texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join), max_size=12)


@settings(max_examples=60, deadline=None)
@given(texts, st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_no_reported_pair_is_wrong_and_identical_texts_are_always_found(found_texts, threshold):
    found = find_near_duplicates(found_texts, threshold)
    for left, right, similarity in found.pairs:
        assert similarity == jaccard(shingles(found_texts[left]), shingles(found_texts[right])) >= threshold
    for left, first in enumerate(found_texts):
        for right, second in enumerate(found_texts):
            if shingles(first) == shingles(second):
                assert found.group_of[left] == found.group_of[right]
    assert all(group <= index and found.group_of[group] == group for index, group in enumerate(found.group_of))


def test_the_share_of_equal_minhash_values_estimates_the_similarity():
    left = shingles("durable plastic pruning shears brown, for the garden and the terrace")
    right = shingles("durable plastic pruning shears green, for the garden and the terrace")
    values = signatures([left, right])
    estimate = float((values[0] == values[1]).mean())
    assert values.shape == (2, BANDS * ROWS)
    assert abs(estimate - jaccard(left, right)) < 3 * np.sqrt(0.25 / values.shape[1])


def test_almost_equal_products_are_found_among_many_others():
    rng = np.random.default_rng(3)
    others = [" ".join(rng.choice(WORDS, 6)) + f" model {rng.integers(10**9)}" for _ in range(400)]
    base = "Lexmark E330, E340, E332, E342 High Yield Return Program Toner Cartridge Original Black in a box"
    texts = [*others, base, base.replace("Black", "black "), base.replace("in a box", "in a bag")]
    (group,) = find_near_duplicates(texts, 0.9).groups()
    assert group == [400, 401, 402]
    assert find_near_duplicates(texts, 0.9) == find_near_duplicates(texts, 0.9)


def test_no_text_no_group_and_a_wrong_threshold_is_refused():
    assert find_near_duplicates([]).groups() == []
    with pytest.raises(BadInput, match="a similarity of 0 is not in"):
        find_near_duplicates(["a"], 0)
