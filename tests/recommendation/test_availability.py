"""What cannot be bought: neither asked about, nor recommended, by anybody, unless a request asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.baskets import next_item_view
from rankops.dataset import Dataset
from rankops.evaluation.next_item import floor_runs
from rankops.next_item import truncated
from rankops.release.products import read_products, write_products
from rankops.release.recommendation import answer, recommend_tensors
from rankops.serving.engines.recommendation import RecommendEngine
from rankops.serving.incoming import from_url
from rankops.stages.tasks.recommendation import _rank
from tests.recommendation.test_life import SPEC

GONE = {"camp1", "bath2"}


@pytest.fixture(scope="module")
def stocked(shop: Dataset) -> Dataset:
    """The shop with two products sold out, one of which nobody knows."""
    states = {product: product not in GONE for product in shop.catalogue["product_id"].to_list()}
    states["desk0"] = None  # type: ignore[assignment]
    return replace(shop, catalogue=shop.catalogue.with_columns(available=pl.Series(list(states.values()))))


def any_model(dataset: Dataset):
    ids = sorted(dataset.catalogue["product_id"].to_list())
    weights = np.random.default_rng(0).random((len(ids), len(ids))).astype(np.float32)
    return truncated(weights, ids, np.ones(len(ids)), 20, {})


def test_missing_words_leave_everything_available(shop: Dataset, stocked: Dataset) -> None:
    assert shop.unavailable() == frozenset()
    assert stocked.unavailable() == GONE


def test_no_question_asks_for_what_cannot_be_bought(shop: Dataset, stocked: Dataset) -> None:
    every, kept = (next_item_view(data, SPEC.recommendation) for data in (shop, stocked))
    asked = set(every.judgements["product_id"]) - set(kept.judgements["product_id"])
    assert asked == GONE
    assert set(kept.judgements["query_id"]) == set(kept.queries["query_id"])
    assert kept.interactions.equals(every.interactions)  # it is learned from all the same


def test_neither_model_nor_baselines_name_it(stocked: Dataset) -> None:
    seen = next_item_view(stocked, SPEC.recommendation)
    floors = floor_runs(seen, lambda: pytest.fail("no text"), 1, lambda _: None, ("random", "popularity", "item-item"))
    runs = {**floors, "model": _rank(any_model(stocked), seen, "test")}
    for name, run in runs.items():
        named = {product for ranked in run.values() for product in ranked}
        assert named and not named & GONE, name
        assert "desk0" in named, name


def test_the_server_leaves_it_out_unless_asked(stocked: Dataset, tmp_path: Path) -> None:
    products = stocked.catalogue.to_dicts()
    write_products(products, tmp_path)
    model, read = any_model(stocked), read_products(tmp_path, ["camp0"])
    assert read.unavailable == GONE and "available" not in read.shown["camp0"]
    engine = RecommendEngine(None, model, read.shown, {}, read.unavailable)  # type: ignore[arg-type]
    every = engine.recommend(["camp0"], 48, (), None, include_unavailable=True).product_ids
    kept = engine.recommend(["camp0"], 48, (), None).product_ids
    assert set(every) > GONE and [product for product in every if product not in GONE] == kept
    assert engine.recommend(["camp1"], 3, (), None).known == ["camp1"]  # it still says what goes with it
    assert answer(model, ["camp0"], 48, exclude=GONE).product_ids == kept
    assert engine.infer({"items": ["camp0"]})["product_ids"][0].tolist() == kept[:20]
    assert recommend_tensors(model, ["camp0"])["product_ids"][0].tolist() == every[:20]


def test_products_of_a_feed_that_does_not_say_are_written_as_before(shop: Dataset, tmp_path: Path) -> None:
    write_products(shop.catalogue.to_dicts(), tmp_path)
    assert read_products(tmp_path, ()).unavailable == frozenset()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("yes", "yes")])
def test_an_address_says_flags_in_words(text: str, value: object) -> None:
    schema = {"properties": {"include_unavailable": {"type": "boolean"}}}
    assert from_url({"include_unavailable": text}, schema) == {"include_unavailable": value}
