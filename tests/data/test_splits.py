from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.data.splits import assign_splits, near_duplicate_groups, within_one_edit, word_key
from rankops.errors import BadInput
from rankops.text import normalize_query

# Few letters, so that near-duplicates are the rule and not the exception.
WORDS = st.text(alphabet="abs", min_size=1, max_size=5)
QUERIES = st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=25)


def edit_distance(left: str, right: str) -> int:
    """Damerau-Levenshtein (adjacent swaps), the textbook table; slow, and independent of the code under test."""
    table = {(i, j): i + j for i in range(len(left) + 1) for j in range(len(right) + 1) if i == 0 or j == 0}
    for i, a in enumerate(left, 1):
        for j, b in enumerate(right, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(left), len(right)]


@given(QUERIES, st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_no_two_queries_of_different_splits_are_near_duplicates(queries, seed):
    assigned = assign_splits(queries, seed, (0.4, 0.2, 0.4))
    for (one, (group_one, split_one)), (two, (group_two, split_two)) in combinations(
        zip(queries, assigned, strict=True), 2
    ):
        if split_one != split_two:
            assert group_one != group_two
            assert edit_distance(normalize_query(one), normalize_query(two)) > 1
            assert word_key(one) != word_key(two)


@given(st.text(alphabet="abc", max_size=6), st.text(alphabet="abc", max_size=6))
@settings(max_examples=400, deadline=None)
def test_within_one_edit_agrees_with_the_textbook_distance(left, right):
    assert within_one_edit(left, right) == (edit_distance(left, right) <= 1)


@given(QUERIES, QUERIES, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_new_queries_leave_old_groups_that_they_do_not_touch_alone(old, new, seed):
    before = dict(zip(old, assign_splits(old, seed), strict=True))
    both = old + new
    after = dict(zip(both, assign_splits(both, seed), strict=True))
    groups = near_duplicate_groups(both)
    touched = {group for query, group in zip(both, groups, strict=True) if query not in before}
    for query, group in zip(both, groups, strict=True):
        if query in before and group not in touched:
            assert after[query] == before[query]


@given(QUERIES)
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_queries_does_not_matter(queries):
    forward = dict(zip(queries, assign_splits(queries, 1), strict=True))
    backward = dict(zip(queries[::-1], assign_splits(queries[::-1], 1), strict=True))
    assert forward == backward


def test_variants_of_one_query_share_a_group():
    variants = ["red boots", "Red  Boots", "boots red", "red boot", "red bots", "rde boots", "boot red"]
    groups = near_duplicate_groups([*variants, "blue boots", "red hats"])
    assert len(set(groups[: len(variants)])) == 1
    assert len(set(groups)) == 3


def test_given_groups_are_kept_together():
    groups = near_duplicate_groups(["sofa", "couch", "lamp"], ["a", "a", "b"])
    assert groups[0] == groups[1] != groups[2]
    with pytest.raises(BadInput, match="2 group labels for 3 queries"):
        near_duplicate_groups(["a", "b", "c"], ["x", "y"])


def test_shares_are_met_and_the_seed_matters(shop):
    queries = shop.pool.surfaces
    counts = Counter(split for _, split in assign_splits(queries, 1))
    assert counts["train"] / len(queries) == pytest.approx(0.7, abs=0.06)
    assert counts["test"] / len(queries) == pytest.approx(0.2, abs=0.06)
    assert assign_splits(queries, 1) == assign_splits(queries, 1)
    assert assign_splits(queries, 1) != assign_splits(queries, 2)
    with pytest.raises(BadInput, match="shares"):
        assign_splits(queries, 1, (0.9, 0.2, 0.2))


def test_chains_of_near_duplicates_do_not_swallow_the_shop():
    from rankops.data.shop.shop import Shop
    from rankops.data.shop.world import World

    queries = Shop(World(products=2500, queries=3000, days=1)).pool.surfaces
    sizes = Counter(near_duplicate_groups(queries))
    assert max(sizes.values()) < 0.01 * len(queries)
    assert len(sizes) > 0.6 * len(queries)


def test_the_dataset_of_the_shop_leaks_nothing(dataset):
    train = dataset.split("train")["query"].to_list()
    held_out = dataset.split("test")["query"].to_list() + dataset.split("dev")["query"].to_list()
    close = [(a, b) for a in held_out for b in train if abs(len(a) - len(b)) <= 1 and edit_distance_at_most_one(a, b)]
    assert not close
    assert not {word_key(query) for query in held_out} & {word_key(query) for query in train}
    assert dataset.queries.group_by("group_id").agg(splits=_distinct("split"))["splits"].max() == 1


def edit_distance_at_most_one(left: str, right: str) -> bool:
    """Cheap filter (shared ends) before the textbook table."""
    return (left[:1] == right[:1] or left[1:2] == right[1:2] or left[-1:] == right[-1:]) and (
        sum(a == b for a, b in zip(left, right, strict=False))
        + sum(a == b for a, b in zip(left[::-1], right[::-1], strict=False))
        >= min(len(left), len(right)) - 2
        and edit_distance(left, right) <= 1
    )


def _distinct(column: str):
    import polars as pl

    return pl.col(column).n_unique()
