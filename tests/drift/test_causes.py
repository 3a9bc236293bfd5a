from __future__ import annotations

import polars as pl
import pytest

from rankops.drift.causes import ALL_TESTS
from rankops.drift.findings import Finding
from rankops.drift.reference import Reference
from rankops.drift.summaries import DaySummary, merge_all
from rankops.drift.summarize import Traffic, summarize, summarize_days
from tests.drift.conftest import OLD, WORDS, ToyShop


@pytest.fixture(scope="module")
def days(reference: Traffic) -> list[DaySummary]:
    return summarize_days(reference)


def named(days: list[DaySummary], traffic: Traffic) -> dict[str, Finding]:
    return {finding.name: finding for finding in Reference(days).findings(summarize(traffic)) if finding.drifted}


def test_normal_days_of_any_size_name_nothing(days: list[DaySummary]) -> None:
    alarms = []
    for seed in range(60):
        shop = ToyShop(seed=100 + seed)
        traffic = shop.traffic(offset=10, searches=(20, 60, 200)[seed % 3], requests=60)
        alarms += [(seed, name) for name in named(days, traffic)]
    assert len(alarms) <= 1, alarms


def test_a_short_reference_names_nothing_on_normal_days_either() -> None:
    alarms = []
    for seed in range(30):
        shop = ToyShop(seed=300 + seed)
        short = summarize_days(shop.traffic(days=1 + seed % 3, searches=150))
        alarms += [(seed, name) for name in named(short, shop.traffic(offset=10, searches=150))]
    assert len(alarms) <= 1, alarms


def test_new_words_are_slang_with_examples(days: list[DaySummary]) -> None:
    found = named(days, ToyShop(seed=5, slang=("yeezles", "boomsters"), slang_share=0.2).traffic(offset=10))
    assert set(found) == {"new_slang"}
    assert {example.split()[0] for example in found["new_slang"].examples[:2]} == {"yeezles", "boomsters"}
    assert 0.06 < found["new_slang"].score < 0.14


def test_words_that_product_text_holds_are_no_slang(days: list[DaySummary]) -> None:
    traffic = ToyShop(seed=5, slang=("yeezles",), slang_share=0.3).traffic(offset=10)
    known = traffic.catalogue.with_columns(description=pl.lit("also called yeezles"))
    assert "new_slang" not in named(days, Traffic(traffic.interactions, known))


def test_a_new_family_is_a_new_category_and_its_words_are_not_slang(days: list[DaySummary]) -> None:
    shop = ToyShop(seed=6, categories=tuple(WORDS), weights=(0.35, 0.25, 0.15, 0.1, 0.15))
    traffic = shop.traffic(offset=10)
    found = named(days, Traffic(traffic.interactions, traffic.catalogue.with_columns(title=pl.lit("model"))))
    assert "new_category" in found and "new_slang" not in found
    assert found["new_category"].examples[0].startswith("Pets > Beds")


def test_a_family_that_only_the_catalogue_has_counts_too(days: list[DaySummary]) -> None:
    shop = ToyShop(seed=6)
    grown = ToyShop(categories=tuple(WORDS)).catalogue()
    found = named(days, Traffic(shop.traffic(offset=10).interactions, grown))
    assert set(found) == {"new_category"}
    assert "20.0 % of products" in found["new_category"].evidence


def test_products_that_nobody_knew_are_new_products_and_those_that_left_are_not(days: list[DaySummary]) -> None:
    traffic = ToyShop(seed=14).traffic(offset=10)
    renamed = pl.when(pl.col("product_id").str.ends_with("9")).then(pl.col("product_id") + "-b").otherwise("product_id")
    swapped = Traffic(*(table.with_columns(product_id=renamed) for table in (traffic.interactions, traffic.catalogue)))
    found = named(days, swapped)
    assert set(found) == {"new_products"}
    assert 0.05 < found["new_products"].score < 0.2
    assert all("-b (" in example for example in found["new_products"].examples)
    fewer = Traffic(traffic.interactions.filter(~pl.col("product_id").str.ends_with("9")), traffic.catalogue)
    assert "new_products" not in named(days, fewer)


def test_a_catalogue_with_a_long_tail_is_used_to_products_of_one_day() -> None:
    """Every day a tenth of the clicks fall on products that are clicked once and never again: that is no drift."""

    def day(offset: int) -> Traffic:
        traffic = ToyShop(seed=60 + offset).traffic(offset=offset)
        rare = pl.when(pl.col("product_id").str.ends_with("7"))
        once = rare.then(pl.format("{}-{}", "product_id", pl.lit(offset))).otherwise("product_id")
        return Traffic(traffic.interactions.with_columns(product_id=once), traffic.catalogue)

    assert "new_products" not in named([summarize(day(offset)) for offset in range(6)], day(10))


