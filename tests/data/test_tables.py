from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from rankops.data.tables import RULES, check_table, table_rules, violations
from rankops.dataset import COLUMNS, EXTRA
from rankops.errors import BadInput

GOOD: dict[str, list[dict[str, object]]] = {
    "catalogue": [
        {"product_id": "p1", "title": "Red boots", "description": None, "category": "Shoes", "brand": "Nordvik",
         "attributes": "colour red", "price": 99.5, "added_day": date(2026, 1, 1)},
        {"product_id": "p2", "title": "Kettle", "description": "", "category": None, "brand": None,
         "attributes": None, "price": None, "added_day": None},
    ],
    "interactions": [
        {"search_id": "s1", "day": date(2026, 3, 2), "user_id": "u1", "query": "red boots", "position": 1,
         "product_id": "p1", "clicked": True, "purchased": True},
        {"search_id": "s1", "day": date(2026, 3, 2), "user_id": "u1", "query": "red boots", "position": 2,
         "product_id": "p2", "clicked": False, "purchased": False},
    ],
    "queries": [
        {"query_id": "q1", "query": "red boots", "group_id": "g1", "split": "train", "popularity": "head",
         "category": "Shoes"},
        {"query_id": "q2", "query": "boots red", "group_id": "g1", "split": "train", "popularity": "tail",
         "category": "Shoes"},
    ],
    "judgements": [
        {"query_id": "q1", "product_id": "p1", "grade": 3},
        {"query_id": "q1", "product_id": "p2", "grade": 0},
    ],
}  # fmt: skip


def table(name: str, *, row: int | None = None, **changes: object) -> pl.DataFrame:
    """The good table with one row changed (types as good files have them)."""
    rows = [dict(item) for item in GOOD[name]]
    if row is not None:
        rows[row - 1].update(changes)
    return pl.DataFrame(rows, schema=COLUMNS[name])


@pytest.mark.parametrize("name", list(GOOD))
def test_good_tables_pass_unchanged(name):
    frame = table(name)
    assert check_table(name, frame, "good.parquet").equals(frame)
    assert violations(name, frame).is_empty()


@pytest.mark.parametrize(
    ("name", "row", "column", "value", "rule"),
    [
        ("catalogue", 2, "product_id", "p1", "product_id is unique"),
        ("catalogue", 2, "product_id", "p 2", "product_id is not empty and has no white space"),
        ("catalogue", 1, "product_id", None, "value is present"),
        ("catalogue", 2, "title", "  ", "title is not blank"),
        ("catalogue", 1, "title", None, "value is present"),
        ("catalogue", 1, "price", -1.0, "price is above 0 and finite"),
        ("catalogue", 1, "price", float("nan"), "price is above 0 and finite"),
        ("catalogue", 2, "price", float("inf"), "price is above 0 and finite"),
        ("interactions", 2, "position", 0, "position is at least 1"),
        ("interactions", 2, "position", 1, "the pair (search_id, position) is unique"),
        ("interactions", 2, "product_id", "p1", "the pair (search_id, product_id) is unique"),
        ("interactions", 2, "purchased", True, "a purchased product was clicked"),
        ("interactions", 2, "query", "kettle", "one search_id has one query"),
        ("interactions", 2, "query", " ", "query is not blank"),
        ("interactions", 2, "user_id", "u2", "one search_id has one user_id"),
        ("interactions", 2, "day", date(2026, 3, 3), "one search_id has one day"),
        ("interactions", 1, "clicked", None, "value is present"),
        ("queries", 2, "query_id", "q1", "query_id is unique"),
        ("queries", 2, "query", "red boots", "query is unique"),
        ("queries", 2, "split", "test", "one group_id has one split"),
        ("queries", 1, "popularity", "famous", "popularity is one of head, torso, tail"),
        ("judgements", 2, "grade", 4, "grade is 0, 1, 2 or 3"),
        ("judgements", 2, "grade", -1, "grade is 0, 1, 2 or 3"),
        ("judgements", 2, "product_id", "p1", "the pair (query_id, product_id) is unique"),
    ],
)
def test_a_broken_rule_is_named_with_row_column_and_value(name, row, column, value, rule):
    frame = table(name, row=row, **{column: value})
    shown = None if value is None else str(value)
    assert (row, column, rule, shown) in violations(name, frame).rows()
    with pytest.raises(BadInput) as caught:
        check_table(name, frame, "bad.csv")
    assert "bad.csv" in str(caught.value)
    assert f"row {row}, column {column}, value {shown!r}: must hold: {rule}" in str(caught.value)


