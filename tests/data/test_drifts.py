"""Each drift leaves what came before it alone, and shows in a simple statistic from its first day on."""

from __future__ import annotations

import re

import polars as pl
import pytest

from rankops.data.shop.catalogue import FAMILIES, TYPES
from rankops.data.shop.jargon import jargon_words
from rankops.data.tables import check_table

from .conftest import DRIFT_DAY


def before_and_after(shop):
    return shop.day_queries(shop.world.day(DRIFT_DAY - 1)), shop.day_queries(shop.world.day(DRIFT_DAY))


def share(frame: pl.DataFrame, words: set[str]) -> float:
    return sum(bool(words & set(query.split())) for query in frame["query"]) / frame.height


def families(shop, frame: pl.DataFrame) -> list[str]:
    return [FAMILIES[shop.pool.intents.family[shop._row_of_query[query]]].name for query in frame["query"]]


@pytest.mark.parametrize(
    "name", ["new_category", "seasonal_shift", "price_inflation", "new_slang", "language_mix", "broken_feed"]
)
def test_nothing_changes_before_the_first_day_of_a_drift_and_something_does_on_it(drifted, shop, name):
    changed = drifted(name, 0.5)
    for offset in range(DRIFT_DAY):
        day = shop.world.day(offset)
        assert changed.catalogue(day).equals(shop.catalogue(day))
        assert changed.events(day).equals(shop.events(day))
    assert not changed.events(changed.world.day(DRIFT_DAY)).equals(shop.events(shop.world.day(DRIFT_DAY)))


@pytest.mark.parametrize("name", ["new_category", "price_inflation", "broken_feed"])
def test_a_drifted_catalogue_still_keeps_the_rules_of_the_table(drifted, name):
    """Drift is for the drift report to find; a blocking schema check must not hide it."""
    shop = drifted(name, 1.0)
    catalogue = check_table("catalogue", shop.catalogue(shop.world.last_day), name)
    check_table("interactions", shop.events(shop.world.last_day), name, catalogue=catalogue)


def test_new_slang_brings_words_that_never_occurred(drifted):
    shop = drifted("new_slang", 0.4)
    new = {word for key, word in jargon_words().items() if key.endswith(":new")}
    early, late = before_and_after(shop)
    assert share(early, new) == 0
    assert 0.3 < share(late, new) < 0.5
    judged = shop.judge(late["query"].unique().to_list(), shop.world.day(DRIFT_DAY))
    assert judged["query"].n_unique() > 0.98 * late["query"].n_unique()


def test_a_new_category_brings_products_and_searches_for_them(drifted):
    shop = drifted("new_category", 0.2)
    early, late = before_and_after(shop)
    assert "Pets" not in families(shop, early)
    assert 0.12 < families(shop, late).count("Pets") / late.height < 0.28
    pets = pl.col("category").str.starts_with("Pets")
    assert shop.catalogue(shop.world.day(DRIFT_DAY - 1)).filter(pets).is_empty()
    assert shop.catalogue(shop.world.day(DRIFT_DAY)).filter(pets).height >= 20
    clicked = shop.events(shop.world.day(DRIFT_DAY)).filter("clicked")
    assert clicked.join(shop.catalogue(shop.world.last_day).filter(pets), on="product_id").height > 5


def test_a_seasonal_shift_changes_the_mix_of_families(drifted):
    shop = drifted("seasonal_shift", 1.0)
    early, late = (families(shop, frame) for frame in before_and_after(shop))
    garden, toys = ([mix.count(name) / len(mix) for mix in (early, late)] for name in ("Garden", "Toys"))
    assert garden[1] > 1.5 * garden[0]
    assert toys[1] < 0.6 * toys[0]


def test_inflation_multiplies_prices_and_sells_less(make_shop, drifted):
    shop = drifted("price_inflation", 1.0)
    early, late = (shop.catalogue(shop.world.day(offset)) for offset in (DRIFT_DAY - 1, DRIFT_DAY))
    ratio = early.join(late, on="product_id").select(pl.col("price_right") / pl.col("price")).to_series()
    assert ratio.min() == pytest.approx(2.0, abs=0.01)
    assert ratio.max() == pytest.approx(2.0, abs=0.01)
    plain = make_shop()
    days = [shop.world.day(offset) for offset in range(DRIFT_DAY, 6)]
    dear, cheap = (sum(one.events(day)["purchased"].sum() for day in days) for one in (shop, plain))
    assert dear < 0.8 * cheap


def test_a_language_mix_brings_foreign_queries_that_mean_the_same(drifted):
    shop = drifted("language_mix", 0.5)
    early, late = before_and_after(shop)
    known = set(early["query"]) | set(shop.day_queries(shop.world.day(0))["query"])
    foreign = {word for kind in TYPES for text in kind.translations for word in text.split()} - {"de", "bio"}
    foreign -= {word for kind in TYPES for word in f"{kind.name} {kind.synonym}".split()}
    assert share(early, foreign) == 0
    assert 0.4 < share(late, foreign) < 0.6
    texts = {text for text in shop.pool.surfaces if re.search(r"\bwasserkocher\b", text)}
    assert texts and not texts & known
    judged = shop.judge(sorted(texts), shop.world.last_day, noise=0.0).filter(pl.col("grade") == 3)
    names = judged.join(shop.catalogue(shop.world.last_day), on="product_id")["category"].unique().to_list()
    assert names == ["Kitchen > Kettle"]


def test_a_broken_feed_loses_and_garbles_fields_of_the_declared_share(drifted):
    shop = drifted("broken_feed", 0.4)
    early, late = (shop.catalogue(shop.world.day(offset)) for offset in (DRIFT_DAY - 1, DRIFT_DAY))
    assert early.null_count().sum_horizontal().item() == 0
    assert late["brand"].is_null().mean() == pytest.approx(0.4, abs=0.08)
    assert late["price"].is_null().mean() == pytest.approx(0.2, abs=0.06)
    assert late["attributes"].is_null().mean() == pytest.approx(0.2, abs=0.06)
    assert late["attributes"].str.contains("#N/A", literal=True).mean() == pytest.approx(0.25, abs=0.08)
    both = early.join(late, on="product_id").filter(pl.col("price_right").is_not_null())
    assert ((both["price_right"] / both["price"]) > 50).mean() == pytest.approx(0.25, abs=0.08)
