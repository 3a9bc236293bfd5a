"""End to end on the generated shop: each drift that a world injects is named; normal days name nothing."""

from __future__ import annotations

import polars as pl
import pytest

from rankops.data.shop.shop import Shop
from rankops.data.shop.world import Drift, World
from rankops.drift.reference import Reference
from rankops.drift.summaries import DaySummary
from rankops.drift.summarize import Traffic, summarize, summarize_days

DRIFT_DAY, SIZE = 6, {"days": 12, "products": 600, "users": 500, "queries": 1000, "searches_per_day": 700}


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(World(**SIZE))


@pytest.fixture(scope="module")
def days(shop: Shop) -> list[DaySummary]:
    world = shop.world
    events = pl.concat([shop.events(world.day(offset)) for offset in range(DRIFT_DAY)])
    return summarize_days(Traffic(events, shop.catalogue(world.day(DRIFT_DAY - 1))))


def drifted(days: list[DaySummary], shop: Shop, offset: int) -> list[str]:
    day = shop.world.day(offset)
    current = summarize(Traffic(shop.events(day), shop.catalogue(day)))
    return [finding.name for finding in Reference(days).findings(current) if finding.drifted]


def test_days_without_a_drift_name_nothing(shop: Shop, days: list[DaySummary]) -> None:
    assert {offset: drifted(days, shop, offset) for offset in range(DRIFT_DAY, 12)} == {
        offset: [] for offset in range(DRIFT_DAY, 12)
    }


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("new_slang", 0.2),
        ("new_category", 0.2),
        ("seasonal_shift", 0.8),
        ("price_inflation", 0.2),
        ("language_mix", 0.2),
        ("broken_feed", 0.2),
    ],
)
def test_an_injected_drift_is_named_first(days: list[DaySummary], name: str, strength: float) -> None:
    world = World.model_validate({**SIZE, "drifts": (Drift(name=name, from_day=DRIFT_DAY, strength=strength),)})
    found = drifted(days, Shop(world), DRIFT_DAY)
    assert found[:1] == [name]
    brought = {"new_products"} if name == "new_category" else set()
    assert set(found) <= {name, "worse_results", "new_slang", *brought}
