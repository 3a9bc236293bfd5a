"""A toy shop of 120 products for tests of the drift room: every knob of a day is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from rankops.dataset import COLUMNS
from rankops.drift.summarize import Traffic

FIRST_DAY = date(2026, 3, 2)
WORDS = {
    "Shoes > Boots": ["boots", "rubber", "hiking", "ankle"],
    "Kitchen > Pans": ["pan", "frying", "iron", "wok"],
    "Garden > Hoses": ["hose", "watering", "sprinkler", "reel"],
    "Audio > Speakers": ["speaker", "loud", "portable", "stereo"],
    "Pets > Beds": ["puppy", "basket", "kitten", "cushion"],
}
OLD = tuple(WORDS)[:4]


@dataclass
class ToyShop:
    """Draws days of traffic. One instance is one stream of random numbers."""

    seed: int = 0
    categories: tuple[str, ...] = OLD
    weights: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    click_rate: float = 0.7
    prices: float = 1.0
    slang: tuple[str, ...] = ()
    slang_share: float = 0.0
    typo_share: float = 0.02
    scores: float = 0.6
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def catalogue(self) -> pl.DataFrame:
        rows = [
            {
                "product_id": f"{category[:3]}{i}",
                "title": f"{words[i % 4]} {words[(i + 1) % 4]} model",
                "description": "A fine thing.",
                "category": category,
                "brand": f"Brand{i % 3}",
                "attributes": "colour red",
                "price": round((10.0 + i) * self.prices, 2),
                "added_day": FIRST_DAY,
            }
            for category, words in WORDS.items()
            if category in self.categories
            for i in range(30)
        ]
        return pl.DataFrame(rows, schema=COLUMNS["catalogue"])

    def query(self, category: str) -> str:
        words = list(self.rng.choice(WORDS[category], 2, replace=False))
        if self.rng.random() < self.slang_share:
            words[0] = str(self.rng.choice(self.slang))
        elif self.rng.random() < self.typo_share:
            words[0] += "".join(self.rng.choice(list("qxzvw"), 3))
        return " ".join(words)

    def interactions(self, day: date, searches: int) -> pl.DataFrame:
        weights = np.array(self.weights) / sum(self.weights)
        rows = []
        for number, place in enumerate(self.rng.choice(len(self.categories), searches, p=weights)):
            category = self.categories[place]
            query, clicked = self.query(category), self.rng.random() < self.click_rate
            position = 1 + min(3, self.rng.geometric(0.5) - 1)
            for slot, product in enumerate(self.rng.choice(30, 4, replace=False), 1):
                hit = bool(clicked and slot == position)
                rows.append((f"s{number}", day, f"u{number % 40}", query, slot, f"{category[:3]}{product}", hit, False))
        return pl.DataFrame(rows, schema=COLUMNS["interactions"], orient="row")

    def requests(self, day: date, count: int, release: str = "r1") -> pl.DataFrame:
        scores = self.rng.normal(self.scores, 0.1, count).clip(-1, 1)
        return pl.DataFrame(
            {
                "timestamp": [f"{day}T12:00:00+00:00"] * count,
                "day": [day] * count,
                "request_id": [f"r{i}" for i in range(count)],
                "query": [self.query(self.categories[i % len(self.categories)]) for i in range(count)],
                "product_ids": [["Sho1"]] * count,
                "top_score": pl.Series(scores, dtype=pl.Float32),
                "results": pl.Series([1] * count, dtype=pl.Int32),
                "latency_ms": [1.0] * count,
                "release": [release] * count,
            }
        )

    def traffic(self, offset: int = 0, days: int = 1, searches: int = 300, requests: int = 0) -> Traffic:
        dates = [FIRST_DAY + timedelta(days=offset + i) for i in range(days)]
        log = pl.concat([self.requests(day, requests) for day in dates]) if requests else None
        return Traffic(pl.concat([self.interactions(day, searches) for day in dates]), self.catalogue(), log)


@pytest.fixture(scope="session")
def reference() -> Traffic:
    """Six normal days of 300 searches."""
    return ToyShop(seed=1).traffic(days=6, requests=60)
