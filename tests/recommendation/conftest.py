"""A shop whose baskets follow themes: what goes together is known, and so is what no basket can tell."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.baskets import NO_QUERY
from rankops.dataset import COLUMNS, Dataset
from rankops.specs import RecommendationSpec, TrainingSpec
from rankops.training.job import TrainingJob

THEMES = ("bath", "camp", "desk", "bake", "bike", "wall")
FIRST, DAYS = date(2026, 3, 2), 20


def catalogue() -> pl.DataFrame:
    """Six themes of eight products; the last product of each theme is never sold."""
    rows = [
        {"product_id": f"{theme}{n}", "title": f"{theme} thing {'abcdefgh'[n]}", "category": theme, "price": 3.0 + n}
        for theme in THEMES
        for n in range(8)
    ]
    frame = pl.DataFrame(rows).with_columns(
        *(pl.lit(None, pl.String).alias(c) for c in ("description", "brand", "attributes")),
        pl.lit(FIRST).alias("added_day"),
    )
    return frame.select([pl.col(n).cast(t) for n, t in COLUMNS["catalogue"].items()]).sort("product_id")


def invoices(seed: int = 0, a_day: int = 30) -> pl.DataFrame:
    """Baskets of four products: three of one theme, one of any."""
    rng, rows = np.random.default_rng(seed), []
    for day in range(DAYS):
        for n in range(a_day):
            theme = THEMES[rng.integers(6)]
            own = [f"{theme}{i}" for i in rng.permutation(7)[:3]]
            taken = list(dict.fromkeys([*own, f"{THEMES[rng.integers(6)]}{rng.integers(7)}"]))
            rows += [
                (f"i{day:02}{n:02}", FIRST + timedelta(day), f"u{n}", NO_QUERY, p + 1, x, True, True)
                for p, x in enumerate(taken)
            ]
    return pl.DataFrame(rows, schema=COLUMNS["interactions"], orient="row")


def unread_base(folder: Path) -> Path:
    """A base model for specs in which the texts' vectors weigh nothing."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"not read: the texts' vectors weigh nothing here")
    (folder / "config.json").write_text("{}")
    return folder


def fitting_job(
    folder: Path, dataset: Dataset, recommendation: RecommendationSpec, base: Path | None = None
) -> TrainingJob:
    """A job on the dataset, saved into ``folder``; without a base model its texts' vectors must weigh nothing."""
    (folder / "dataset").mkdir(parents=True)
    dataset.save(folder / "dataset")
    return TrainingJob(
        task="recommendation",
        spec=TrainingSpec(),
        recommendation=recommendation,
        base_model=base or unread_base(folder / "base"),
        dataset=folder / "dataset",
        output=folder / "checkpoint",
        work=folder / "work",
    )


@pytest.fixture(scope="session")
def shop() -> Dataset:
    empty = {name: pl.DataFrame(schema=COLUMNS[name]) for name in ("queries", "judgements")}
    return Dataset(catalogue=catalogue(), interactions=invoices(), **empty, info={"name": "themes"})
