"""A world file: everything that decides what the generated shop is and what happens in it.

The same world gives the same catalogue, queries and events, byte for byte. Behaviour lives in the other modules.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rankops.errors import BadInput

DriftName = Literal["new_category", "seasonal_shift", "price_inflation", "new_slang", "language_mix", "broken_feed"]


class Drift(BaseModel):
    """One change of the world, from a day on.

    ``strength`` means, by name: ``new_category`` and ``new_slang`` and ``language_mix``: the share of searches that
    ask for the new family, use a new word for a known type, or are German, French or Spanish; ``seasonal_shift``:
    from 0 (no shift) to 1 (families in season are asked for twenty times as often as those out of season);
    ``price_inflation``: 0.2 is +20 %; ``broken_feed``: the share of products whose fields arrive broken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DriftName
    from_day: int = Field(ge=0, description="offset from the world's first day; the drift holds from that day on")
    strength: float = Field(gt=0, le=1)


class World(BaseModel):
    """The declaration of a generated shop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    products: int = Field(default=2500, ge=100, le=1_000_000, description="products of the twelve old families")
    users: int = Field(default=2000, ge=10, le=10_000_000)
    queries: int = Field(default=4000, ge=100, le=500_000, description="distinct queries that shoppers know")
    first_day: date = date(2026, 3, 2)
    days: int = Field(default=21, ge=1, le=3650)
    searches_per_day: int = Field(default=2000, ge=1, le=5_000_000, description="mean; ten impressions each")
    out_of_stock: float = Field(
        default=0.0, ge=0, lt=1, description="share of products that cannot be bought; 0: the feed does not say"
    )
    drifts: tuple[Drift, ...] = ()

    @model_validator(mode="after")
    def _drifts_make_sense(self) -> World:
        names = [drift.name for drift in self.drifts]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                raise ValueError(f"drift {name} is declared {names.count(name)} times; once is the limit")
        for drift in self.drifts:
            if drift.from_day >= self.days:
                raise ValueError(f"drift {drift.name} starts on day {drift.from_day}, after the last ({self.days - 1})")
        return self

    @property
    def last_day(self) -> date:
        """The last day that the shop can produce."""
        return self.first_day + timedelta(days=self.days - 1)

    def day(self, offset: int) -> date:
        """The calendar day ``offset`` days after the first."""
        return self.first_day + timedelta(days=offset)

    def offset(self, day: date) -> int:
        """Days since the first day. Raises :class:`BadInput` for a day outside the world."""
        offset = (day - self.first_day).days
        if not 0 <= offset < self.days:
            raise BadInput(
                f"{day} is outside the generated shop's days {self.first_day} to {self.last_day}",
                "ask for a day inside, or raise 'days' in the world file",
            )
        return offset

    def drift(self, name: DriftName) -> Drift | None:
        """The declared drift of that name, whenever it starts."""
        return next((drift for drift in self.drifts if drift.name == name), None)

    def strength(self, name: DriftName, offset: int) -> float:
        """The drift's strength on a day, 0.0 where it is absent or has not begun."""
        drift = self.drift(name)
        return drift.strength if drift is not None and offset >= drift.from_day else 0.0


def load_world(path: Path) -> World:
    """Read a world from a YAML or JSON file. Raises :class:`BadInput` naming the file and every wrong field."""
    if not path.is_file():
        raise BadInput(f"world file {path} is missing", "give the path of a world file, e.g. worlds/demo.yaml")
    try:
        return World.model_validate(_parse(path))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'world'}: {item['msg']}" for item in error.errors()
        )
        raise BadInput(f"{path}: {problems}", "see rankops.data.shop.world.World for the fields") from error


def _parse(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)
    except (ValueError, YAMLError) as error:
        raise BadInput(f"{path} cannot be parsed: {error}", "correct the file's syntax") from error