def test_another_mix_of_known_categories_is_a_seasonal_shift(days: list[DaySummary]) -> None:
    found = named(days, ToyShop(seed=7, weights=(0.2, 0.2, 0.5, 0.1)).traffic(offset=10))
    assert set(found) == {"seasonal_shift"}
    assert found["seasonal_shift"].examples[0].startswith("Garden: ")


def test_dearer_products_are_price_inflation_whatever_the_assortment(days: list[DaySummary]) -> None:
    shop = ToyShop(seed=8, prices=1.12)
    traffic = shop.traffic(offset=10)
    found = named(days, traffic)
    assert set(found) == {"price_inflation"}
    assert found["price_inflation"].score == pytest.approx(0.12, abs=0.002)
    cheap_half_gone = Traffic(traffic.interactions, ToyShop().catalogue().filter(pl.col("price") > 20))
    assert "price_inflation" not in named(days, cheap_half_gone)


def test_queries_in_other_languages_are_a_language_mix(days: list[DaySummary]) -> None:
    traffic = ToyShop(seed=9).traffic(offset=10)
    foreign = pl.when(pl.col("search_id").str.ends_with("7")).then(pl.lit("rote schuhe für damen")).otherwise("query")
    found = named(days, Traffic(traffic.interactions.with_columns(query=foreign), traffic.catalogue))
    assert set(found) == {"language_mix"}
    assert found["language_mix"].examples[0].startswith("de: 0.")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("brand", pl.lit(None, pl.String)),
        ("attributes", pl.lit("#N/A; undefined")),
        ("price", pl.lit(None, pl.Float64)),
        ("price", pl.col("price") * 100),
    ],
)
def test_fields_that_break_are_a_broken_feed(days: list[DaySummary], column: str, value: pl.Expr) -> None:
    traffic = ToyShop(seed=11).traffic(offset=10)
    some_rows = pl.col("product_id").str.contains("[3-6]$")
    broken = traffic.catalogue.with_columns(pl.when(some_rows).then(value).otherwise(column).alias(column))
    found = named(days, Traffic(traffic.interactions, broken))
    assert set(found) == {"broken_feed"}
    assert column in found["broken_feed"].evidence


def test_fewer_clicks_are_a_symptom(days: list[DaySummary]) -> None:
    found = named(days, ToyShop(seed=12, click_rate=0.45).traffic(offset=10))
    assert set(found) == {"worse_results"}
    assert found["worse_results"].symptom
    assert not named(days, ToyShop(seed=12, click_rate=0.95).traffic(offset=10)), "more clicks are no drift"


def test_lower_scores_of_the_same_release_are_a_symptom_and_of_another_are_not_compared(days: list[DaySummary]) -> None:
    shop = ToyShop(seed=13, scores=0.4)
    traffic = shop.traffic(offset=10, requests=200)
    assert set(named(days, traffic)) == {"score_shift"}
    assert traffic.requests is not None
    other = Traffic(traffic.interactions, traffic.catalogue, traffic.requests.with_columns(release=pl.lit("r2")))
    outcome = {finding.name: finding for finding in Reference(days).findings(summarize(other))}["score_shift"]
    assert not outcome.measured and "cannot be compared" in outcome.evidence


def test_days_that_always_differ_raise_the_threshold(days: list[DaySummary]) -> None:
    """A shop whose weekends ask for other things: the seventh such day is no news."""
    weekday, weekend = (0.4, 0.3, 0.2, 0.1), (0.2, 0.2, 0.4, 0.2)
    weeks = [
        summarize(ToyShop(seed=20 + i, weights=weekend if i % 7 > 4 else weekday).traffic(offset=i)) for i in range(14)
    ]
    saturday = ToyShop(seed=50, weights=weekend).traffic(offset=20)
    assert "seasonal_shift" in named(days, saturday)
    assert "seasonal_shift" not in named(weeks, saturday)


@pytest.mark.parametrize("test", ALL_TESTS, ids=lambda test: test.__name__)
def test_every_test_copes_with_nothing_and_with_one_search(test, days: list[DaySummary]) -> None:
    whole = merge_all(days)
    one = summarize(ToyShop(seed=1, categories=OLD).traffic(offset=10, searches=1))
    for finding in (test(whole, DaySummary()), test(DaySummary(), whole), test(whole, one)):
        assert not finding.drifted
        assert finding.evidence
