"""Days that are too small to prove a drift prove it together; and what normal days score."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import polars as pl
import pytest

from rankops.drift.findings import Finding
from rankops.drift.reference import ENOUGH_SEARCHES, Reference, _leave_one_out, widened
from rankops.drift.render import report_markdown, sides_table
from rankops.drift.report import DriftReport, build_report
from rankops.drift.summaries import DaySummary, merge_all
from rankops.drift.summarize import Traffic, summarize, summarize_days
from rankops.retrain_spec import WINDOW_DAYS
from tests.drift.conftest import FIRST_DAY, ToyShop

SMALL = 50
"""Searches a day of a small shop."""


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(summarize_days(ToyShop(seed=1).traffic(days=42, searches=SMALL)))


def week_of(shop: ToyShop, days: int = WINDOW_DAYS) -> list[DaySummary]:
    """Days after the reference, newest first."""
    return summarize_days(shop.traffic(offset=60, days=days, searches=SMALL))[::-1]


def drifted(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings if finding.drifted}


def test_a_day_with_enough_searches_needs_no_other() -> None:
    def must_not_be_read() -> Iterator[DaySummary]:
        raise AssertionError("a day that is large enough reads no other")
        yield

    assert widened(DaySummary(searches=ENOUGH_SEARCHES), must_not_be_read()) is None
    assert widened(DaySummary(searches=5), []) is None


def test_as_many_days_as_it_takes_are_read_newest_first() -> None:
    read: list[int] = []

    def days() -> Iterator[DaySummary]:
        for back in range(1, 6):
            read.append(back)
            yield DaySummary(searches=ENOUGH_SEARCHES // 3, days=[str(FIRST_DAY - timedelta(days=back))])

    window = widened(DaySummary(searches=ENOUGH_SEARCHES // 2, days=[str(FIRST_DAY)]), days())
    assert window is not None and read == [1, 2]
    assert window.days == ["2026-02-28", "2026-03-01", "2026-03-02"]
    assert window.searches == ENOUGH_SEARCHES // 2 + 2 * (ENOUGH_SEARCHES // 3)


def test_a_small_shop_proves_in_a_week_what_no_day_of_it_proves(reference: Reference) -> None:
    days = week_of(ToyShop(seed=8, weights=(0.25, 0.25, 0.3, 0.2)))
    assert not any(drifted(reference.findings(day)) for day in days)
    found = drifted(reference.findings(days[0], widened(days[0], days[1:])))
    assert set(found) == {"seasonal_shift"}
    assert found["seasonal_shift"].days == WINDOW_DAYS
    assert found["seasonal_shift"].evidence.startswith("in 7 days, the mix of clicked categories")


def test_weeks_are_held_against_weeks_where_there_are_enough_of_them(reference: Reference) -> None:
    """A shift that single days vary by: two weeks of reference cannot tell it from a normal day, six can."""
    days = week_of(ToyShop(seed=8, weights=(0.25, 0.25, 0.3, 0.2)))
    short = Reference(summarize_days(ToyShop(seed=1).traffic(days=14, searches=SMALL)))
    assert not drifted(short.findings(days[0], widened(days[0], days[1:])))
    assert drifted(reference.findings(days[0], widened(days[0], days[1:])))


def test_normal_weeks_of_a_small_shop_name_nothing(reference: Reference) -> None:
    alarms = []
    for seed in range(30):
        days = week_of(ToyShop(seed=400 + seed))
        alarms += [(seed, name) for name in drifted(reference.findings(days[0], widened(days[0], days[1:])))]
    assert len(alarms) <= 1, alarms


def test_what_changed_today_is_not_diluted_by_the_days_before(reference: Reference) -> None:
    today = summarize(ToyShop(seed=6, slang=("yeezles",), slang_share=0.6).traffic(offset=67, searches=SMALL))
    window = widened(today, week_of(ToyShop(seed=7)))
    assert drifted(reference.findings(today, window))["new_slang"].days == 1


def test_a_feed_that_was_mended_is_not_broken_today(reference: Reference) -> None:
    shop = ToyShop(seed=8)
    bad = shop.traffic(offset=60, searches=SMALL)
    broken = Traffic(bad.interactions, bad.catalogue.with_columns(brand=pl.lit(None, pl.String)))
    today = summarize(shop.traffic(offset=61, searches=SMALL))
    assert "broken_feed" in drifted(reference.findings(summarize(broken)))
    assert not drifted(reference.findings(today, widened(today, [summarize(broken)])))


def test_a_day_that_is_too_small_to_measure_says_so_of_the_days_together() -> None:
    reference = Reference([DaySummary()])
    days = week_of(ToyShop(seed=9), days=3)
    found = next(f for f in reference.findings(days[0], widened(days[0], days[1:])) if f.name == "worse_results")
    assert not found.measured and found.days == 3
    assert found.evidence == "in 3 days, 150 searches (reference 0); 30 are needed"


def test_each_block_of_the_last_days_is_held_against_all_other_days() -> None:
    days = week_of(ToyShop(seed=10))
    for width, count in ((1, 7), (2, 3), (4, 1), (8, 0)):
        pairs = _leave_one_out(days, width)
        assert len(pairs) == count
        for block, rest in pairs:
            others = merge_all(day for day in days if not set(day.days) & set(block.days))
            assert (rest.searches, rest.days, rest.tokens) == (others.searches, others.days, others.tokens)
            assert len(block.days) == width and rest.searches + block.searches == len(days) * SMALL


def test_the_report_shows_the_days_that_it_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    shop = ToyShop(seed=8, weights=(0.25, 0.25, 0.3, 0.2))
    week = shop.traffic(offset=60, days=WINDOW_DAYS, searches=SMALL)
    days = [week.on(day) for day in week.days]
    today = days[-1]
    report = build_report(
        ToyShop(seed=1).traffic(days=42, searches=SMALL),
        today,
        model="retriever",
        day=today.days[0],
        release="a" * 64,
        out=tmp_path_factory.mktemp("report"),
        earlier=days[-2::-1],
    )
    assert report.names == ["seasonal_shift"]
    assert (report.current.searches, report.widest.searches) == (SMALL, WINDOW_DAYS * SMALL)
    assert DriftReport.model_validate_json(report.model_dump_json()) == report
    assert "| searches | 2,100 | 50 | 350 |" in sides_table(report)
    assert "in 7 days, " in report_markdown(report)
    assert report.widest.days == [str(day) for day in week.days]
