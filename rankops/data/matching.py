"""Offer pairs, match or not, as a dataset: each pair is a query (the left title) with one judged product (the right).

Grades are 3 for a match and 0 else; the splits are the files'. The same title may stand in many pairs, so queries are
not distinct; those of one title share a group within their split, because their errors are not independent.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import polars as pl

from rankops.data.tables import check_table
from rankops.dataset import COLUMNS, Dataset, Split
from rankops.errors import BadInput

PAIR_COLUMNS = ("pair_id", "category", "left_title", "right_title")
FILES: dict[Split, tuple[str, ...]] = {
    "train": ("train.tsv.gz", "train.tsv"),
    "dev": ("valid.tsv.gz", "valid.tsv"),
    "test": ("test.tsv.gz", "test.tsv", "test_pairs.tsv.gz", "test_pairs.tsv"),
}
"""Which file holds which split, the first that exists; only the test file may lack the column ``label``."""
MATCH = 3


def is_matching_folder(folder: Path) -> bool:
    """Whether a folder looks like one that :func:`import_matching` reads."""
    return any((folder / name).is_file() for name in FILES["test"])


def import_matching(folder: Path) -> Dataset:
    """Read a folder of tab-separated pairs (``pair_id, category, left_title, right_title, label``; see FILES).

    Test pairs without labels become queries without judgements: they can be predicted, not measured. Raises
    :class:`BadInput` naming the file that is missing, or the file, row and column that is wrong.
    """
    tables = {split: read_pairs(_file(folder, names), labelled=split != "test") for split, names in FILES.items()}
    return matching_dataset(tables, name="matching", source=folder.name)


def matching_dataset(tables: dict[Split, pl.DataFrame], *, name: str, source: str) -> Dataset:
    """A dataset from one table of pairs a split (columns as :func:`read_pairs` returns them).

    Raises :class:`BadInput` for a pair id that occurs twice.
    """
    pairs = pl.concat(table.with_columns(pl.lit(split).alias("split")) for split, table in tables.items())
    if (repeated := pairs.filter(pl.col("pair_id").is_duplicated())).height:
        raise BadInput(f"{source}: pair_id {repeated['pair_id'][0]!r} occurs twice", "give each pair one id")
    ids = {title: product_id(title) for title in pairs["right_title"].unique().to_list()}
    pairs = pairs.with_columns(pl.col("right_title").replace_strict(ids, return_dtype=pl.String).alias("product_id"))
    catalogue = check_table("catalogue", _catalogue(pairs), source)
    judged = pairs.filter(pl.col("label").is_not_null())
    grades = judged.select(pl.col("pair_id").alias("query_id"), "product_id", (pl.col("label") * MATCH).alias("grade"))
    judgements = check_table("judgements", grades, source, catalogue=catalogue)
    counts = {split: table.height for split, table in tables.items()}
    return Dataset(
        catalogue=catalogue.sort("product_id"),
        interactions=pl.DataFrame(schema=COLUMNS["interactions"]),
        queries=_queries(pairs).sort("query_id"),
        judgements=judgements.sort("query_id", "product_id"),
        info={
            "name": name,
            "source": source,
            "judged_by": "labels",
            "counts": {"products": catalogue.height, "matches": int(judged["label"].sum()), **counts},
        },
    )


def product_id(title: str) -> str:
    """A stable id of an offer: the same title has the same id in every dataset."""
    return "o" + sha256(title.encode()).hexdigest()[:12]


def read_pairs(path: Path, *, labelled: bool) -> pl.DataFrame:
    """Columns :data:`PAIR_COLUMNS` (text) and ``label`` (Int8; null where the file has none).

    Lines end at LF and fields at TAB, nothing is quoted: titles hold quotes and exotic line separators. Raises
    :class:`BadInput` naming file, row and column.
    """
    header, *lines = _text(path).split("\n")
    names = header.split("\t")
    wanted = [*PAIR_COLUMNS, *(["label"] if labelled or "label" in names else [])]
    if absent := [name for name in wanted if name not in names]:
        raise BadInput(f"{path} has no column {', '.join(absent)} (it has {', '.join(names)})", "name the columns so")
    places = [names.index(name) for name in wanted]
    rows = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        fields = line.split("\t")
        if len(fields) != len(names):
            raise BadInput(f"{path}, row {number}: {len(fields)} fields, expected {len(names)}", "correct the row")
        row = [fields[place].strip() for place in places]
        _check(path, number, dict(zip(wanted, row, strict=True)))
        rows.append(row)
    table = pl.DataFrame(rows, schema=dict.fromkeys(wanted, pl.String()), orient="row")
    label = pl.col("label").cast(pl.Int8) if "label" in wanted else pl.lit(None, dtype=pl.Int8).alias("label")
    return table.with_columns(label)


def _check(path: Path, number: int, row: dict[str, str]) -> None:
    for name in ("pair_id", "left_title", "right_title"):
        if not row[name]:
            raise BadInput(f"{path}, row {number}: {name} is empty", "correct the row")
    if len(row["pair_id"].split()) != 1:
        raise BadInput(f"{path}, row {number}: pair_id {row['pair_id']!r} has white space", "correct the row")
    if row.get("label", "0") not in ("0", "1"):
        raise BadInput(f"{path}, row {number}: label is {row['label']!r}, not 0 or 1", "correct the row")


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "fetch the file again") from error


def _file(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"{folder / names[0]} is missing", f"the folder needs one of {', '.join(names)}")


def _catalogue(pairs: pl.DataFrame) -> pl.DataFrame:
    """One product for each distinct right title. Categories belong to pairs (a slice), and are no part of the text."""
    return pairs.select("product_id", pl.col("right_title").alias("title")).unique().sort("product_id")


def _queries(pairs: pl.DataFrame) -> pl.DataFrame:
    # Not check_table: its rule that query texts differ is for search queries; the rows were checked on reading.
    return pairs.select(
        pl.col("pair_id").alias("query_id"),
        pl.col("left_title").alias("query"),
        pl.concat_str(
            "split", pl.lit(":"), pl.col("left_title").map_elements(product_id, return_dtype=pl.String)
        ).alias("group_id"),
        "split",
        pl.lit("torso").alias("popularity"),
        "category",
    ).cast(COLUMNS["queries"])  # type: ignore[arg-type]
