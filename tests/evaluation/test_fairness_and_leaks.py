"""Exposure is counted by hand; a leak closes the gate, whichever way the answers got into the training."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from math import log2

import numpy as np
import polars as pl
import pytest

from rankops.baskets import next_item_view
from rankops.dataset import Dataset
from rankops.evaluation.fairness import Fairness, gini, measure_exposure
from rankops.evaluation.leaks import find_leaks, leak_check
from rankops.evaluation.plots_breadth import exposure_png
from rankops.evaluation.render_breadth import fairness_markdown
from rankops.specs import GateSpec, RecommendationSpec
from tests.evaluation.rich_shop import rich_shop
from tests.evaluation.samples import noisy_run, small_shop
from tests.recommendation.conftest import catalogue, invoices


@pytest.fixture(scope="module")
def rich() -> Dataset:
    return rich_shop()


def exposure(dataset: Dataset, run: dict[str, list[str]], **gates) -> Fairness:
    queries, spec = dataset.split("test"), GateSpec(floors=(), resamples=200, **gates)
    return measure_exposure(dataset, {"ours": run}, queries, spec, challenger="ours", new_days=30)


def test_exposure_falls_with_the_rank_as_in_dcg(rich: Dataset) -> None:
    # every query shows one product of brand1 and then two of brand2
    first, *rest = (rich.catalogue.filter(pl.col("brand") == b)["product_id"].to_list() for b in ("brand1", "brand2"))
    run = {query: [first[0], *rest[0][:2]] for query in rich.split("test")["query_id"]}
    shares = {row.group: row.exposure["ours"] for row in exposure(rich, run).rows if row.kind == "brand"}
    weights = [1.0, 1 / log2(3), 1 / log2(4)]
    assert shares["brand1"] == pytest.approx(weights[0] / sum(weights))
    assert shares["brand2"] == pytest.approx(sum(weights[1:]) / sum(weights))
    assert shares["brand3"] == 0.0


def test_the_ideal_order_gives_everyone_about_their_due_and_a_prejudice_shows(rich: Dataset) -> None:
    ideal = noisy_run(rich, 0.0, 1)
    due = {row.group: row for row in exposure(rich, ideal).rows}
    assert due["new products"].ratio.mean == pytest.approx(1.0)
    assert sum(row.relevance for row in due.values() if row.kind == "brand") == pytest.approx(1.0)
    old = {p for p, d in rich.catalogue.select("product_id", "added_day").iter_rows() if d < date(2026, 4, 1)}
    hidden = {query: [p for p in products if p in old] or ["p001-0"] for query, products in ideal.items()}
    found = {row.group: row for row in exposure(rich, hidden).rows}
    assert found["new products"].ratio.high == 0.0 and found["new sellers"].ratio.high == 0.0
    told = exposure(rich, hidden)
    assert "| new sellers |" in fairness_markdown(told, "ours") and exposure_png(told, "ours")[:4] == b"\x89PNG"


def test_gini_is_none_for_equals_and_near_one_for_a_winner() -> None:
    assert gini([1, 1, 1, 1]) == pytest.approx(0.0)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([]) == gini([0, 0]) == 0.0
    values = np.random.default_rng(0).random(40)
    by_definition = np.abs(values[:, None] - values[None, :]).mean() / (2 * values.mean())
    assert gini(values.tolist()) == pytest.approx(by_definition)


def test_a_catalogue_without_brands_and_days_says_so() -> None:
    plain = small_shop()
    found = exposure(plain, noisy_run(plain, 1.0, 1))
    assert found.rows == [] and "neither brands nor the days" in str(found.skipped)
    assert "Not measured" in fairness_markdown(found, "ours")


def test_a_sound_dataset_has_no_leak(rich: Dataset) -> None:
    leaks = find_leaks(rich)
    assert [leak.kind for leak in leaks] == ["judged in two splits", "test answers in training pairs"]
    assert all(leak.found == 0 and leak.looked_at > 1000 for leak in leaks)
    assert leak_check(leaks).passed


def test_an_answer_that_was_learned_is_found_whatever_the_order_of_its_words(rich: Dataset) -> None:
    query = rich.split("test").row(1, named=True)
    turned = " ".join(reversed(query["query"].split()))
    train = rich.queries.filter(pl.col("split") == "train").head(1).with_columns(pl.lit(turned).alias("query"))
    clicks = rich.interactions.head(1).with_columns(pl.lit(turned).alias("query"), pl.lit("p001-0").alias("product_id"))
    leaky = replace(
        rich,
        queries=pl.concat([rich.queries.filter(pl.col("query_id") != train["query_id"][0]), train]),
        interactions=pl.concat([rich.interactions, clicks]),
    )
    found = {leak.kind: leak for leak in find_leaks(leaky)}
    assert found["test answers in training pairs"].found == 1
    check = leak_check(list(found.values()))
    assert not check.passed and "p001-0" in check.explanation and "Rebuild the dataset" in check.explanation


def test_a_pair_judged_for_train_and_test_is_found(rich: Dataset) -> None:
    train = rich.queries.filter(pl.col("split") == "train").head(1)
    test = rich.split("test").head(1)
    same = train.with_columns(pl.lit(test["query"][0]).alias("query"))
    judged = pl.DataFrame(
        {"query_id": train["query_id"], "product_id": ["p000-0"], "grade": [3]}, schema=rich.judgements.schema
    )
    leaky = replace(
        rich,
        queries=pl.concat([rich.queries.filter(pl.col("query_id") != train["query_id"][0]), same]),
        judgements=pl.concat([rich.judgements, judged]),
    )
    assert find_leaks(leaky)[0].found == 1


def test_the_future_and_the_answer_itself_leak_into_next_item_questions() -> None:
    empty = small_shop(3)
    shop = Dataset(catalogue(), invoices(), empty.queries.clear(), empty.judgements.clear(), {"name": "themes"})
    view = next_item_view(shop, RecommendationSpec(test_days=4, dev_days=3))
    clean = find_leaks(view)
    assert [(leak.kind, leak.found) for leak in clean] == [
        ("future interactions", 0),
        ("answer in its own question", 0),
    ]
    late = view.interactions.head(2).with_columns(pl.lit(date(2026, 3, 21) + timedelta(days=0)).alias("day"))
    test = view.split("test").row(0, named=True)
    answer = view.judgements.filter(pl.col("query_id") == test["query_id"])["product_id"][0]
    told = view.queries.with_columns(
        pl.when(pl.col("query_id") == test["query_id"])
        .then(pl.concat_str("query", pl.lit(f" {answer}")))
        .otherwise("query")
        .alias("query")
    )
    leaky = find_leaks(replace(view, queries=told, interactions=pl.concat([view.interactions, late])))
    assert [leak.found for leak in leaky] == [2, 1] and not leak_check(leaky).passed
