"""Where the shop's data comes from: a generated shop, or a team's own files. Both give the same typed tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource
from pydantic import Field

from rankops.state import LocalState

if TYPE_CHECKING:
    import polars as pl

    from rankops.data.shop.shop import Shop as Generated

Ranker = Callable[[list[str]], list[list[str]]]
"""Queries in, ranked product ids out: the live service, as the generated shop's users meet it."""
Judge = Callable[[list[str]], "pl.DataFrame"]
"""Queries in, their grades out: query, product_id, grade (0..3)."""


@dataclass(frozen=True)
class DayTables:
    """One day of the shop: catalogue snapshot, search events, and where it is known the request log."""

    catalogue: pl.DataFrame
    interactions: pl.DataFrame
    requests: pl.DataFrame | None


class Shop(ConfigurableResource, ABC):
    """The source of the daily tables and of graded judgements."""

    @property
    def is_simulated(self) -> bool:
        """True where users exist only while they are simulated, and so can be shown the live service's answers."""
        return False

    @abstractmethod
    def day(self, day: date, ranker: Ranker | None) -> DayTables:
        """The tables of one day. ``ranker`` is what a simulated shop's users are shown (None: the old engine)."""

    @abstractmethod
    def judge(self, day: date) -> Judge | None:
        """From queries to grades (query, product_id, grade) as of ``day``; None where the team has no judgements."""

    @abstractmethod
    def source(self) -> str:
        """One line for people: where the tables come from."""


class GeneratedShop(Shop):
    """The generated shop of ``rankops.data.shop``, described by a world file."""

    world: str = Field(default="", description="world file; empty: $RANKOPS_WORLD, else worlds/demo.yaml")

    @property
    def is_simulated(self) -> bool:
        """Its users are simulated."""
        return True

    def _path(self) -> Path:
        return Path(self.world) if self.world else LocalState.current().world

    def day(self, day: date, ranker: Ranker | None) -> DayTables:
        """Generate one day; with a ranker the users click on what it shows."""
        shop = _open_shop(self._path())
        if ranker is None:
            return DayTables(shop.catalogue(day), shop.events(day), None)
        asked = shop.day_queries(day)["query"].to_list()  # every search, repeated ones too: each is a request
        answers = dict(zip(asked, ranker(asked), strict=True))
        events = shop.events(day, lambda queries: [answers[query] for query in queries])
        return DayTables(shop.catalogue(day), events, None)

    def judge(self, day: date) -> Judge:
        """Simulated raters (the shop knows the intent behind each of its queries)."""
        return lambda queries: _open_shop(self._path()).judge(queries, day)

    def source(self) -> str:
        """The world file's name."""
        return f"generated shop ({self._path().name})"


class ImportedShop(Shop):
    """A team's own Parquet, CSV or JSON lines at any fsspec URL; ``{day}`` stands for the ISO date."""

    catalogue_url: str = Field(description="e.g. s3://warehouse/catalogue/{day}.parquet")
    interactions_url: str = Field(description="e.g. s3://warehouse/search_events/{day}.parquet")
    requests_url: str = Field(default="", description="the server's request log of a day; empty: none")
    judgements_url: str = Field(default="", description="query, product_id, grade; empty: grades come from clicks")
    catalogue_columns: dict[str, str] = Field(default={}, description="our column name by theirs")
    interactions_columns: dict[str, str] = Field(default={}, description="our column name by theirs")

    def day(self, day: date, ranker: Ranker | None) -> DayTables:
        """Import and validate one day; raises BadInput naming row, column and rule."""
        import polars as pl

        from rankops.data.importers import import_table

        stamp = day.isoformat()
        requests = pl.read_parquet(self.requests_url.format(day=stamp)) if self.requests_url else None
        return DayTables(
            import_table("catalogue", self.catalogue_url.format(day=stamp), self.catalogue_columns or None),
            import_table("interactions", self.interactions_url.format(day=stamp), self.interactions_columns or None),
            requests,
        )

    def judge(self, day: date) -> Judge | None:
        """The team's judgements, if they have any."""
        if not self.judgements_url:
            return None
        url = self.judgements_url.format(day=day.isoformat())

        def grades(queries: list[str]) -> pl.DataFrame:
            import polars as pl

            return pl.read_parquet(url).filter(pl.col("query").is_in(queries)).select("query", "product_id", "grade")

        return grades

    def source(self) -> str:
        """The URL of the events."""
        return f"imported from {self.interactions_url}"


def _open_shop(path: Path) -> Generated:
    from rankops.data.shop.world import load_world

    return _shop_of(load_world(path).model_dump_json())


@lru_cache(maxsize=2)
def _shop_of(world: str) -> Generated:
    """Building a shop takes a second; days of one world share it within a process."""
    from rankops.data.shop.shop import Shop as GeneratedWorld
    from rankops.data.shop.world import World

    return GeneratedWorld(World.model_validate_json(world))
