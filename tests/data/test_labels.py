from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from rankops.data.labels import click_labels, judgements_from_clicks
from rankops.data.shop.events import examination
from rankops.dataset import COLUMNS
from rankops.errors import BadInput
from rankops.pairs import MIN_PROPENSITY, click_weights, estimate_propensities, normalized, training_pairs

from .conftest import dataset_of


def event(search: int, position: int, product: str, clicked: bool = False, purchased: bool = False, query: str = "x"):
    return (f"s{search}", date(2026, 3, 2), "u", query, position, product, clicked, purchased)


def events(*rows) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=COLUMNS["interactions"], orient="row")


def simulate(theta: np.ndarray, searches: int, seed: int) -> pl.DataFrame:
    """A position-based model with random order: the truth is ``theta``."""
    rng = np.random.default_rng(seed)
    attraction = rng.uniform(0.1, 0.9, 8)
    order = np.argsort(rng.random((searches, 8)), axis=1)[:, : len(theta)]
    clicked = rng.random(order.shape) < theta * attraction[order]
    search, place = np.indices(order.shape)
    return pl.DataFrame(
        {
            "search_id": [f"s{i}" for i in search.ravel()],
            "day": [date(2026, 3, 2)] * order.size,
            "user_id": ["u"] * order.size,
            "query": ["x"] * order.size,
            "position": place.ravel() + 1,
            "product_id": [f"p{i}" for i in order.ravel()],
            "clicked": clicked.ravel(),
            "purchased": [False] * order.size,
        },
        schema=COLUMNS["interactions"],
    )


def test_the_estimator_recovers_a_known_position_model():
    theta = np.array([1.0, 0.6, 0.4, 0.3, 0.25])
    found = estimate_propensities(simulate(theta, 4000, seed=1))
    assert found["position"].to_list() == [1, 2, 3, 4, 5]
    assert np.abs(found["propensity"].to_numpy() - theta).max() < 0.06


def test_the_estimator_is_not_fooled_by_a_good_ranker(make_shop):
    """On the shop the truth is known, and clicks by position alone would be far off (better products are on top)."""
    shop = make_shop(searches=2500)
    log = pl.concat([shop.events(shop.world.day(offset)) for offset in range(4)])
    truth = examination(np.arange(1, 11))
    found = estimate_propensities(log)["propensity"].to_numpy()
    naive = log.group_by("position").agg(pl.col("clicked").mean()).sort("position")["clicked"].to_numpy()
    error, naive_error = np.abs(found - truth).max(), np.abs(naive / naive[0] - truth).max()
    assert error < 0.06
    assert error < naive_error


def test_among_equally_right_products_the_debiased_click_rate_does_not_depend_on_the_position(make_shop):
    shop = make_shop(searches=2500)
    log = normalized(pl.concat([shop.events(shop.world.day(offset)) for offset in range(4)]))
    truth = shop.judge(log["query"].unique().to_list(), shop.world.day(3), noise=0.0).filter(pl.col("grade") == 3)
    right = log.join(truth, on=["query", "product_id"], how="semi").group_by("position").agg(pl.col("clicked").mean())
    rates = right.join(estimate_propensities(log), on="position").sort("position")
    debiased = rates["clicked"] / rates["propensity"]
    assert rates["clicked"].max() > 4 * rates["clicked"].min(), "what position alone does to clicks"
    assert debiased.max() < 1.4 * debiased.min()


def test_without_variation_the_documented_fallback_is_used():
    log = events(*(event(search, place, f"p{place}", clicked=True) for search in range(40) for place in (1, 2, 3)))
    assert estimate_propensities(log)["propensity"].to_list() == pytest.approx([1, 1 / 2, 1 / 3])
    assert estimate_propensities(events()).is_empty()


