from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from rankops.data.prepare import query_id
from rankops.data.tables import check_table
from rankops.dataset import COLUMNS, load_dataset
from rankops.errors import BadInput
from rankops.files import file_digests

from .conftest import dataset_of


def test_every_table_of_the_dataset_keeps_the_rules_and_is_read_back(dataset, tmp_path):
    dataset.save(tmp_path)
    again = load_dataset(tmp_path)
    for name in COLUMNS:
        assert check_table(name, getattr(again, name), name).equals(getattr(dataset, name))
    assert again.info == dataset.info


def test_the_same_tables_give_the_same_bytes_whatever_the_order_of_their_rows(shop, log, tmp_path):
    for name, rows in (("one", log), ("two", log.sample(fraction=1.0, shuffle=True, seed=1))):
        (tmp_path / name).mkdir()
        dataset_of(shop, rows).save(tmp_path / name)
    assert file_digests(tmp_path / "one") == file_digests(tmp_path / "two")


def test_queries_are_normalized_identified_and_ranked_by_traffic(dataset):
    queries = dataset.queries
    assert queries["query_id"].to_list() == [query_id(query) for query in queries["query"]]
    assert query_id(" Red  BOOTS") == query_id("red boots")
    traffic = dataset.interactions.unique("search_id").group_by("query").len()
    mean = queries.join(traffic, on="query").group_by("popularity").agg(pl.col("len").mean())
    by_name = dict(mean.iter_rows())
    assert by_name["head"] > by_name["torso"] > by_name["tail"]


def test_the_category_of_a_query_is_where_its_clicks_went(dataset):
    known = dataset.queries.filter(pl.col("query").str.contains("kettle"))
    assert known.height > 3
    assert (known["category"] == "Kitchen").mean() > 0.8


def test_dev_and_test_are_capped_and_each_query_has_something_to_find(shop, log):
    small = dataset_of(shop, log, max_dev=5, max_test=20)
    assert small.split("dev").height == 5
    assert small.split("test").height == 20
    found = small.judgements.filter(pl.col("grade") > 0)["query_id"].unique()
    assert small.split("dev")["query_id"].is_in(found.implode()).all()
    assert small.split("test")["query_id"].is_in(found.implode()).all()
    large = dataset_of(shop, log)
    assert set(small.split("test")["query_id"]) <= set(large.split("test")["query_id"])
    assert small.split("train").equals(large.split("train"))  # what is dropped is not moved to train
    assert large.info["counts"]["test"] == large.split("test").height


def test_judgements_can_be_a_table_or_clicks(shop, log):
    from rankops.data.prepare import build_dataset

    world, catalogue = shop.world, shop.catalogue(shop.world.last_day)
    options = {"name": "x", "seed": 3, "first_day": world.first_day, "last_day": world.last_day, "source": "test"}
    truth = shop.judge(log["query"].unique().to_list(), world.last_day)
    from_table = build_dataset(catalogue, log, truth, **options)
    assert from_table.judgements.equals(dataset_of(shop, log).judgements)
    from_clicks = build_dataset(catalogue, log, None, **options)
    assert from_clicks.info["judged_by"] == "clicks"
    assert from_clicks.split("test").height > 20
    with pytest.raises(BadInput, match="lack the columns grade"):
        build_dataset(catalogue, log, truth.drop("grade"), **options)


def test_only_the_window_is_used_and_an_empty_one_names_its_days(shop, log):
    first, last = shop.world.day(1), shop.world.day(3)
    part = dataset_of(shop, log, first_day=first, last_day=last)
    assert part.interactions["day"].unique().sort().to_list() == [shop.world.day(d) for d in (1, 2, 3)]
    assert (part.info["first_day"], part.info["last_day"]) == ("2026-03-03", "2026-03-05")
    with pytest.raises(BadInput, match="no event from 2027-01-01 to 2027-01-07"):
        dataset_of(shop, log, first_day=date(2027, 1, 1), last_day=date(2027, 1, 7))


def test_progress_is_told(shop, log):
    told: list[str] = []
    dataset_of(shop, log, progress=told.append)
    assert len(told) == 3
    assert f"{log.height:,} impressions" in told[0]


def test_no_judged_query_is_an_error_that_says_so(shop, log):
    from rankops.data.prepare import build_dataset

    world = shop.world
    nothing = pl.DataFrame(schema={"query": pl.String(), "product_id": pl.String(), "grade": pl.Int8()})
    with pytest.raises(BadInput, match="no query of the dev split has a product with a grade above 0"):
        build_dataset(
            shop.catalogue(world.last_day), log, nothing, name="x", seed=3, first_day=world.first_day,
            last_day=world.last_day, source="test",
        )  # fmt: skip


def test_an_event_of_an_unknown_product_is_named(shop, log):
    lost = log["product_id"][0]
    from rankops.data.prepare import build_dataset

    world = shop.world
    with pytest.raises(BadInput, match=f"value '{lost}': must hold: product_id is in the catalogue"):
        build_dataset(
            shop.catalogue(world.last_day).filter(pl.col("product_id") != lost), log, None, name="x", seed=3,
            first_day=world.first_day, last_day=world.last_day, source="test",
        )  # fmt: skip
