from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.compression.next_item import RUNGS, build_rung
from rankops.cooccurrence import ease
from rankops.errors import BadInput, IntegrityError
from rankops.next_item import NextItemModel, load_next_item, next_item_digest, truncated

IDS = ["a", "b", "c", "d"]
WEIGHTS = np.array(
    [[0.0, 0.9, 0.1, 0.0], [0.9, 0.0, 0.0, 0.2], [0.1, 0.0, 0.0, -0.5], [0.0, 0.2, -0.5, 0.0]], dtype=np.float32
)


def model(k: int = 3) -> NextItemModel:
    return truncated(WEIGHTS, IDS, np.array([1.0, 5.0, 2.0, 10.0]), k, {})


def test_scores_add_up_over_the_context_and_negative_links_count() -> None:
    found = model().recommend(["b", "c"], 4)
    assert found.product_ids == ["a", "d"]
    assert found.scores == pytest.approx([1.0, -0.3], abs=1e-5)


def test_an_empty_or_unknown_context_gets_what_sells() -> None:
    assert model().recommend([], 4).product_ids == ["d", "b", "c", "a"]
    unknown = model().recommend(["zzz"], 2)
    assert (unknown.product_ids, unknown.known) == (["d", "b"], [])


def test_excluded_products_and_full_categories_are_passed_over() -> None:
    assert model().recommend(["a"], 4, exclude=["b"]).product_ids == ["c", "d"]
    categories = {"b": "x", "c": "x", "d": "y"}
    assert model().recommend(["a"], 2, categories=categories, max_per_category=1).product_ids == ["b", "d"]


def test_only_the_strongest_links_are_kept_by_absolute_weight() -> None:
    kept = model(k=1)
    assert kept.neighbours.ravel().tolist() == [1, 0, 3, 2]
    assert kept.recommend(["c"], 3).product_ids[-1] == "d"  # pushed down by -0.5


def test_a_model_survives_its_folder_and_the_bytes_are_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        model().save(tmp_path / name)
    assert next_item_digest(tmp_path / "one") == next_item_digest(tmp_path / "two")
    assert load_next_item(tmp_path / "one").recommend(["a"], 3) == model().recommend(["a"], 3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.npy", np.full((4, 3), np.nan, np.float32), "NaN"),
        ("weights.npy", np.zeros((3, 3), np.float32), "do not fit"),
        ("neighbours.npy", np.full((4, 3), 9, np.int32), "no product"),
        ("items.json", None, "missing"),
    ],
)
def test_a_broken_folder_is_refused_by_name(tmp_path: Path, name: str, content, message: str) -> None:
    model().save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(IntegrityError, match=message):
        load_next_item(tmp_path)


def test_products_out_of_order_are_refused() -> None:
    with pytest.raises(BadInput, match="sorted"):
        truncated(WEIGHTS, ["b", "a", "c", "d"], np.ones(4), 2, {})


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_every_rung_answers_nearly_as_the_checkpoint_and_is_no_larger(rung) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(40, 40)).astype(np.float32) ** 3
    np.fill_diagonal(weights, 0)
    full = truncated(weights, [f"p{i:02}" for i in range(40)], np.ones(40), 39, {})
    small = build_rung(full, rung)
    assert small.weights.nbytes <= full.weights.nbytes
    best = [full.recommend([p], 1).product_ids == small.recommend([p], 1).product_ids for p in full.ids]
    assert np.mean(best) > 0.9


@settings(deadline=None)
@given(seed=st.integers(0, 1000), penalty=st.floats(0.5, 50))
def test_ease_is_the_ridge_regression_of_each_product_on_the_others(seed: int, penalty: float) -> None:
    baskets = (np.random.default_rng(seed).random((30, 6)) < 0.4).astype(np.float64)
    found = ease((baskets.T @ baskets).astype(np.float32), penalty)
    for target in range(6):
        others = [i for i in range(6) if i != target]
        x, y = baskets[:, others], baskets[:, target]
        ridge = np.linalg.solve(x.T @ x + penalty * np.eye(5), x.T @ y)
        assert found[others, target] == pytest.approx(ridge, abs=1e-4)
        assert found[target, target] == 0
