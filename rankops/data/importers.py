"""Tables from outside: a team's own files at any fsspec path, and the Icecat search set that comes with judgements."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from rankops.data.tables import TableName, check_table
from rankops.dataset import COLUMNS, EXTRA, Dataset, columns_of
from rankops.errors import BadInput
from rankops.text import normalize_query

_FORMATS = ".parquet, .csv, .tsv, .jsonl, .ndjson (each may end in .gz, except .parquet)"
_MAX_VALUE = 200


def import_table(
    name: TableName, url: str, mapping: Mapping[str, str] | None = None, *, catalogue: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Read a Parquet, CSV, TSV or JSON-lines file at any fsspec path into the typed table ``name``.

    ``mapping`` is ``{their column: our column}``; columns that are not named keep their name, columns that we do not
    know are left out. With ``catalogue`` every product must be known in it. Raises :class:`BadInput` naming the
    file, and row, column and rule where it is a value that is wrong.
    """
    frame = _read(url)
    renames = dict(mapping or {})
    if lost := [column for column in renames if column not in frame.columns]:
        raise BadInput(
            f"{url} has no column {', '.join(lost)} (it has {', '.join(frame.columns)})", "correct the column mapping"
        )
    columns = columns_of(name, EXTRA.get(name, ()))
    if strange := [column for column in renames.values() if column not in columns]:
        raise BadInput(
            f"table {name} has no column {', '.join(strange)} (it has {', '.join(columns)})",
            "correct the right-hand side of the column mapping",
        )
    # A mapped column wins over one that already has the name.
    frame = frame.drop([column for column in renames.values() if column in frame.columns and column not in renames])
    return check_table(name, frame.rename(renames), url, catalogue=catalogue)


def _read(url: str) -> pl.DataFrame:
    try:
        with fsspec.open(url, "rb") as handle:
            data: bytes = handle.read()
    except (OSError, ImportError, ValueError) as error:  # missing, forbidden, or a scheme without its package
        raise BadInput(f"cannot read {url}: {error}", "check the path, the credentials and the scheme") from error
    plain = url.lower().removesuffix(".gz")
    try:
        if url.lower().endswith(".gz"):
            data = gzip.decompress(data)
        return _parse(plain, data)
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInput(f"{url} is malformed: {error}", f"write it again as one of {_FORMATS}") from error


def _parse(url: str, data: bytes) -> pl.DataFrame:
    if url.endswith(".parquet"):
        return pl.read_parquet(io.BytesIO(data))
    if url.endswith((".csv", ".tsv")):
        # Everything is text first: a wrong value is then reported with its row instead of failing the parser.
        separator = "\t" if url.endswith(".tsv") else ","
        frame = pl.read_csv(io.BytesIO(data), separator=separator, infer_schema=False)
        return frame.select(pl.all().replace("", None))  # a quoted empty cell is as missing as an unquoted one
    if url.endswith((".jsonl", ".ndjson")):
        return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    raise BadInput(f"{url}: the format is not known by its ending", f"give one of {_FORMATS}")


def import_icecat(folder: Path) -> Dataset:
    """The Icecat search set (135 judged queries over 19,406 products) with its given split and groups.

    There is no click log: ``interactions`` is empty and training pairs come from the train judgements. Test queries
    have no judgements; their judged pool is ``info["candidates"]``: ``{query_id: [product_id, ...]}``. Traffic is
    unknown, so ``popularity`` is ``torso`` for every query; the category is ``electronics``.
    Raises :class:`BadInput` naming the file that is missing or malformed.
    """
    catalogue = check_table(
        "catalogue", _icecat_products(folder / "products.jsonl.gz"), str(folder / "products.jsonl.gz")
    )
    queries = _icecat_queries(folder / "queries.tsv")
    judgements = pl.concat(
        check_table("judgements", _tsv(path, list(COLUMNS["judgements"])), str(path), catalogue=catalogue)
        for path in (folder / "qrels_train.tsv", folder / "qrels_dev.tsv")
    )
    pool = _tsv(folder / "candidates_test.tsv", ["query_id", "product_id"]).sort("query_id", "product_id")
    pools = pool.group_by("query_id", maintain_order=True).agg("product_id")
    splits = {split: queries.filter(pl.col("split") == split).height for split in ("train", "dev", "test")}
    raters = _icecat_raters(folder / "raters_train_dev.tsv")
    return Dataset(
        catalogue=catalogue.sort("product_id"),
        interactions=pl.DataFrame(schema=COLUMNS["interactions"]),
        queries=queries.sort("query_id"),
        judgements=judgements.sort("query_id", "product_id"),
        info={
            "name": "icecat",
            "source": "search_icecat",
            "judged_by": "raters",
            "candidates": dict(pools.iter_rows()),
            **({"raters": raters} if raters else {}),
            "counts": {"products": catalogue.height, "judgements": judgements.height, **splits},
        },
    )


