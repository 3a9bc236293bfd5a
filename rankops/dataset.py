"""A dataset: four typed tables in one folder, with the facts that make it reproducible.

=================  ==========================================================================================
``catalogue``      product_id, title, description, category, brand, attributes, price, added_day
``interactions``   search_id, day, user_id, query, position (from 1), product_id, clicked, purchased
``queries``        query_id, query, group_id, split (train | dev | test), popularity (head | torso | tail), category
``judgements``     query_id, product_id, grade (i8, 0..3; 3 is exact)
=================  ==========================================================================================

A catalogue may have one column more, ``available`` (see :data:`EXTRA`).

One row of ``interactions`` is one product shown for one search. Splits are by ``group_id``: near-duplicate
queries share a group and so a split. This module only reads and writes; rules live in ``rankops.data``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from rankops.errors import BadInput
from rankops.files import write_json
from rankops.text import product_texts

BEST_GRADE = 3
"""The highest grade of a judgement; 0 is irrelevant."""
Split = Literal["train", "dev", "test"]

COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "catalogue": {
        "product_id": pl.String(),
        "title": pl.String(),
        "description": pl.String(),
        "category": pl.String(),
        "brand": pl.String(),
        "attributes": pl.String(),
        "price": pl.Float64(),
        "added_day": pl.Date(),
    },
    "interactions": {
        "search_id": pl.String(),
        "day": pl.Date(),
        "user_id": pl.String(),
        "query": pl.String(),
        "position": pl.Int32(),
        "product_id": pl.String(),
        "clicked": pl.Boolean(),
        "purchased": pl.Boolean(),
    },
    "queries": {
        "query_id": pl.String(),
        "query": pl.String(),
        "group_id": pl.String(),
        "split": pl.String(),
        "popularity": pl.String(),
        "category": pl.String(),
    },
    "judgements": {"query_id": pl.String(), "product_id": pl.String(), "grade": pl.Int8()},
}
EXTRA: dict[str, dict[str, pl.DataType]] = {"catalogue": {"available": pl.Boolean()}}
"""Columns that a table may have besides. ``available`` says whether a product can be bought on the catalogue's day;
missing values, and tables without the column, leave everything available."""


def columns_of(name: str, has: Iterable[str]) -> dict[str, pl.DataType]:
    """The columns of a table, and those of :data:`EXTRA` that are among ``has``."""
    present = set(has)
    return COLUMNS[name] | {column: kind for column, kind in EXTRA.get(name, {}).items() if column in present}


@dataclass(frozen=True)
class Dataset:
    """The tables of one dataset. ``info`` holds JSON facts: name, seed, first_day, last_day, counts, source."""

    catalogue: pl.DataFrame
    interactions: pl.DataFrame
    queries: pl.DataFrame
    judgements: pl.DataFrame
    info: dict[str, Any] = field(default_factory=dict)

    def split(self, name: Split) -> pl.DataFrame:
        """The queries of one split, sorted by ``query_id``."""
        return self.queries.filter(pl.col("split") == name).sort("query_id")

    def unavailable(self) -> frozenset[str]:
        """Ids of the products that cannot be bought; a recommender neither shows them nor is asked for them."""
        if "available" not in self.catalogue.columns:
            return frozenset()
        return frozenset(self.catalogue.filter(~pl.col("available"))["product_id"].to_list())

    def product_texts(self) -> list[str]:
        """One text per catalogue row, in catalogue order."""
        return product_texts(self.catalogue.iter_rows(named=True))

    def save(self, folder: Path) -> None:
        """Write the tables as Parquet and ``dataset.json`` into an existing folder (deterministic bytes)."""
        for name in COLUMNS:
            table: pl.DataFrame = getattr(self, name)
            table.write_parquet(folder / f"{name}.parquet", compression="zstd", statistics=True)
        write_json(folder / "dataset.json", self.info)


def load_dataset(folder: Path) -> Dataset:
    """Read what :meth:`Dataset.save` wrote. Raises :class:`BadInput` naming the file that is missing."""
    import json

    for name in [*(f"{table}.parquet" for table in COLUMNS), "dataset.json"]:
        if not (folder / name).is_file():
            raise BadInput(f"{folder / name} is missing", "rematerialize the dataset asset")
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in COLUMNS}
    return Dataset(**tables, info=json.loads((folder / "dataset.json").read_text()))
