"""Small worlds (well under a second each) for the tests of the data room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from rankops.data.prepare import build_dataset
from rankops.data.shop.shop import Shop
from rankops.data.shop.world import Drift, World
from rankops.dataset import Dataset

DRIFT_DAY = 3


def small_world(*drifts: Drift, seed: int = 5, searches: int = 250) -> World:
    return World(
        seed=seed, products=400, users=80, queries=500, first_day=date(2026, 3, 2), days=6,
        searches_per_day=searches, drifts=drifts,
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_shop() -> Callable[..., Shop]:
    def make(*drifts: Drift, **options: int) -> Shop:
        return Shop(small_world(*drifts, **options))

    return make


@pytest.fixture(scope="session")
def drifted() -> Callable[[str, float], Shop]:
    """A small shop with one drift from ``DRIFT_DAY`` on."""

    def make(name: str, strength: float) -> Shop:
        return Shop(small_world(Drift.model_validate({"name": name, "from_day": DRIFT_DAY, "strength": strength})))

    return make


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop(small_world())


@pytest.fixture(scope="session")
def log(shop: Shop) -> pl.DataFrame:
    return pl.concat([shop.events(shop.world.day(offset)) for offset in range(6)])


def dataset_of(shop: Shop, log: pl.DataFrame, **options: object) -> Dataset:
    world = shop.world
    settings: dict[str, object] = {
        "name": "small", "seed": 3, "first_day": world.first_day, "last_day": world.last_day, "source": "test",
    }  # fmt: skip
    catalogue = shop.catalogue(world.last_day)
    return build_dataset(catalogue, log, lambda q: shop.judge(q, world.last_day), **{**settings, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def dataset(shop: Shop, log: pl.DataFrame) -> Dataset:
    return dataset_of(shop, log)