def _icecat_raters(path: Path) -> dict[str, float | int | None]:
    """How far the raters of train and dev agree; nothing where the file of single ratings is absent."""
    from rankops.data.raters import agreement

    if not path.is_file():
        return {}
    names = ["rater1", "rater2", "rater3"]
    wide = _tsv(path, ["query_id", "product_id", *names])
    long = wide.unpivot(on=names, index=["query_id", "product_id"], variable_name="rater", value_name="grade")
    return agreement(long.with_columns(pl.col("grade").cast(pl.Int64))).facts()


def _icecat_queries(path: Path) -> pl.DataFrame:
    given = _tsv(path, ["query_id", "query", "split", "group_id"])
    texts = pl.Series("query", [normalize_query(query) for query in given["query"].to_list()], dtype=pl.String)
    known = given.with_columns(texts, pl.lit("torso").alias("popularity"), pl.lit("electronics").alias("category"))
    return check_table("queries", known, str(path))


def _tsv(path: Path, columns: list[str]) -> pl.DataFrame:
    # Plain splitting on \n and \t: titles and queries may hold quotes and exotic line separators.
    lines = _text(path).split("\n")
    header = lines[0].split("\t")
    if header != columns:
        raise BadInput(f"{path} has the columns {header}, expected {columns}", "fetch the file again")
    rows = [line.split("\t") for line in lines[1:] if line]
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise BadInput(f"{path}, row {number}: {len(row)} fields, expected {len(columns)}", "fetch the file again")
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String()), orient="row")


def _text(path: Path) -> str:
    if not path.is_file():
        raise BadInput(f"{path} is missing", "give the folder that holds products.jsonl.gz, queries.tsv and the qrels")
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "fetch the file again") from error


def _icecat_products(path: Path) -> pl.DataFrame:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line:
            try:
                rows.append(_icecat_product(json.loads(line)))
            except (ValueError, KeyError, AttributeError) as error:
                raise BadInput(f"{path}, row {number}: {error!r}", "fetch the file again") from error
    return pl.DataFrame(rows, schema=dict.fromkeys(_ICECAT_COLUMNS, pl.String()), orient="row")


_ICECAT_COLUMNS = ("product_id", "title", "description", "brand", "attributes", "added_day")


def _icecat_product(item: dict[str, Any]) -> tuple[str | None, ...]:
    return (
        item["product_id"],
        item["title"],
        item["short_description"] or None,
        item["brand"] or None,
        _icecat_attributes(item["attributes"]) or None,
        item["date_released"] or None,
    )


def _icecat_attributes(attributes: Mapping[str, Any]) -> str:
    """The textual attributes, in words: ``type Original; ink type Dye-based ink``; measures and essays are left out.

    Words are searched in all of them; an encoder reads as far as its length goes.
    """
    named = (
        (key.removeprefix("attr_t_").replace("_", " ").strip(), str(value))
        for key, value in attributes.items()
        if key.startswith("attr_t_")
    )
    return "; ".join(f"{key} {value}" for key, value in named if len(value) <= _MAX_VALUE)
