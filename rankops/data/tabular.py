"""Reading the tables of published data sets: the file that is missing and the column that is absent are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from rankops.errors import BadInput


def find_file(folder: Path, *names: str) -> Path:
    """The first of ``names`` below ``folder``. Raises :class:`BadInput` naming the first where none exists."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"{folder / names[0]} is missing", f"give the folder that holds {names[0]}")


def read_text_table(
    path: Path, columns: Sequence[str], *, separator: str = "\t", header: bool = True, quoted: bool = False
) -> pl.DataFrame:
    """The columns ``columns`` of a delimited file as text (gzip is fine); without a header they are its columns.

    Raises :class:`BadInput` naming file and column, or what is malformed.
    """
    try:
        table = pl.read_csv(
            path,
            separator=separator,
            has_header=header,
            new_columns=None if header else list(columns),
            infer_schema=False,
            quote_char='"' if quoted else None,
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{path} is malformed: {error}", "fetch the file again") from error
    return _picked(table, columns, path)


def read_parquet_columns(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """The columns of a Parquet file, lazily. Raises :class:`BadInput` naming file and column."""
    try:
        lazy = pl.scan_parquet(path)
        have = lazy.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{path} is malformed: {error}", "fetch the file again") from error
    _require(have, columns, path)
    return lazy.select(columns)


def _picked(table: pl.DataFrame, columns: Sequence[str], path: Path) -> pl.DataFrame:
    _require(table.columns, columns, path)
    return table.select(columns)


def _require(have: Sequence[str], columns: Sequence[str], path: Path) -> None:
    if missing := [name for name in columns if name not in have]:
        raise BadInput(f"{path} has no column {', '.join(missing)} (it has {', '.join(have)})", "fetch the file again")
