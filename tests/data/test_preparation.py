from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.baskets import baskets_of
from rankops.data.cleaning import clean_text
from rankops.data.outliers import Limits
from rankops.data.preparation import PreparationOptions, prepare_dataset, prepare_tables
from rankops.data.prepare import build_dataset
from rankops.data.sessions import add_sessions, interactions_of_events
from rankops.data.steps import preparation_markdown
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput

DAY = date(2026, 3, 2)


def event(search: str, product: str, *, query="boots", user="u1", position=1, clicked=False, purchased=False, day=DAY):
    return (search, day, user, query, position, product, clicked, purchased)


def events(*rows) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=COLUMNS["interactions"], orient="row")


def products(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame([{**dict.fromkeys(COLUMNS["catalogue"]), **row} for row in rows], schema=COLUMNS["catalogue"])


SHOES = products({"product_id": "p1", "title": "Red boots"}, {"product_id": "p2", "title": "Blue lamp"})


def reasons(log) -> dict[str, int]:
    """``{"step: reason": count}`` of what was dropped or changed."""
    return {f"{step.name}: {reason}": n for step in log.steps for reason, n in step.reasons.items() if n}


def test_every_loss_is_counted_with_its_reason_and_shown_in_the_table():
    catalogue = products(
        {"product_id": "p1", "title": "Red&nbsp;<b>boots</b>", "brand": "  "},
        {"product_id": "p1", "title": "Red boots again"},
        {"product_id": "p2", "title": "Blue lamp", "price": -3.0},
        {"product_id": "p3", "title": " "},
    )
    rows = [
        event("s1", "p1"), event("s1", "p1", position=2, clicked=True), event("s2", "p2", query=" "),
        event("s3", "gone"), event("s4", "p2", query="mail jane@example.org"),
        event("s5", "p2", user="jane@example.org"),
    ]  # fmt: skip
    kept, log_events, log = prepare_tables(catalogue, events(*rows))
    assert kept.select("product_id", "title", "brand", "price").rows() == [
        ("p1", "Red boots", None, None), ("p2", "Blue lamp", None, None)
    ]  # fmt: skip
    assert reasons(log) == {
        "personal data: query with an address, card or number": 1,
        "personal data: user id that is an address or number": 1,
        "normalize texts: title": 2,
        "normalize texts: brand": 1,
        "clean: blank title": 1,
        "clean: product id repeated": 1,
        "clean: blank query": 1,
        "clean: product not in the catalogue": 1,
        "clean: repeated in its search": 1,
        "price outliers: price not above zero": 1,
    }
    assert log_events["search_id"].to_list() == ["s1", "s4", "s5"]
    assert log_events["clicked"][0], "of a repeated product the row with the click stays"
    text = preparation_markdown(log.facts())
    assert "jane" not in text
    assert "jane" not in str(log_events.rows())
    for step in log.steps:
        assert step.rows_out <= step.rows_in
        assert f"{step.rows_in:,} | {step.rows_out:,}" in text


def test_preparing_twice_drops_nothing_more(shop, log):
    once = prepare_tables(shop.catalogue(shop.world.last_day), log)
    again = prepare_tables(once[0], once[1])
    assert once[1].height == log.height, "people of the generated shop are no bots"
    assert again[0].equals(once[0])
    assert again[1].equals(once[1])


def test_bots_are_dropped_and_busy_people_are_not(shop, log):
    queries = log["query"].unique().sort().to_list()
    fast = [event(f"b{i}", "p000001", query=queries[i % 9], user="scraper") for i in range(301)]
    eager = [event(f"e{i}", "p000001", query=queries[i % 9], user="clicker", clicked=True) for i in range(60)]
    catalogue = shop.catalogue(shop.world.last_day)
    assert "p000001" in catalogue["product_id"].to_list()
    _, kept, done = prepare_tables(catalogue, pl.concat([log, events(*fast, *eager)]))
    assert kept.sort("search_id", "position").equals(log.sort("search_id", "position"))
    found = reasons(done)
    assert found["outliers: user with more than 300 searches on the day"] == 301
    assert found["outliers: user who clicked 90% of what was shown"] == 60


def test_invoices_are_not_judged_as_bots():
    rows = [event(f"i{i}", "p1", query="-", clicked=True, purchased=True) for i in range(400)]
    _, kept, _ = prepare_tables(SHOES, events(*rows))
    assert kept.height == 400


def test_where_most_would_go_the_input_is_wrong_and_says_so():
    with pytest.raises(BadInput, match="cleaning the interactions would drop 3 of 4 rows"):
        prepare_tables(SHOES, events(event("s1", "p1"), *(event(f"s{i}", f"x{i}") for i in range(3))))
    rows = [event(f"s{i}", "p1", user="all", query=f"q{i}") for i in range(20)]
    with pytest.raises(BadInput, match="is it one id for all"):
        prepare_tables(SHOES, events(*rows), PreparationOptions(limits=Limits(searches_a_day=10)))


def test_prices_far_from_their_category_become_missing_and_their_products_stay():
    rows = [
        {"product_id": f"p{i}", "title": f"Boots {i}", "category": "Shoes > Boots", "price": 40.0 + i}
        for i in range(30)
    ]
    rows.append({"product_id": "q", "title": "Boots of gold", "category": "Shoes", "price": 99999.0})
    rows.append({"product_id": "r", "title": "One of few", "category": "Cars", "price": 99999.0})
    kept, _, log = prepare_tables(products(*rows), events(event("s", "p1")))
    price = dict(kept.select("product_id", "price").iter_rows())
    assert price["q"] is None
    assert price["r"] == 99999.0
    assert kept.height == 32
    assert reasons(log) == {"price outliers: price far from its category's": 1}


def test_near_duplicates_are_reported_and_merged_only_when_asked():
    title = "Lexmark E330, E340, E332, E342 High Yield Return Program Toner Cartridge Original"
    catalogue = products(
        {"product_id": "a", "title": title},
        {"product_id": "b", "title": title + "s"},
        {"product_id": "c", "title": "Lamp"},
    )
    rows = events(event("s1", "a"), event("s1", "b", position=2, clicked=True), event("s2", "b", clicked=True))
    kept, found, log = prepare_tables(catalogue, rows)
    assert kept.height == 3
    assert found.height == 3
    assert reasons(log) == {"near-duplicates (similarity 0.9): found in 1 groups, kept": 2}
    kept, found, log = prepare_tables(catalogue, rows, PreparationOptions(near_duplicates="merge"))
    assert kept["product_id"].to_list() == ["a", "c"]
    assert found.select("search_id", "product_id", "clicked").rows() == [("s1", "a", True), ("s2", "a", True)]


def test_of_an_imported_dataset_judgements_follow_their_products():
    title = "Lexmark E330, E340, E332, E342 High Yield Return Program Toner Cartridge Original"
    catalogue = products({"product_id": "a", "title": title}, {"product_id": "b", "title": title + "s"})
    queries = pl.DataFrame(
        [("q1", "toner", "g1", "train", "torso", "x"), ("q2", "call +49 171 2345678", "g2", "test", "torso", "x")],
        schema=COLUMNS["queries"], orient="row",
    )  # fmt: skip
    judged = pl.DataFrame([("q1", "a", 1), ("q1", "b", 3), ("q2", "a", 3)], schema=COLUMNS["judgements"], orient="row")
    dataset = Dataset(catalogue, events(), queries, judged, {"name": "x"})
    merged = prepare_dataset(dataset, PreparationOptions(near_duplicates="merge"))
    assert merged.judgements.rows() == [("q1", "a", 3)]
    assert merged.queries["query_id"].to_list() == ["q1"]
    assert prepare_dataset(dataset, typed_queries=False).queries.height == 2


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_cleaned_text_is_printable_and_its_white_space_single(text):
    cleaned = clean_text(text)
    assert cleaned == " ".join(cleaned.split())
    assert not set(cleaned) & {"\x00", "\n", "\u2028"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["u", "v"]), st.integers(0, 400)), min_size=1, max_size=30))
