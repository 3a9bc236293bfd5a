from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankops.data.shop.catalogue import TYPES
from rankops.data.shop.events import examination
from rankops.data.shop.jargon import jargon_words
from rankops.data.shop.shop import Shop
from rankops.data.shop.world import World, load_world
from rankops.data.tables import check_table
from rankops.errors import BadInput
from rankops.text import normalize_query, product_texts

from .conftest import small_world

ROOT = Path(__file__).resolve().parents[2]
JARGON = set(jargon_words().values())


def has_jargon(query: str) -> bool:
    return any(word in JARGON for word in query.split())


def test_the_same_world_gives_the_same_tables_and_another_seed_gives_others(shop, log):
    again = Shop(small_world())
    day = shop.world.day(2)
    assert again.catalogue(day).equals(shop.catalogue(day))
    assert again.events(day).equals(shop.events(day))
    other = Shop(small_world(seed=6))
    assert not other.catalogue(day).equals(shop.catalogue(day))
    assert not other.events(day).equals(shop.events(day))


def test_days_can_be_made_in_any_order(shop):
    fresh = Shop(small_world())
    late, early = fresh.events(shop.world.day(4)), fresh.events(shop.world.day(1))
    assert late.equals(shop.events(shop.world.day(4)))
    assert early.equals(shop.events(shop.world.day(1)))


def test_tables_of_the_shop_keep_every_rule(shop, log):
    last = shop.world.last_day
    catalogue = check_table("catalogue", shop.catalogue(last), "shop")
    checked = check_table("interactions", log, "shop", catalogue=catalogue)
    assert checked.equals(log)


def test_products_arrive_and_never_leave(shop):
    first, last = (set(shop.catalogue(shop.world.day(offset))["product_id"]) for offset in (0, 5))
    assert first < last
    assert shop.catalogue(shop.world.day(2))["added_day"].max() <= shop.world.day(2)


def test_day_queries_are_the_searches_behind_the_events(shop):
    day = shop.world.day(1)
    asked = shop.day_queries(day)
    seen = shop.events(day).select("search_id", "user_id", "query").unique().sort("search_id")
    assert seen.equals(asked.sort("search_id"))
    assert (asked["query"].map_elements(normalize_query, return_dtype=pl.String) == asked["query"]).all()


def test_the_page_shows_the_ranker_s_list_and_the_same_lists_give_the_same_events(shop):
    day = shop.world.day(1)
    ids = shop.catalogue(day)["product_id"].to_list()
    calls: list[int] = []

    def constant(queries: list[str]) -> list[list[str]]:
        calls.append(len(queries))
        return [ids[:10] for _ in queries]

    events = shop.events(day, constant)
    assert events.equals(shop.events(day, constant))
    assert calls[0] == shop.day_queries(day)["query"].n_unique()  # each distinct query is asked once
    top = events.filter(pl.col("position") <= 2)["product_id"]
    assert top.is_in(ids[:10]).mean() > 0.99
    assert not events.equals(shop.events(day))


def test_a_better_ranker_gets_more_clicks(shop):
    day = shop.world.day(1)
    judged = shop.judge(shop.day_queries(day)["query"].unique().to_list(), day, noise=0.0)
    best = judged.sort(["grade", "product_id"], descending=[True, False]).group_by("query").agg("product_id")
    ranking = dict(best.iter_rows())
    oracle = shop.events(day, lambda queries: [ranking[query][:10] for query in queries])
    assert oracle["clicked"].sum() > 1.3 * shop.events(day)["clicked"].sum()


def test_a_ranker_that_answers_wrongly_is_named(shop):
    day = shop.world.first_day
    with pytest.raises(BadInput, match="answered 0 of"):
        shop.events(day, lambda queries: [])
    with pytest.raises(BadInput, match="nonsense"):
        shop.events(day, lambda queries: [["nonsense"] for _ in queries])
    late = shop.catalogue(shop.world.last_day).filter(pl.col("added_day") > day)["product_id"][0]
    with pytest.raises(BadInput, match=late):
        shop.events(day, lambda queries: [[late] for _ in queries])


def test_a_day_outside_the_world_is_refused(shop):
    with pytest.raises(BadInput, match="outside the generated shop's days 2026-03-02 to 2026-03-07"):
        shop.events(shop.world.last_day + timedelta(days=1))


def test_judgements_follow_the_intent_and_noise_is_small_and_repeatable(shop):
    day, queries = shop.world.last_day, shop.day_queries(shop.world.last_day)["query"].unique().sort().to_list()
    clean, noisy = shop.judge(queries, day, noise=0.0), shop.judge(queries, day, noise=0.1)
    assert noisy.equals(shop.judge(queries[::-1], day, noise=0.1))
    assert set(clean["grade"].unique()) == {1, 2, 3}
    both = clean.join(noisy, on=["query", "product_id"], suffix="_noisy")
    gap = (both["grade"] - both["grade_noisy"]).abs()
    assert both.height == clean.height
    assert gap.max() == 1
    assert 0.05 < (gap > 0).mean() < 0.1
    graded = clean.join(clean.group_by("query").agg(pl.col("grade").max().alias("best")), on="query")
    assert (graded["best"] == 3).mean() > 0.98  # intents are read off real products, so most can be satisfied