def test_every_rule_has_a_table_that_breaks_it():
    """The list above is complete: a rule that no example breaks would be a rule that nobody tested."""
    broken = {case[4] for case in test_a_broken_rule_is_named_with_row_column_and_value.pytestmark[0].args[1]}
    untested = {rule.name for rules in RULES.values() for rule in rules} - broken
    assert untested == {
        "search_id is not empty and has no white space",
        "query_id is not empty and has no white space",
        "split is one of train, dev, test",
    }


def test_violations_are_counted_and_at_most_ten_are_listed():
    rows = [{"query_id": f"q{i}", "product_id": "p1", "grade": 9} for i in range(25)]
    with pytest.raises(BadInput) as caught:
        check_table("judgements", pl.DataFrame(rows), "many.csv")
    assert "many.csv: 25 violations" in str(caught.value)
    assert str(caught.value).count("must hold") == 10
    assert "and 15 more" in str(caught.value)


def test_text_is_cast_and_what_cannot_be_is_named():
    rows = {"search_id": ["1", "1"], "day": ["2026-03-02", "2026-03-02"], "user_id": ["u", "u"], "query": ["x", "x"],
            "position": ["1", "two"], "product_id": ["p1", "p2"], "clicked": ["1", "0"], "purchased": ["no", "maybe"],
            "extra": ["a", "b"]}  # fmt: skip
    with pytest.raises(BadInput) as caught:
        check_table("interactions", pl.DataFrame(rows), "log.csv")
    assert "row 2, column position, value 'two': must hold: position is a Int32" in str(caught.value)
    assert "row 2, column purchased, value 'maybe': must hold: purchased is a Boolean" in str(caught.value)
    assert "2 violations" in str(caught.value)  # the lost values are not reported as missing as well
    rows |= {"position": ["1", "2"], "purchased": ["no", "false"]}
    checked = check_table("interactions", pl.DataFrame(rows), "log.csv")
    assert dict(checked.schema) == COLUMNS["interactions"]
    assert checked["clicked"].to_list() == [True, False]


def test_numbers_that_would_be_cut_are_refused():
    with pytest.raises(BadInput, match=r"row 1, column grade, value '2\.5': must hold: grade is a Int8"):
        check_table("judgements", pl.DataFrame({"query_id": ["q"], "product_id": ["p"], "grade": [2.5]}), "x")
    with pytest.raises(BadInput, match="value '300'"):
        check_table("judgements", pl.DataFrame({"query_id": ["q"], "product_id": ["p"], "grade": [300]}), "x")


def test_missing_columns_are_named_and_optional_ones_become_null():
    with pytest.raises(BadInput, match=r"shop\.csv: table catalogue lacks the columns title \(it has product_id\)"):
        check_table("catalogue", pl.DataFrame({"product_id": ["p1"]}), "shop.csv")
    small = check_table("catalogue", pl.DataFrame({"product_id": [7], "title": ["Kettle"]}), "shop.csv")
    assert small.row(0) == ("7", "Kettle", None, None, None, None, None, None)


def test_products_that_the_catalogue_lacks_are_named():
    with pytest.raises(
        BadInput, match="row 2, column product_id, value 'p2': must hold: product_id is in the catalogue"
    ):
        check_table("interactions", table("interactions"), "log", catalogue=table("catalogue").head(1))


def test_violations_of_a_table_with_wrong_columns_say_which():
    frame = table("judgements").drop("grade").with_columns(stars=pl.lit(3))
    found = violations("judgements", frame).rows()
    assert (None, "grade", "column is present", None) in found
    assert any(row[1] == "stars" and row[2] == "column is known" for row in found)


@pytest.mark.parametrize("name", list(GOOD))
def test_rules_are_told_in_words(name):
    told = table_rules(name)
    assert len(told) == len(COLUMNS[name]) + len(EXTRA.get(name, {})) + len(RULES[name])
    assert all(rule.name in told for rule in RULES[name])


def test_a_catalogue_may_say_what_can_be_bought():
    said = table("catalogue").with_columns(available=pl.Series(["no", None], dtype=pl.String))
    typed = check_table("catalogue", said, "feed.csv")
    assert typed["available"].to_list() == [False, None] and typed.columns[:-1] == list(COLUMNS["catalogue"])
    with pytest.raises(BadInput, match="row 1, column available, value 'maybe'"):
        check_table("catalogue", said.with_columns(available=pl.lit("maybe")), "feed.csv")
    assert any("available" in rule for rule in table_rules("catalogue"))
