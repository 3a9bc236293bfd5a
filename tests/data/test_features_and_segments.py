from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2_contingency

from rankops.data.segments import query_segments, segment_slice, user_features, user_segments
from rankops.errors import BadInput
from rankops.feature_selection import BINS, features_markdown, holm, select_features
from rankops.stages.features import feature_report, pair_table


def table(seed: int = 1, rows: int = 800) -> tuple[np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    strong, weak = labels + rng.normal(0, 0.4, rows), labels * 0.6 + rng.normal(0, 1, rows)
    bent = np.where(labels == 1, rng.choice([-2, 2], rows), 0) + rng.normal(0, 0.5, rows)
    noise = rng.normal(size=(rows, 4))
    values = np.column_stack([strong, strong * 3 + 1, weak, bent, noise, np.ones(rows)]).astype(np.float32)
    return values, ["strong", "twin", "weak", "bent", *(f"noise {i}" for i in range(4)), "constant"], labels


def test_what_tells_is_kept_noise_and_twins_are_not_and_why_is_said():
    values, names, labels = table()
    scores = {score.name: score for score in select_features(values, names, labels, keep=5)}
    assert {name for name, score in scores.items() if score.kept} in (
        {"strong", "weak", "bent"},
        {"twin", "weak", "bent"},
    )
    assert {scores["strong"].reason, scores["twin"].reason} in ({"", "same as strong"}, {"", "same as twin"})
    assert scores["constant"].reason == scores["noise 0"].reason == "not significant"
    assert scores["constant"].p_value == 1.0
    (second,) = (s for s in select_features(values, names, labels, keep=1) if s.name == "weak")
    assert second.reason == "less informative"
    assert "| weak |" in features_markdown(list(scores.values()))


def test_the_chi_square_is_pearsons_over_the_bins():
    values, names, labels = table()
    score = next(s for s in select_features(values, names, labels, keep=9) if s.name == "weak")
    column = values[:, 2]
    bins = np.searchsorted(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]), column, side="right")
    counts = np.array([[np.sum((bins == b) & (labels == k)) for k in (0, 1)] for b in range(BINS)])
    found = chi2_contingency(counts, correction=False)
    assert score.chi_square == pytest.approx(found.statistic)
    assert score.p_value == pytest.approx(found.pvalue)


def test_a_count_that_is_mostly_zero_is_judged_by_its_few_others():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 2000)
    few = rng.random(2000) < 0.06
    told = np.where(few & ((labels == 1) | (rng.random(2000) < 0.2)), rng.integers(1, 4, 2000), 0)
    silent = np.where(few, rng.integers(1, 4, 2000), 0)
    values = np.column_stack([told, silent]).astype(np.float32)
    scores = {score.name: score for score in select_features(values, ["told", "silent"], labels, keep=2)}
    assert scores["told"].kept and scores["told"].p_value < 1e-6
    assert scores["silent"].reason == "not significant" and scores["silent"].p_value > 0.01


def test_noise_alone_is_almost_never_kept():
    rng = np.random.default_rng(8)
    kept = [
        any(s.kept for s in select_features(rng.normal(size=(300, 10)).astype(np.float32), [str(i) for i in range(10)], rng.integers(0, 2, 300), keep=5))
        for _ in range(15)
    ]  # fmt: skip
    assert sum(kept) <= 3
    assert holm(np.array([0.04, 0.001, 0.03]), 0.05).tolist() == [False, True, False]


def test_features_that_cannot_be_tested_are_refused():
    values, names, labels = table()
    with pytest.raises(BadInput, match="one label"):
        select_features(values, names, labels * 0, keep=2)
    values[3, 2] = np.nan
    with pytest.raises(BadInput, match="feature 'weak' is not finite"):
        select_features(values, names, labels, keep=2)
    with pytest.raises(BadInput, match="names"):
        select_features(values, names[:2], labels, keep=2)


def test_the_rankers_own_features_are_reported_over_the_judged_pairs(dataset):
    values, names, labels = pair_table(dataset, str)
    assert values.shape == (labels.size, len(names))
    assert "TF-IDF cosine of words" in names, "the names fit what PairFeatures computes"
    few = replace(dataset, judgements=dataset.judgements.group_by("query_id", maintain_order=True).head(3))
    scores = feature_report(few, keep=6, seed=1, progress=str)
    assert len(scores) == len(names)
    assert sum(score.kept for score in scores) <= 6


def test_planted_segments_are_found_again_whatever_the_order_of_rows(shop, log):
    """Half of the users click on the cheapest only, half on the dearest: two segments, and they are these."""
    catalogue = shop.catalogue(shop.world.last_day)
    median = catalogue["price"].median()
    prices = log.join(catalogue.select("product_id", "price"), on="product_id", how="left", maintain_order="left")
    even = prices["user_id"].str.slice(-1).is_in(list("02468"))
    wanted = pl.when(even).then(pl.col("price") < median).otherwise(pl.col("price") >= median)
    planted = prices.with_columns(
        (wanted & (pl.col("position") <= 6)).alias("clicked"), pl.lit(False).alias("purchased")
    ).drop("price")
    found = user_segments(planted, catalogue.with_columns(pl.lit("all").alias("category")), segments=2)
    truth = found.users.with_columns(pl.col("user_id").str.slice(-1).is_in(list("02468")).alias("even"))
    agreeing = truth.group_by("segment").agg(pl.max_horizontal(pl.col("even").sum(), (~pl.col("even")).sum()))
    assert agreeing["even"].sum() > 0.85 * truth.height
    again = user_segments(
        planted.sample(fraction=1, shuffle=True, seed=1),
        catalogue.with_columns(pl.lit("all").alias("category")),
        segments=2,
    )
    assert again.users.equals(found.users)
    assert found.profiles["users"].sum() == found.users.height


def test_held_out_queries_get_the_segment_that_asks_them_most(dataset):
    sliced = segment_slice(dataset, segments=3)
    held_out = set(dataset.split("dev")["query_id"]) | set(dataset.split("test")["query_id"])
    assert set(sliced) == held_out
    assert 2 <= len(set(sliced.values())) <= 3
    users = pl.DataFrame({"user_id": ["a", "b", "c"], "segment": ["1", "2", "2"]})
    rows = dataset.interactions.head(5).with_columns(
        pl.Series("search_id", ["s1", "s2", "s3", "s4", "s5"]), pl.Series("user_id", ["a", "b", "b", "b", "c"]),
        pl.Series("query", ["x", "x", "y", "y", "y"]),
    )  # fmt: skip
    assert query_segments(rows, users).rows() == [("x", "1"), ("y", "2")], "relative to what a segment asks at all"


def test_users_without_clicks_have_features_and_too_few_users_are_refused(shop, log):
    catalogue = shop.catalogue(shop.world.last_day)
    none = log.with_columns(clicked=False, purchased=False)
    assert user_features(none, catalogue).null_count().sum_horizontal().item() == 0
    with pytest.raises(BadInput, match="5 segments of 2 users"):
        user_segments(log.filter(pl.col("user_id").is_in(log["user_id"].unique().sort().head(2).implode())), catalogue)
