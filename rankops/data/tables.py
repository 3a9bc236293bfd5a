"""What must hold in each of the four tables, as pandera schemas, and the one way in for tables from outside.

A rule is a named polars expression that is true for good rows; pandera validates all of them lazily, so that one
look shows every violation. Cross-table rules (a product that the catalogue lacks) are checked by
:func:`unknown_products`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from rankops.dataset import COLUMNS, EXTRA, columns_of
from rankops.errors import BadInput

if TYPE_CHECKING:
    import pandera.polars as pa

TableName = Literal["catalogue", "interactions", "queries", "judgements"]

OPTIONAL: dict[str, frozenset[str]] = {
    "catalogue": frozenset({"description", "category", "brand", "attributes", "price", "added_day"}),
    "interactions": frozenset(),
    "queries": frozenset(),
    "judgements": frozenset(),
}
"""Columns that a team's own table may lack, and whose values may be missing; so may those of EXTRA."""

VIOLATIONS = {"row": pl.Int64(), "column": pl.String(), "rule": pl.String(), "value": pl.String()}
_SHOWN = 10
_MAX_PRICE = 1e8


@dataclass(frozen=True)
class Rule:
    """``good`` is true for rows that keep the rule; a null result keeps it too (missing values have their own rule)."""

    name: str
    column: str
    good: pl.Expr


def _id(column: str) -> Rule:
    # Ids travel in TREC runs, which are separated by white space.
    return Rule(f"{column} is not empty and has no white space", column, pl.col(column).str.contains(r"^\S+$"))


def _unique(*columns: str) -> Rule:
    what = columns[0] if len(columns) == 1 else f"the pair ({', '.join(columns)})"
    return Rule(f"{what} is unique", columns[-1], pl.struct(columns).is_first_distinct())


def _one_of(column: str, *allowed: str) -> Rule:
    return Rule(f"{column} is one of {', '.join(allowed)}", column, pl.col(column).is_in(allowed))


def _same_within(column: str, group: str) -> Rule:
    return Rule(f"one {group} has one {column}", column, pl.col(column) == pl.col(column).first().over(group))


def _filled(column: str) -> Rule:
    return Rule(f"{column} is not blank", column, pl.col(column).str.strip_chars() != "")


RULES: dict[str, tuple[Rule, ...]] = {
    "catalogue": (
        _id("product_id"),
        _unique("product_id"),
        _filled("title"),
        Rule(
            "price is above 0 and finite",
            "price",
            pl.col("price").is_finite() & (pl.col("price") > 0) & (pl.col("price") < _MAX_PRICE),
        ),
    ),
    "interactions": (
        _id("search_id"),
        _id("product_id"),
        _filled("query"),
        Rule("position is at least 1", "position", pl.col("position") >= 1),
        Rule("a purchased product was clicked", "purchased", pl.col("clicked") | ~pl.col("purchased")),
        _unique("search_id", "position"),
        _unique("search_id", "product_id"),
        _same_within("query", "search_id"),
        _same_within("day", "search_id"),
        _same_within("user_id", "search_id"),
    ),
    "queries": (
        _id("query_id"),
        _unique("query_id"),
        _filled("query"),
        _unique("query"),
        _one_of("split", "train", "dev", "test"),
        _one_of("popularity", "head", "torso", "tail"),
        _same_within("split", "group_id"),
    ),
    "judgements": (
        _id("query_id"),
        _id("product_id"),
        Rule("grade is 0, 1, 2 or 3", "grade", pl.col("grade").is_between(0, 3)),
        _unique("query_id", "product_id"),
    ),
}


def table_rules(name: TableName) -> list[str]:
    """The rules of a table in words, columns' types first; for people."""
    typed = [
        f"{column} is a {dtype}" + ("" if column in OPTIONAL[name] else " and present")
        for column, dtype in COLUMNS[name].items()
    ]
    typed += [f"{column}, where there is such a column, is a {dtype}" for column, dtype in EXTRA.get(name, {}).items()]
    return typed + [rule.name for rule in RULES[name]]


def schema(name: TableName, has: Iterable[str] = ()) -> pa.DataFrameSchema:
    """The pandera schema of a table (with those columns it may have that are among ``has``): types, presence, and
    every rule as a named check."""
    import pandera.polars as pa

    def column(label: str, dtype: pl.DataType) -> pa.Column:
        checks = [_check(rule) for rule in RULES[name] if rule.column == label]
        return pa.Column(dtype, nullable=label in OPTIONAL[name] | EXTRA.get(name, {}).keys(), checks=checks)

    columns = columns_of(name, has)
    return pa.DataFrameSchema({label: column(label, dtype) for label, dtype in columns.items()}, strict=True)


def _check(rule: Rule) -> pa.Check:
    import pandera.polars as pa

    def holds(data: Any) -> pl.LazyFrame:
        frame: pl.LazyFrame = data.lazyframe
        return frame.select(rule.good.fill_null(True).alias(rule.column))

    return pa.Check(holds, name=rule.name)


def violations(name: TableName, frame: pl.DataFrame) -> pl.DataFrame:
    """Every broken rule as ``row`` (from 1; null for the whole column), ``column``, ``rule``, ``value``; sorted."""
    import pandera.polars as pa

    try:
        schema(name, frame.columns).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return _readable(error.failure_cases, frame)
    return pl.DataFrame(schema=VIOLATIONS)


_BUILT_IN = {
    "not_nullable": "value is present",
    "column_in_dataframe": "column is present",
    "column_in_schema": "column is known",
}