def test_a_session_has_no_pause_of_more_than_thirty_minutes_and_ends_with_one(moments):
    start = datetime(2026, 3, 2)
    stream = pl.DataFrame(
        {"user_id": [u for u, _ in moments], "time": [start + timedelta(minutes=m) for _, m in moments]}
    )
    found = add_sessions(stream)
    for _, part in found.group_by("session_id"):
        assert part["user_id"].n_unique() == 1
        assert (part["time"].sort().diff().drop_nulls() <= timedelta(minutes=30)).all()
    for _, part in found.group_by("user_id"):
        edges = (
            part.group_by("session_id").agg(pl.col("time").min().alias("a"), pl.col("time").max().alias("b")).sort("a")
        )
        assert (edges["a"].shift(-1) - edges["b"]).drop_nulls().gt(timedelta(minutes=30)).all()


def test_a_clickstream_becomes_interactions_whose_sessions_are_baskets():
    start = datetime(2026, 3, 2, 23, 50)
    rows = [("u", 0, "a", "view"), ("u", 20, "b", "view"), ("u", 25, "a", "transaction"), ("u", 90, "c", "view")]
    stream = pl.DataFrame(
        [(u, start + timedelta(minutes=m), p, e) for u, m, p, e in rows],
        schema=["user_id", "time", "product_id", "event"], orient="row",
    )  # fmt: skip
    table, facts = interactions_of_events(stream, {"view": "view", "transaction": "purchase"})
    assert dict(table.schema) == COLUMNS["interactions"]
    assert table.select("search_id", "day", "position", "product_id", "purchased").rows() == [
        ("u-0", DAY, 1, "a", True), ("u-0", DAY, 2, "b", False), ("u-1", date(2026, 3, 3), 1, "c", False)
    ]  # fmt: skip
    assert facts == {"sessions": 2, "of one product": 1}
    assert baskets_of(table)["product_ids"].to_list() == [["a", "b"]]
    with pytest.raises(BadInput, match="events of the kind 'transaction'"):
        interactions_of_events(stream, {"view": "view"})


def test_tables_without_any_search_make_a_dataset_of_baskets():
    rows = [
        event(f"i{i}", p, query="-", clicked=True, position=n) for i in range(3) for n, p in enumerate(("p1", "p2"), 1)
    ]
    options = {"name": "x", "seed": 3, "first_day": DAY, "last_day": DAY, "source": "test"}
    built = build_dataset(SHOES, events(*rows), None, **options)
    assert built.queries.is_empty()
    assert built.judgements.is_empty()
    assert baskets_of(built.interactions).height == 3
