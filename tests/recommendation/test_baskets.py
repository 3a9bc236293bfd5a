from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from rankops.baskets import baskets_of, contexts, next_item_view
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput
from rankops.specs import RecommendationSpec
from tests.recommendation.conftest import DAYS, FIRST

SPEC = RecommendationSpec(test_days=3, dev_days=2)
DAY = date(2026, 3, 2)


def interactions(*rows: tuple[str, str, str, str, bool]) -> pl.DataFrame:
    """(search_id, user, query, product, clicked) in order."""
    full = [(s, DAY, u, q, n, p, c, False) for n, (s, u, q, p, c) in enumerate(rows, 1)]
    return pl.DataFrame(full, schema=COLUMNS["interactions"], orient="row")


def test_what_a_user_clicked_in_one_day_is_a_basket_over_all_searches() -> None:
    log = interactions(
        ("s1", "u", "lamp", "a", True), ("s1", "u", "lamp", "b", False), ("s2", "u", "rug", "c", True),
        ("s2", "u", "rug", "a", True), ("s3", "v", "rug", "c", True),
    )  # fmt: skip
    (basket,) = baskets_of(log).iter_rows(named=True)
    assert (basket["basket_id"], basket["product_ids"]) == ("u@2026-03-02", ["a", "c"])


def test_an_invoice_is_its_own_basket() -> None:
    log = interactions(
        ("i1", "u", "-", "a", True),
        ("i1", "u", "-", "b", True),
        ("i2", "u", "-", "c", True),
        ("i2", "u", "-", "d", True),
    )
    assert baskets_of(log)["basket_id"].to_list() == ["i1", "i2"]


def test_questions_are_of_the_last_days_and_what_is_learned_from_is_before_them(shop: Dataset) -> None:
    seen = next_item_view(shop, SPEC)
    last = FIRST.toordinal() + DAYS - 1
    assert seen.interactions["day"].max().toordinal() == last - 3
    days = {"test": range(DAYS - 3, DAYS), "dev": range(DAYS - 5, DAYS - 3)}
    for split, wanted in days.items():
        assert {int(q[1:3]) for q in seen.split(split)["query_id"]} == set(wanted)


def test_the_held_out_product_is_not_in_its_context_and_both_are_of_one_basket(shop: Dataset) -> None:
    seen = next_item_view(shop, SPEC)
    held_out = dict(seen.judgements.select("query_id", "product_id").iter_rows())
    whole = dict(baskets_of(shop.interactions).select("basket_id", "product_ids").iter_rows())
    for query_id, context in zip(seen.queries["query_id"], contexts(seen.queries), strict=True):
        assert held_out[query_id] not in context
        assert {held_out[query_id], *context} == set(whole[query_id])


def test_a_question_stays_as_it_is_when_other_baskets_come(shop: Dataset) -> None:
    from dataclasses import replace

    fewer = replace(shop, interactions=shop.interactions.filter(~pl.col("search_id").str.ends_with("07")))
    one, other = (next_item_view(dataset, SPEC).queries for dataset in (shop, fewer))
    kept = one.filter(pl.col("query_id").is_in(other["query_id"].to_list()))
    assert kept.select("query_id", "query").equals(other.select("query_id", "query"))


def test_products_with_few_sales_are_the_new_slice(shop: Dataset) -> None:
    from dataclasses import replace

    early = (pl.col("product_id") == "bath0") & (pl.col("day") < FIRST.replace(day=FIRST.day + 16))
    rare = next_item_view(replace(shop, interactions=shop.interactions.filter(~early)), SPEC)
    asked = rare.judgements.filter(pl.col("product_id") == "bath0")
    assert asked.height
    slices = rare.queries.join(asked, on="query_id", how="semi")["popularity"].unique().to_list()
    assert slices == ["new"]


def test_a_log_without_baskets_is_refused(shop: Dataset) -> None:
    from dataclasses import replace

    alone = shop.interactions.unique("search_id", keep="first")
    with pytest.raises(BadInput, match="no basket of two"):
        next_item_view(replace(shop, interactions=alone), SPEC)
    with pytest.raises(BadInput, match="to learn from"):
        next_item_view(shop, RecommendationSpec(test_days=15, dev_days=10))