def test_jargon_means_the_type_it_stands_for(shop):
    day = shop.world.last_day
    word = jargon_words()["type:kettle:old"]
    asked = [text for text in shop.pool.surfaces if word in text.split()]
    judged = shop.judge(asked, day, noise=0.0).filter(pl.col("grade") >= 2)
    categories = judged.join(shop.catalogue(day), on="product_id")["category"].unique().to_list()
    assert asked
    assert categories == ["Kitchen > Kettle"]


def test_an_unknown_query_cannot_be_judged(shop):
    with pytest.raises(BadInput, match="'how are you'"):
        shop.judge(["how are you"], shop.world.last_day)


def test_a_day_without_a_search_is_an_empty_table(make_shop):
    shop = make_shop(searches=1)
    sizes = []
    for offset in range(6):
        day = shop.world.day(offset)
        events, asked = shop.events(day), shop.day_queries(day)
        assert events.schema == shop.events(shop.world.first_day).schema
        assert events["search_id"].n_unique() == asked.height
        sizes.append(asked.height)
    assert 0 in sizes
    assert max(sizes) > 0


def test_jargon_is_common_in_queries_and_absent_from_products(shop, log):
    searches = log.unique("search_id")["query"].to_list()
    synonyms = {kind.synonym for kind in TYPES}
    strange = [has_jargon(q) or any(f" {s} " in f" {q} " for s in synonyms) for q in searches]
    assert 0.3 < np.mean(strange) < 0.55
    text = " ".join(product_texts(shop.catalogue(shop.world.last_day).iter_rows(named=True))).lower()
    vocabulary = set(text.replace(".", " ").replace(";", " ").split())
    assert not vocabulary & JARGON


def test_jargon_words_are_far_apart():
    from rankops.data.shop.jargon import _distance

    words = sorted(JARGON)
    assert len(words) == len(jargon_words())
    assert min(_distance(a, b) for i, a in enumerate(words) for b in words[i + 1 :]) >= 3


def test_traffic_has_a_head_and_a_tail(log):
    searches = log.unique("search_id")["query"].value_counts(sort=True)["count"]
    assert searches.head(len(searches) // 10).sum() > 0.35 * searches.sum()
    assert (searches == 1).sum() > 0.2 * len(searches)


def test_clicks_fall_with_the_position_and_rise_with_the_grade(shop, log):
    day = shop.world.last_day
    judged = shop.judge(log["query"].unique().to_list(), day, noise=0.0)
    graded = log.join(judged, on=["query", "product_id"], how="left").with_columns(pl.col("grade").fill_null(0))
    near_top = graded.filter(pl.col("position") <= 2).group_by("grade").agg(pl.col("clicked").mean()).sort("grade")
    rates = near_top["clicked"].to_list()
    assert rates == sorted(rates)
    exact = graded.filter(pl.col("grade") == 3)
    first, fifth = (exact.filter(pl.col("position") == p)["clicked"].mean() for p in (1, 5))
    assert fifth / first == pytest.approx(examination(np.array([5]))[0], abs=0.1)
    assert (log["clicked"] | ~log["purchased"]).all()


def test_users_have_tastes(make_shop):
    """Some users come back to the same families: their favourites get more than chance would give."""
    shop = make_shop(searches=2000)
    asked = shop.day_queries(shop.world.first_day)
    rows = [shop._row_of_query[query] for query in asked["query"]]
    family = shop.pool.intents.family[rows]
    users = np.array([int(user[1:]) for user in asked["user_id"]])
    hit = (shop.users.favourites[users] == family[:, None]).any(axis=1).mean()
    strangers = (shop.users.favourites[users[::-1]] == family[:, None]).any(axis=1).mean()
    assert hit > 2 * strangers


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_world_is_read_from_yaml_and_json(tmp_path, suffix):
    import json

    world = World(seed=4, drifts=({"name": "new_slang", "from_day": 2, "strength": 0.5},))
    path = tmp_path / f"world{suffix}"
    path.write_text(json.dumps(world.model_dump(mode="json")))  # JSON is YAML
    assert load_world(path) == world


def test_the_demo_world_is_whole():
    world = load_world(ROOT / "worlds" / "demo.yaml")
    assert {drift.name for drift in world.drifts} == {"new_slang", "new_category"}
    assert world.days >= 21
    assert world.first_day == date(2026, 3, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: minus", ["seed"]),
        ("seed: 1\ncolour: red", ["colour"]),
        ("drifts: [{name: rain, from_day: 1, strength: 0.2}]", ["drifts.0.name", "new_category"]),
        ("days: 5\ndrifts: [{name: new_slang, from_day: 9, strength: 0.2}]", ["starts on day 9"]),
        ("seed: [", ["cannot be parsed"]),
        ("products: 5\nusers: 0", ["products", "users"]),
    ],
)
def test_a_wrong_world_file_names_the_file_and_every_field(tmp_path, text, words):
    path = tmp_path / "world.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_world(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_missing_world_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml is missing"):
        load_world(tmp_path / "nowhere.yaml")


def test_stock_is_told_where_the_world_has_any(shop):
    assert "available" not in shop.catalogue(shop.world.day(1)).columns
    stocked = Shop(small_world().model_copy(update={"out_of_stock": 0.25}))
    days = [stocked.catalogue(stocked.world.day(offset)) for offset in (1, 2)]
    assert 0.15 < 1 - days[0]["available"].mean() < 0.35
    assert days[0].drop("available").equals(shop.catalogue(shop.world.day(1)))
    assert days[0]["available"].to_list() != days[1]["available"].to_list()[: days[0].height]