def _readable(cases: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Pandera's failure cases in our words, with the value that the table really holds."""
    table_level = pl.col("check").is_in(["column_in_dataframe", "column_in_schema"])
    # Missing columns make every other rule of theirs fail with an engine error; one line each is enough.
    cases = cases.filter(table_level | pl.col("index").is_not_null() | pl.col("check").str.starts_with("dtype"))
    rows = cases["index"].to_list()
    columns = cases.select(pl.when(table_level).then(pl.col("failure_case")).otherwise(pl.col("column")))
    names = columns.to_series().to_list()
    values = [
        _shown(frame[column][row]) if row is not None and column in frame.columns else None
        for row, column in zip(rows, names, strict=True)
    ]
    return pl.DataFrame(
        {
            "row": [None if row is None else row + 1 for row in rows],
            "column": names,
            "rule": [_BUILT_IN.get(check, check) for check in cases["check"].to_list()],
            "value": values,
        },
        schema=VIOLATIONS,
    ).sort("row", "column", "rule", nulls_last=False)


def _shown(value: object) -> str | None:
    return None if value is None else str(value)[:120]


def unknown_products(frame: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """Violations for rows whose ``product_id`` the catalogue lacks, in the form of :func:`violations`."""
    numbered = frame.select("product_id").with_row_index("row", offset=1)
    lost = numbered.join(catalogue.select("product_id"), on="product_id", how="anti", maintain_order="left")
    return lost.select(
        pl.col("row").cast(pl.Int64),
        pl.lit("product_id").alias("column"),
        pl.lit("product_id is in the catalogue").alias("rule"),
        pl.col("product_id").alias("value"),
    )


def check_table(
    name: TableName, frame: pl.DataFrame, source: str, *, catalogue: pl.DataFrame | None = None
) -> pl.DataFrame:
    """``frame`` in the declared columns and types; unknown columns are left out, absent optional ones are null.

    With ``catalogue`` every ``product_id`` must be known in it. Raises :class:`BadInput` naming ``source``, the
    number of violations, and for the first ten of them the data row (from 1), the column, the value and the rule.
    """
    columns = columns_of(name, frame.columns)
    if missing := [label for label in columns if label not in frame.columns and label not in OPTIONAL[name]]:
        raise BadInput(
            f"{source}: table {name} lacks the columns {', '.join(missing)} (it has {', '.join(frame.columns)})",
            "add the columns, or map yours to them by name",
        )
    absent = [pl.lit(None, dtype=columns[label]).alias(label) for label in columns if label not in frame.columns]
    typed, wrong = _cast(name, frame.with_columns(absent).select(list(columns)))
    broken = pl.concat([wrong, violations(name, typed).join(wrong, on=["row", "column"], how="anti")])
    if catalogue is not None:
        broken = pl.concat([broken, unknown_products(typed, catalogue)])
    if broken.height:
        raise BadInput(_message(name, source, broken), "correct the rows; nothing was written")
    return typed


def _message(name: str, source: str, broken: pl.DataFrame) -> str:
    broken = broken.sort("row", "column", "rule")
    lines = [
        f"  row {row}, column {column}, value {value!r}: must hold: {rule}"
        for row, column, rule, value in broken.head(_SHOWN).iter_rows()
    ]
    more = broken.height - len(lines)
    tail = [f"  and {more} more"] if more else []
    count = "1 violation" if broken.height == 1 else f"{broken.height} violations"
    return "\n".join([f"{source}: {count} in table {name}", *lines, *tail])


def _cast(name: TableName, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The frame in the declared types, and violations for values that are lost on the way."""
    typed, wrong = [], [pl.DataFrame(schema=VIOLATIONS)]
    for label, dtype in columns_of(name, frame.columns).items():
        before = _without_blanks(frame[label], dtype)
        after = _cast_series(before, dtype)
        typed.append(after)
        lost = (before.is_not_null() & after.is_null()).arg_true()
        wrong.append(
            pl.DataFrame(
                {
                    "row": (lost + 1).cast(pl.Int64),
                    "column": [label] * len(lost),
                    "rule": [f"{label} is a {dtype}"] * len(lost),
                    "value": [_shown(value) for value in before.gather(lost).to_list()],
                },
                schema=VIOLATIONS,
            )
        )
    return pl.DataFrame(typed), pl.concat(wrong)


def _without_blanks(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Blank text where a number, day or flag belongs is a missing value, as an empty cell of a CSV file is."""
    if values.dtype != pl.String or dtype == pl.String():
        return values
    return (
        values.to_frame()
        .select(pl.when(pl.col(values.name).str.strip_chars() != "").then(pl.col(values.name)))
        .to_series()
    )


def _cast_series(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Cast without loss: what does not survive the way there and back becomes null."""
    if values.dtype == dtype:
        return values
    if values.dtype == pl.String and dtype == pl.Boolean():
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        folded = values.str.strip_chars().str.to_lowercase()
        return folded.replace_strict(words, default=None, return_dtype=pl.Boolean)
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        return text.str.to_date(strict=False) if dtype == pl.Date() else text.cast(dtype, strict=False)
    if values.dtype.is_numeric() and (dtype.is_integer() or dtype == pl.Boolean()):
        cast = values.cast(dtype, strict=False)
        kept = cast.cast(pl.Float64, strict=False) == values.cast(pl.Float64, strict=False)
        return cast.to_frame().select(pl.when(kept).then(pl.col(values.name))).to_series()
    if values.dtype.is_nested():
        return pl.Series(values.name, [None] * len(values), dtype=dtype)
    return values.cast(dtype, strict=False)
