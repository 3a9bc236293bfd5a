"""What chooses a next-item model's settings, and the lift of what sells better now than it used to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.baskets import baskets_of, next_item_view
from rankops.cooccurrence import items_of, number_gram, price_gram
from rankops.dataset import Dataset
from rankops.next_item import load_next_item
from rankops.specs import RecommendationSpec
from rankops.training import dev_baskets
from rankops.training.dev_baskets import EACH, Questions, best_for_new, clearly_better, dev_questions
from rankops.training.item_item import Grams, Setting, fit, trend
from rankops.training.next_item import train
from tests.recommendation.conftest import fitting_job

SPEC = RecommendationSpec(test_days=4, dev_days=3)
SETTING = Setting(
    half_life=1000.0,
    size_exponent=0.5,
    regularization=50.0,
    word_weight=5.0,
    text_weight=0.0,
    number_weight=0.0,
    price_weight=0.0,
    new_item_boost=0.05,
    text_boost=0.0,
    trend=0.5,
)


def before_dev(shop: Dataset) -> tuple[Dataset, Questions, Questions]:
    seen = next_item_view(shop, SPEC)
    early = baskets_of(seen.interactions).filter(pl.col("day") < pl.lit(seen.info["dev_from"]).str.to_date())
    return seen, *dev_questions(seen, items_of(early, sorted(shop.catalogue["product_id"].to_list())))


def test_each_dev_basket_asks_several_questions_and_counts_once(shop: Dataset) -> None:
    seen, every, _ = before_dev(shop)
    baskets = seen.split("dev").height
    assert baskets * 3 <= len(every) <= baskets * EACH
    perfect = np.zeros((len(every), len(every.items.ids)), np.float32)
    for row, question in enumerate(every.asked):
        assert question.held_out not in question.context
        perfect[row, every.items.place[question.held_out]] = 1.0
    assert every.hits(perfect).tolist() == [1.0] * baskets
    assert 0.0 <= every.popularity() < 1.0


def test_the_first_question_of_a_basket_is_the_datasets_own_and_nothing_unavailable_is_asked(shop: Dataset) -> None:
    stocked = replace(shop, catalogue=shop.catalogue.with_columns(available=pl.col("product_id") != "bath1"))
    seen, every, new = before_dev(stocked)
    first = {question.basket: question.held_out for question in reversed(every.asked)}
    assert first == dict(seen.judgements.join(seen.split("dev"), on="query_id").select("query_id", "product_id").rows())
    assert all(question.held_out != "bath1" for question in [*every.asked, *new.asked])
    assert any("bath1" in question.context for question in every.asked)


def test_new_products_have_questions_of_their_own(shop: Dataset) -> None:
    assert len(before_dev(shop)[2]) == 0  # every product that sells at all sells often
    rare = shop.interactions.filter(
        (pl.col("product_id") != "desk2") | (pl.col("day").rank("dense") > 13)  # the dev days begin on the 14th
    )
    _, _, new = before_dev(replace(shop, interactions=rare))
    assert len(new) > 5 and {question.held_out for question in new.asked} == {"desk2"}


def test_the_lift_that_finds_new_products_is_chosen_in_training(shop: Dataset, tmp_path: Path) -> None:
    rare = shop.interactions.filter((pl.col("product_id") != "desk2") | (pl.col("day").rank("dense") > 13))
    options = {**SPEC.model_dump(), "text_weights": (0.0,), "word_weights": (0.0,), "max_items": 100}
    for boosts in ((0.0, 0.05), (0.05, 0.0)):
        folder = tmp_path / f"{boosts}"
        spec = RecommendationSpec(**{**options, "new_item_boosts": boosts})
        train(fitting_job(folder, replace(shop, interactions=rare), spec), lambda _: None)
        assert load_next_item(folder / "checkpoint").config.facts["setting"]["new_item_boost"] == 0.05


def test_a_lift_must_find_more_new_products_and_cost_all_questions_next_to_nothing() -> None:
    good, same, worse = (np.repeat([1.0, 0.0], [hit, 1000 - hit]) for hit in (500, 498, 480))
    few, more, most = (np.repeat([1.0, 0.0], [hit, 100 - hit]) for hit in (10, 30, 90))
    assert best_for_new([(good, few), (same, more), (worse, most)]) == 1
    assert best_for_new([(good, more), (worse, most), (same, few)]) == 0
    assert best_for_new([(worse, most), (good, few), (same, more)]) == 2


def test_with_no_new_products_to_ask_about_all_questions_choose_the_lift() -> None:
    good, worse, none = np.ones(100), np.repeat([1.0, 0.0], [80, 20]), np.zeros(0)
    assert best_for_new([(worse, none), (good, none)]) == 1
    assert best_for_new([(good, none), (worse, none)]) == 0


def test_baskets_are_the_evidence_not_their_questions() -> None:
    standing = np.zeros(100)
    assert not clearly_better(standing, standing)
    lucky = standing.copy()
    lucky[0] = 1.0
    lucky[1] = -0.5
    assert not clearly_better(lucky, standing)  # 0.005 with a standard error of 0.011
    lucky[:3] = 1.0
    assert clearly_better(lucky, standing)


def test_what_stopped_selling_sinks_and_what_started_rises(shop: Dataset) -> None:
    day = pl.col("day").rank("dense")
    sold = shop.interactions.filter(
        ~((pl.col("product_id") == "bath1") & (day > 14)) & ~((pl.col("product_id") == "camp1") & (day <= 14))
    )
    items = items_of(baskets_of(sold), sorted(shop.catalogue["product_id"].to_list()))
    found = dict(zip(items.ids, trend(items, SETTING).tolist(), strict=True))
    steady = [value for product, value in found.items() if product not in ("bath1", "camp1")]
    assert found["bath1"] < 0.5 < min(steady)
    assert found["camp1"] > max(steady)
    assert found["bath7"] == pytest.approx(1.0)  # never sold: nothing changed
    assert trend(items, replace(SETTING, trend=0.0)).tolist() == [1.0] * len(items.ids)


def test_ids_numbered_next_to_each_other_have_much_in_common() -> None:
    ids = ["22386", "22388A", "85099B", "85099C", "sku-22386", "sku-22387", "a1", "a2"]
    found = number_gram(ids)
    assert found.tolist() == found.T.tolist()
    assert found[0].tolist() == pytest.approx([1, 1 / 3, *[1 / (1 + 85099 - 22386)] * 2, 0, 0, 0, 0])
    assert found[2, 3] == 1.0 and found[4, 5] == 0.5
    assert not found[6:].any()  # two digits number no range, and name none that two ids share


def test_prices_are_compared_by_their_ratio_and_unknown_ones_not_at_all() -> None:
    found = price_gram([1.0, 1.0, 1.1, 100.0, 110.0, None, 0.0])
    assert found[0, 1] == 1.0 and found[0, 2] == pytest.approx(found[3, 4]) == pytest.approx(np.exp(-np.log(1.1) / 0.1))
    assert found[0, 3] < 1e-12 and not found[5:].any()


@pytest.mark.parametrize("weight", ["number_weight", "price_weight"])
def test_a_product_that_never_sold_follows_those_that_it_is_numbered_or_priced_like(shop: Dataset, weight: str) -> None:
    seen, every, _ = before_dev(shop)
    items = every.items
    texts = dict(zip(seen.catalogue["product_id"].to_list(), seen.product_texts(), strict=True))
    numbered = {product: f"{1000 + 50 * place}" for place, product in enumerate(items.ids)}
    numbered["bath7"] = str(int(numbered["camp1"]) + 1)
    prices = {product: 2.0**place for place, product in enumerate(items.ids)} | {"bath7": 2.0 ** items.place["camp1"]}
    grams = Grams.of(
        [numbered[product] for product in items.ids],
        [texts[product] for product in items.ids],
        [prices[product] for product in items.ids],
        None,
    )
    plain = replace(SETTING, word_weight=0.0, new_item_boost=0.0)
    unsold = items.place["bath7"]
    assert not fit(items, grams, plain)[:, unsold].any()
    pulled = fit(items, grams, replace(plain, **{weight: 10.0}))[:, unsold]
    assert np.argmax(pulled) == items.place["camp1"]


def test_a_big_shop_asks_whole_baskets_at_even_distances(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    _, every, _ = before_dev(shop)
    monkeypatch.setattr(dev_baskets, "MOST", len(every) // 3)
    _, fewer, _ = before_dev(shop)
    assert len(every) // 4 < len(fewer) <= len(every) // 3 + EACH
    kept = {question.basket for question in fewer.asked}
    assert fewer.asked == [question for question in every.asked if question.basket in kept]
