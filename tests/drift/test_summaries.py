from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rankops.dataset import COLUMNS
from rankops.drift.summaries import DaySummary, median_of_bins, merge, merge_all
from rankops.drift.summarize import Traffic, price_bin, summarize, summarize_days
from rankops.errors import BadInput
from tests.drift.conftest import FIRST_DAY, ToyShop

QUERIES = ["red boots", "Boots", "rote schuhe für damen", "wok", "", "4711 pan", "réveil"]
SEARCH = some.tuples(
    some.integers(1, 5),
    some.sampled_from(QUERIES),
    some.lists(some.tuples(some.integers(0, 29), some.booleans()), min_size=1, max_size=4),
)
CATALOGUE = ToyShop().catalogue()


def traffic(searches: list, offset: int) -> Traffic:
    """Search ids start at ``offset``, so that two parts share no search."""
    ids = CATALOGUE["product_id"].to_list()
    rows = [
        (f"s{offset + i}", date(2026, 3, day), "u", query, slot, ids[product], clicked, clicked and product % 3 == 0)
        for i, (day, query, shown) in enumerate(searches)
        for slot, (product, clicked) in enumerate(shown, 1)
    ]
    log = pl.DataFrame(
        {
            "day": [date(2026, 3, day) for day, _, _ in searches],
            "request_id": [f"r{offset + i}" for i in range(len(searches))],
            "query": [query for _, query, _ in searches],
            "top_score": [None if not query else len(query) / 30 for _, query, _ in searches],
            "results": [len(shown) if query else 0 for _, query, shown in searches],
            "release": ["r1"] * len(searches),
        },
        schema={"day": pl.Date, "request_id": pl.String, "query": pl.String, "top_score": pl.Float32, "results": pl.Int32, "release": pl.String},
    )  # fmt: skip
    return Traffic(pl.DataFrame(rows, schema=COLUMNS["interactions"], orient="row"), CATALOGUE, log)


def together(a: Traffic, b: Traffic) -> Traffic:
    assert a.requests is not None and b.requests is not None
    return Traffic(
        pl.concat([a.interactions, b.interactions]),
        pl.concat([a.catalogue, b.catalogue]),
        pl.concat([a.requests, b.requests]),
    )


@given(some.lists(SEARCH, max_size=6), some.lists(SEARCH, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_summary_of_two_parts_is_the_merge_of_their_summaries(a: list, b: list) -> None:
    left, right = traffic(a, 0), traffic(b, 100)
    both = summarize(together(left, right))
    parts = merge(summarize(left), summarize(right))
    # two snapshots of one feed hold each product twice: those tables count snapshots only when merged day by day
    for name in set(DaySummary.model_fields) - {"catalogue"}:
        assert getattr(both, name) == getattr(parts, name), name
    for name in ("rows", "by_category", "nulls", "garbled", "price_histogram", "tokens"):
        assert getattr(both.catalogue, name) == getattr(parts.catalogue, name), name


@given(some.lists(some.lists(SEARCH, max_size=3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_merging_summaries_is_associative_and_commutative(parts: list) -> None:
    a, b, c = (summarize(traffic(part, 100 * i)) for i, part in enumerate(parts))
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(c, merge(b, a))
    assert merge(a, DaySummary()) == a


def test_a_summary_survives_json(reference: Traffic) -> None:
    summary = summarize(reference)
    assert DaySummary.model_validate_json(summary.model_dump_json()) == summary


def test_days_merged_are_the_whole(reference: Traffic) -> None:
    days = summarize_days(reference)
    assert [day.days for day in days] == [[str(day)] for day in reference.days]
    whole, once = merge_all(days), summarize(reference)
    assert (whole.searches, whole.tokens, whole.sample) == (once.searches, once.tokens, once.sample)
    assert whole.requests == once.requests == 360


def test_the_numbers_of_a_small_day_are_right() -> None:
    summary = summarize(
        traffic(
            [(1, "red boots", [(0, False), (1, True), (2, True)]), (1, "réveil", [(3, False)]), (2, "", [(4, True)])], 0
        )
    )
    assert (summary.days, summary.searches, summary.clicks, summary.impressions) == (
        ["2026-03-01", "2026-03-02"],
        3,
        3,
        5,
    )
    assert summary.first_click_position == {2: 1, 1: 1}
    assert summary.mrr == pytest.approx((0.5 + 1.0) / 3)
    assert summary.zero_click_searches == 1
    assert summary.query_length == {2: 1, 1: 1, 0: 1}
    assert summary.searches_by_clicked_category == {"Shoes > Boots": 2}
    assert summary.clicks_by_category == {"Shoes > Boots": 3}
    assert summary.non_ascii == 1
    assert summary.zero_results == 1
    assert set(summary.tokens.entries) == {"red", "boots", "réveil"}


def test_missing_garbled_and_impossible_values_of_the_feed_are_counted_by_field() -> None:
    broken = CATALOGUE.with_columns(
        brand=pl.when(pl.arange(0, 120) < 4).then(None).when(pl.arange(0, 120) < 6).then(pl.lit("  ")).otherwise("brand"),
        title=pl.when(pl.arange(0, 120) < 3).then(pl.lit("KÃ¼che ???")).otherwise("title"),
        attributes=pl.when(pl.arange(0, 120) < 5).then(pl.lit("#N/A")).otherwise("attributes"),
        price=pl.when(pl.arange(0, 120) == 0).then(float("nan")).when(pl.arange(0, 120) == 1).then(-1.0).when(pl.arange(0, 120) == 2).then(None).otherwise("price"),
    )  # fmt: skip
    catalogue = summarize(Traffic(traffic([], 0).interactions, broken)).catalogue
    assert catalogue.nulls == {"brand": 6, "price": 1}
    assert catalogue.garbled == {"title": 3, "attributes": 5, "price": 2}
    assert sum(catalogue.price_histogram.values()) == 117


def test_ordinary_text_is_not_garbled() -> None:
    texts = [
        "Cotton & wool",
        "Crème brûlée set",
        "Größe 42 - neu",
        "C# for cats?",
        "size N/A to XL?",
    ]
    frame = CATALOGUE.head(6).with_columns(title=pl.Series([*texts, "Zero-gravity chair"]))
    assert summarize(Traffic(traffic([], 0).interactions, frame)).catalogue.garbled == {}


def test_the_median_price_is_read_from_the_histogram_to_half_a_bin() -> None:
    assert median_of_bins({price_bin(100.0): 3, price_bin(400.0): 2}) == pytest.approx(100, rel=0.045)
    assert median_of_bins({}) is None


def test_a_table_without_a_column_is_named_with_the_column(reference: Traffic) -> None:
    with pytest.raises(BadInput, match="interactions table has no column clicked"):
        summarize(Traffic(reference.interactions.drop("clicked"), reference.catalogue))
    with pytest.raises(BadInput, match="request log table has no column top_score"):
        log = ToyShop().requests(FIRST_DAY, 3).drop("top_score")
        summarize(Traffic(reference.interactions, reference.catalogue, log))
