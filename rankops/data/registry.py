"""The data sets that ``rankops import`` knows by name, and how a dataset is written for others to use.

A new kind is one :class:`Kind`: a function from a path to a :class:`rankops.dataset.Dataset`, and its options' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import cast

import polars as pl

from rankops.data.esci import import_esci
from rankops.data.importers import import_icecat
from rankops.data.matching import import_matching, is_matching_folder
from rankops.data.multi_cpr import import_multi_cpr
from rankops.data.preparation import PreparationOptions, prepare_dataset
from rankops.data.retail import INVOICES, import_retail
from rankops.data.retailrocket import import_retailrocket
from rankops.data.wands import import_wands
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.files import staged_directory


@dataclass(frozen=True)
class Kind:
    """How a data set is read: ``read(path, **options)``; ``path`` says what is expected there."""

    read: Callable[..., Dataset]
    path: str
    options: tuple[str, ...] = ()
    typed_queries: bool = True


KINDS: dict[str, Kind] = {
    "icecat": Kind(import_icecat, "folder like search_icecat"),
    "retail": Kind(import_retail, "CSV file of invoices (UCI Online Retail)", typed_queries=False),
    "matching_wdc": Kind(import_matching, "folder of train, valid and test pairs", typed_queries=False),
    "wands": Kind(import_wands, "folder with product.csv, query.csv, label.csv"),
    "esci": Kind(import_esci, "folder with the examples and products Parquet files", ("locale", "version")),
    "multi-cpr": Kind(import_multi_cpr, "folder data/ecom with corpus.tsv and qrels"),
    "retailrocket": Kind(import_retailrocket, "folder with events.csv and item properties", typed_queries=False),
}


def import_dataset(
    kind: str,
    path: Path,
    options: Mapping[str, str] | None = None,
    *,
    preparation: PreparationOptions | None = None,
    progress: Callable[[str], None] | None = None,
) -> Dataset:
    """Read and prepare a data set. Raises :class:`BadInput` for an unknown kind or option, or for a bad file."""
    if kind not in KINDS:
        raise BadInput(f"{kind!r} is no kind of data set", f"give one of {', '.join(KINDS)}")
    known, given = KINDS[kind], dict(options or {})
    if strange := sorted(set(given) - set(known.options)):
        raise BadInput(f"{kind} has no option {strange[0]!r}", f"it has {', '.join(known.options) or 'none'}")
    if progress is not None:
        progress(f"reading {path}")
    dataset = known.read(path, **given)
    return prepare_dataset(dataset, preparation, typed_queries=known.typed_queries, progress=progress)


def read_folder(path: Path) -> Dataset:
    """A folder of published files, as they are; which kind it is is seen from its files.

    Raises :class:`BadInput` where it is none.
    """
    if (path / "products.jsonl.gz").is_file() and (path / "queries.tsv").is_file():
        return import_icecat(path)
    if is_matching_folder(path):
        return import_matching(path)
    if invoices := sorted(path.glob(INVOICES)):
        return import_retail(invoices[-1])
    raise BadInput(
        f"{path} is no folder of a known data set",
        "give one like search_icecat, matching_wdc or retail, or a dataset folder (`rankops import` writes one)",
    )


def write_dataset(dataset: Dataset, out: Path) -> int:
    """Write a dataset folder, all or nothing, and return how many days it has.

    Where there are interactions, ``interactions/DAY.parquet`` holds those of each day from the first to the last (an
    empty table for a day without any): with ``catalogue.parquet`` that is what the resource ``ImportedShop`` reads.
    Raises :class:`BadInput` where ``out`` exists.
    """
    if out.exists():
        raise BadInput(f"{out} exists already", "give a folder that does not exist, or remove it first")
    days = _days(dataset.interactions)
    with staged_directory(out) as staged:
        dataset.save(staged)
        if days:
            (staged / "interactions").mkdir()
        for day in days:
            table = dataset.interactions.filter(pl.col("day") == day)
            table.write_parquet(staged / "interactions" / f"{day}.parquet", compression="zstd")
    return len(days)


def _days(interactions: pl.DataFrame) -> list[date]:
    if interactions.is_empty():
        return []
    first, last = cast("date", interactions["day"].min()), cast("date", interactions["day"].max())
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
