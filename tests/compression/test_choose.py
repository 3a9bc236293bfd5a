"""The choice among measured rungs, the measuring itself, and the sample it is done on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from rankops.compression.choose import choose, paired_difference
from rankops.compression.latency import latencies
from rankops.compression.parity import compare
from rankops.compression.sampling import sample_texts
from rankops.dataset import Dataset
from rankops.errors import BadInput


class Losses:
    """A loss function that remembers what it was asked for."""

    def __init__(self, **losses: float) -> None:
        self.losses = losses
        self.asked: list[str] = []

    def __call__(self, name: str) -> float:
        self.asked.append(name)
        return self.losses[name]


def test_the_fastest_rung_inside_the_budget_wins_and_slower_ones_are_not_measured() -> None:
    loss = Losses(a=0.02, b=0.004, c=0.0)
    choice = choose({"a": 1.0, "b": 1.5, "c": 4.0}, {"a": 0.9, "b": 0.99, "c": 1.0}, loss, 0.005)
    assert choice.winner == "b"
    assert loss.asked == ["a", "b"]


def test_of_equally_fast_rungs_the_most_faithful_wins() -> None:
    cost = {"a": 1.00, "b": 1.04, "c": 1.06}
    choice = choose(cost, {"a": 0.97, "b": 0.99, "c": 1.0}, Losses(a=0, b=0, c=0), 0.005)
    assert choice.winner == "b"


def test_a_faithful_rung_outside_the_budget_does_not_win_a_tie() -> None:
    choice = choose({"a": 1.0, "b": 1.01}, {"a": 0.97, "b": 0.99}, Losses(a=0.0, b=0.5), 0.005)
    assert choice.winner == "a"


def test_nothing_wins_when_every_rung_breaks_the_budget() -> None:
    choice = choose({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}, Losses(a=0.1, b=float("inf")), 0.005)
    assert choice.winner is None
    assert choice.losses == {"a": 0.1, "b": float("inf")}


def test_the_paired_interval_is_around_the_difference_and_narrower_than_the_scores_noise() -> None:
    noise = np.random.default_rng(0).uniform(0, 1, 200)
    difference, (low, high) = paired_difference(noise + 0.01, noise)
    assert difference == pytest.approx(0.01)
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)
    assert paired_difference(noise, noise[::-1])[1][0] < 0 < paired_difference(noise, noise[::-1])[1][1]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_parity_of_equal_vectors_is_perfect_and_a_collapsed_model_is_called_so() -> None:
    generator = np.random.default_rng(0)
    queries, products = unit(generator.standard_normal((20, 16))), unit(generator.standard_normal((40, 16)))
    same = compare(queries, products, queries, products)
    assert same.problem() is None
    assert same.cosine_worst == pytest.approx(1.0, abs=1e-6)
    assert same.top10_overlap == 1.0
    flat = unit(np.ones((60, 16)) + 1e-3 * generator.standard_normal((60, 16)))
    assert "collapsed" in str(compare(queries, products, flat[:20], flat[20:]).problem())
    other = unit(generator.standard_normal((60, 16)))
    assert "mean cosine" in str(compare(queries, products, other[:20], other[20:]).problem())


def test_latency_is_measured_one_query_at_a_time_in_rotating_blocks() -> None:
    log: list[tuple[str, str]] = []
    queries = [f"q{n}" for n in range(5)]
    taken = latencies({name: lambda query, name=name: log.append((name, query)) for name in "abc"}, queries, rounds=3)
    assert {name: values.shape for name, values in taken.items()} == dict.fromkeys("abc", (3, 5))
    assert {query for _, query in log} == set(queries)
    blocks = [name for i, (name, _) in enumerate(log) if i == 0 or log[i - 1][0] != name]
    assert "".join(blocks) == "abcbca" + "cab"


def test_sample_texts_are_dev_queries_and_product_texts(dataset: Dataset) -> None:
    queries, products = sample_texts(dataset, queries=4, products=8)
    assert queries == ["red shoe", "green shoe", "white shoe", "grey shoe"]
    assert len(products) == 8 and products[0] == "red shoe. for garden"
    with pytest.raises(BadInput, match="no dev query"):
        sample_texts(replace(dataset, queries=dataset.queries.with_columns(split=pl.lit("test"))))
