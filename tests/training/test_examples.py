"""Examples, negatives and batches: no false negatives, every draw a function of the seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput
from rankops.pairs import training_pairs
from rankops.training.examples import Examples, build_examples, mine_negatives, text_numbers
from rankops.training.sampling import RankingBatches
from tests.training.conftest import build_dataset


def examples_of(dataset: Dataset) -> tuple[Examples, list[int]]:
    same_text = text_numbers(dataset.product_texts())
    return build_examples(dataset, training_pairs(dataset), same_text), same_text


def test_examples_hold_train_queries_only() -> None:
    dataset = build_dataset()
    examples, _ = examples_of(dataset)
    assert set(examples.queries) == set(dataset.split("train")["query"])
    assert not set(examples.queries) & set(dataset.split("dev")["query"])


def test_pairs_that_differ_in_case_are_merged_and_their_weights_added() -> None:
    dataset = build_dataset()
    pairs = pl.DataFrame(
        {"query": ["Red X", "red  x", "blue y"], "product_id": ["p0-0", "p0-0", "p1-0"], "weight": [1.0, 2.0, 1.0]}
    )
    examples = build_examples(dataset, pairs, text_numbers(dataset.product_texts()))
    assert dict(zip(examples.queries, examples.weights.tolist(), strict=True)) == {"red x": 3.0, "blue y": 1.0}


@pytest.mark.parametrize(
    ("product", "weight", "message"),
    [("nowhere", 1.0, "not in the catalogue, first 'nowhere'"), ("p0-0", float("nan"), "not positive and finite")],
)
def test_a_bad_pair_is_refused_by_name(product: str, weight: float, message: str) -> None:
    pairs = pl.DataFrame({"query": ["a", "b"], "product_id": [product, "p1-0"], "weight": [weight, 1.0]})
    with pytest.raises(BadInput, match=message):
        build_examples(build_dataset(), pairs, list(range(64)))


def test_what_the_group_clicked_or_raters_liked_and_its_twins_are_relevant() -> None:
    dataset = build_dataset()
    queries = pl.DataFrame(
        [
            ("a", "red", "g", "train", "head", "x"),
            ("b", "reds", "g", "train", "head", "x"),
            ("c", "blue", "h", "train", "head", "x"),
        ],
        schema=COLUMNS["queries"],
        orient="row",
    )
    judged = pl.DataFrame([("b", "p2-0", 2), ("b", "p3-0", 0)], schema=COLUMNS["judgements"], orient="row")
    titles = dataset.catalogue["title"].to_list()
    titles[9] = titles[8]  # p2-1 becomes a twin of p2-0
    catalogue = dataset.catalogue.with_columns(pl.Series("title", titles), pl.lit("c").alias("category"))
    dataset = replace(
        dataset, catalogue=catalogue, queries=queries, judgements=judged, interactions=dataset.interactions.clear()
    )
    pairs = pl.DataFrame({"query": ["red", "blue"], "product_id": ["p0-0", "p1-0"], "weight": [1.0, 1.0]})
    examples = build_examples(dataset, pairs, text_numbers(dataset.product_texts()))
    assert examples.relevant["g"] == {0, 8, 9} and examples.relevant["h"] == {4}


def random_vectors(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_mined_negatives_are_high_ranked_never_relevant_and_skip_the_very_top() -> None:
    examples, _ = examples_of(build_dataset())
    queries, products = random_vectors(len(examples), 0), random_vectors(64, 1)
    mined = mine_negatives(examples, queries, products, range(64), per_row=3, seed=5)
    assert mined.shape == (len(examples), 3)
    for row, negatives in enumerate(mined.tolist()):
        relevant = examples.relevant[examples.groups[row]]
        order = [p for p in np.argsort(-(products @ queries[row]), kind="stable").tolist() if p not in relevant]
        ranks = [order.index(p) for p in negatives]
        assert len(set(negatives)) == 3 and min(ranks) >= 5 and max(ranks) < 35
    assert (mined == mine_negatives(examples, queries, products, range(64), per_row=3, seed=5)).all()
    assert (mined != mine_negatives(examples, queries, products, range(64), per_row=3, seed=6)).any()


def test_in_a_large_pool_three_percent_of_the_top_is_skipped() -> None:
    examples, _ = examples_of(build_dataset())
    only = replace(examples, relevant={group: frozenset({900}) for group in examples.relevant})
    queries, products = random_vectors(len(examples), 0), random_vectors(1000, 1)
    mined = mine_negatives(only, queries, products, range(1000), per_row=1, seed=5)[:, 0]
    ranks = (products @ queries.T > (products[mined] * queries).sum(axis=1)).sum(axis=0)
    assert 29 <= ranks.min() < 35 and 55 < ranks.max() <= 61


def test_mining_more_negatives_than_the_catalogue_has_is_refused() -> None:
    examples, _ = examples_of(build_dataset())
    with pytest.raises(BadInput, match=r"lower training\.hard_negatives"):
        mine_negatives(examples, random_vectors(len(examples), 0), random_vectors(3, 1), range(3), per_row=3, seed=0)


def with_negatives() -> tuple[Examples, list[int]]:
    examples, same_text = examples_of(build_dataset())
    mined = mine_negatives(
        examples, random_vectors(len(examples), 0), random_vectors(64, 1), range(64), per_row=2, seed=0
    )
    return replace(examples, negatives=mined), same_text


def test_no_batch_holds_a_query_or_product_twice_or_a_known_positive_as_a_negative() -> None:
    examples, same_text = with_negatives()
    for rows in RankingBatches(examples, same_text, batch_size=8, steps=50, seed=1):
        groups = [examples.groups[row] for row in rows]
        products = [{same_text[p] for p in examples.row_products(row)} for row in rows]
        assert 2 <= len(rows) <= 8 and len(set(groups)) == len(groups)
        assert sum(len(part) for part in products) == len(set().union(*products))
        for row, group in zip(rows, groups, strict=True):
            others = set().union(*(p for r, p in zip(rows, products, strict=True) if r != row))
            assert not {same_text[p] for p in examples.relevant[group]} & others


def test_batches_depend_on_seed_and_step_only() -> None:
    examples, same_text = with_negatives()
    first = RankingBatches(examples, same_text, batch_size=8, steps=20, seed=1)
    assert list(first)[13] == first.batch(13)
    assert list(first) != list(RankingBatches(examples, same_text, batch_size=8, steps=20, seed=2))
    assert len({tuple(rows) for rows in first}) == 20


def test_heavy_pairs_are_drawn_more_often() -> None:
    examples, same_text = examples_of(build_dataset())
    weights = np.ones(len(examples))
    weights[0] = 20.0
    examples = replace(examples, weights=weights, negatives=np.zeros((len(examples), 0), dtype=np.int64))
    drawn = Counter(
        row for rows in RankingBatches(examples, same_text, batch_size=4, steps=200, seed=0) for row in rows
    )
    assert drawn[0] > 120 > 3 * max(count for row, count in drawn.items() if row != 0) / 2


def test_a_feed_where_everything_is_relevant_for_everything_is_refused() -> None:
    examples, same_text = examples_of(build_dataset())
    everything = {group: frozenset(range(64)) for group in examples.relevant}
    broken = replace(examples, relevant=everything, negatives=np.zeros((len(examples), 0), dtype=np.int64))
    with pytest.raises(BadInput, match="no two training pairs"):
        RankingBatches(broken, same_text, batch_size=8, steps=1, seed=0).batch(0)