def test_a_click_further_down_counts_more_but_not_without_bound():
    rows = [event(1, 1, "top", True), event(2, 2, "second", True), event(3, 50, "deep", True)]
    weight = dict(click_weights(events(*rows)).select("product_id", "weight").iter_rows())
    assert weight == pytest.approx({"top": 1.0, "second": 2.0, "deep": 1 / MIN_PROPENSITY})


def test_purchases_count_more_and_unclicked_products_have_no_label():
    rows = [event(1, 1, "bought", True, True), event(2, 1, "clicked", True), event(3, 1, "seen")]
    labels = click_labels(events(*rows))
    weight = dict(labels.select("product_id", "weight").iter_rows())
    grade = dict(labels.select("product_id", "grade").iter_rows())
    assert set(weight) == {"bought", "clicked"}
    assert weight["bought"] > 2 * weight["clicked"]
    assert grade["bought"] >= grade["clicked"] >= 1


def test_spellings_of_one_query_share_their_clicks():
    labels = click_labels(events(event(1, 1, "p", True, query="Red  Boots"), event(2, 1, "p", True, query="red boots")))
    assert labels["query"].to_list() == ["red boots"]
    assert labels["weight"].to_list() == [2.0]


def test_click_grades_agree_with_the_truth(shop, log):
    truth = shop.judge(log["query"].unique().to_list(), shop.world.last_day, noise=0.0)
    labels = click_labels(log).join(truth, on=["query", "product_id"], how="left", suffix="_true")
    by_grade = (
        labels.with_columns(pl.col("grade_true").fill_null(0))
        .group_by("grade")
        .agg(pl.col("grade_true").mean())
        .sort("grade")["grade_true"]
        .to_list()
    )
    assert by_grade == sorted(by_grade)
    assert by_grade[-1] > 2.2


def test_what_was_looked_at_and_left_is_judged_irrelevant_and_what_was_hardly_seen_is_not():
    rows = [event(i, 1, "ignored") for i in range(3)] + [event(i, 9, "unseen") for i in range(3)]
    rows += [event(9, 1, "liked", True)]
    judged = judgements_from_clicks(events(*rows))
    assert dict(judged.select("product_id", "grade").iter_rows()) == {"ignored": 0, "liked": 2}
    assert judged.schema["grade"] == pl.Int8


def test_training_pairs_come_from_clicks_on_train_queries_only(dataset):
    pairs = training_pairs(dataset)
    held_out = set(dataset.split("dev")["query"]) | set(dataset.split("test")["query"])
    assert dict(pairs.schema) == {"query": pl.String(), "product_id": pl.String(), "weight": pl.Float64()}
    assert set(pairs["query"]) <= set(dataset.split("train")["query"])
    assert not set(pairs["query"]) & held_out
    assert pairs["weight"].min() > 0
    assert pairs["weight"].mean() == pytest.approx(1.0)
    assert pairs.equals(training_pairs(dataset))
    clicked = dataset.interactions.filter("clicked").select("query", "product_id")
    assert pairs.join(clicked, on=["query", "product_id"], how="anti").is_empty()


def test_without_a_click_log_training_pairs_are_the_well_judged_ones(dataset):
    from dataclasses import replace

    judged = replace(dataset, interactions=dataset.interactions.clear())
    pairs = training_pairs(judged)
    train = dataset.judgements.join(dataset.split("train"), on="query_id")
    assert pairs.height == train.filter(pl.col("grade") >= 2).height
    with pytest.raises(BadInput, match="no training pair"):
        training_pairs(replace(judged, judgements=dataset.judgements.clear()))


def test_an_empty_log_has_no_labels(shop, log):
    assert click_labels(log.clear()).is_empty()
    assert judgements_from_clicks(log.clear()).is_empty()
    with pytest.raises(BadInput, match="no training pair"):
        training_pairs(_without_clicks(shop, log))


def _without_clicks(shop, log):
    from dataclasses import replace

    built = dataset_of(shop, log)
    return replace(built, interactions=built.interactions.with_columns(clicked=False, purchased=False))
