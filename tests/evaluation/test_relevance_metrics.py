"""Our metrics are the field's: they agree with ranx, and with sums done by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import log2
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.errors import BadInput
from rankops.evaluation.metrics import METRICS, judged_at, per_query
from rankops.evaluation.reported import measure_runs, reported_metrics

SCHEMA = {"query_id": pl.String, "product_id": pl.String, "grade": pl.Int8}


def judge(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def random_case(seed: int, queries: int) -> tuple[dict[str, list[str]], dict[str, dict[str, int]]]:
    """Short and long lists, unjudged results, tied grades, queries with no result or nothing relevant."""
    rng = np.random.default_rng(seed)
    run, judged = {}, {}
    for i in range(queries):
        products = [f"p{j}" for j in rng.permutation(160)]
        length = int(rng.choice([0, 1, 5, 10, 100, 130]))
        pool = rng.choice(160, size=int(rng.integers(1, 60)), replace=False)
        top = int(rng.integers(1, 5))
        judged[f"q{i}"] = {f"p{j}": int(rng.integers(0, top)) for j in pool}
        if length:
            run[f"q{i}"] = products[:length]
    return run, judged


def test_metrics_agree_with_ranx_to_nine_digits() -> None:
    run, judged = random_case(seed=4, queries=400)
    scored = {q: {p: 1.0 / (i + 1) for i, p in enumerate(ps)} for q, ps in run.items()}
    more = {"map@100": "map@100", "precision@10": "precision@10", "recall@10": "recall@10", "mrr@100": "mrr@100"}
    more |= {"hr@10": "hit_rate@10", "hr@1": "hit_rate@1"}  # their name by ours
    names = ["ndcg@10", "recall@100", "mrr@10", "recall@100-l2", "mrr@10-l2"]
    names += [name + suffix for name in more.values() for suffix in ("", "-l2")]
    program = Path(__file__).with_name("ranx_scores.py")
    answer = subprocess.run(
        [sys.executable, str(program)],
        input=json.dumps([judged, scored, names]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    order, theirs = json.loads(answer.stdout)
    assert sorted(order) == sorted(judged)
    table = judge([(q, p, g) for q, ps in judged.items() for p, g in ps.items()])
    for min_grade, suffix in ((1, ""), (2, "-l2")):
        ours = {row["query_id"]: row for row in per_query(run, table, min_grade=min_grade).iter_rows(named=True)}
        for metric in METRICS:
            name = metric if metric == "ndcg@10" else metric + suffix
            np.testing.assert_allclose(theirs[name], [ours[q][metric] for q in order], atol=1e-9, rtol=0)
        found = measure_runs({"a": run}, table, reported_metrics("retrieval"), min_grade=min_grade)
        reported = {row["query_id"]: row for row in found.iter_rows(named=True)}
        for metric, name in more.items():
            values = [reported[q][metric] for q in order]
            np.testing.assert_allclose(theirs[name + suffix], values, atol=1e-9, rtol=0, err_msg=metric)


def test_gains_are_linear_and_not_exponential() -> None:
    table = per_query({"q": ["b", "a", "x"]}, judge([("q", "a", 3), ("q", "b", 1), ("q", "c", 2)]))
    ideal = 3 + 2 / log2(3) + 1 / log2(4)
    assert table["ndcg@10"].item() == pytest.approx((1 + 3 / log2(3)) / ideal, abs=1e-12)


def test_only_grades_of_at_least_min_grade_are_relevant_to_recall_and_mrr() -> None:
    judged = judge([("q", "a", 1), ("q", "b", 3), ("q", "c", 2)])
    strict = per_query({"q": ["a", "b"]}, judged, min_grade=3).row(0, named=True)
    loose = per_query({"q": ["a", "b"]}, judged, min_grade=1).row(0, named=True)
    assert (strict["recall@100"], strict["mrr@10"]) == (1.0, 0.5)
    assert (loose["recall@100"], loose["mrr@10"]) == (pytest.approx(2 / 3), 1.0)


def test_results_beyond_the_depths_do_not_count() -> None:
    filler = [f"f{i}" for i in range(10)]
    judged = judge([("q", "a", 3)])
    late = per_query({"q": [*filler, "a"]}, judged).row(0, named=True)
    assert (late["ndcg@10"], late["mrr@10"], late["recall@100"]) == (0.0, 0.0, 1.0)
    too_late = per_query({"q": [*(f"f{i}" for i in range(100)), "a"]}, judged).row(0, named=True)
    assert too_late["recall@100"] == 0.0


def test_a_query_without_results_scores_zero_and_unjudged_queries_are_left_out() -> None:
    table = per_query({"other": ["a"], "empty": []}, judge([("q", "a", 3), ("empty", "a", 1)]))
    assert table["query_id"].to_list() == ["empty", "q"]
    assert table.drop("query_id").to_numpy().tolist() == [[0.0] * 6] * 2


def test_no_run_at_all_still_scores_every_judged_query() -> None:
    assert per_query({}, judge([("q", "a", 3)])).rows() == [("q", *[0.0] * 6)]


def test_a_product_ranked_twice_is_named() -> None:
    with pytest.raises(BadInput, match="'a' is ranked twice for query 'q'"):
        per_query({"q": ["a", "b", "a"]}, judge([("q", "a", 3)]))


def test_a_product_judged_twice_is_named() -> None:
    with pytest.raises(BadInput, match="'a' is judged twice for query 'q'"):
        per_query({"q": ["a"]}, judge([("q", "a", 3), ("q", "a", 1)]))


def test_judged_at_counts_only_judged_queries_and_the_first_ten() -> None:
    judged = judge([("q", "a", 0), ("q", "b", 3)])
    assert judged_at({"q": ["a", "x", "b", "y"], "other": ["z"]}, judged) == 0.5
    assert judged_at({"q": [f"f{i}" for i in range(10)] + ["a"]}, judged) == 0.0
    assert judged_at({}, judged) == 0.0


def test_hits_and_reciprocal_ranks_of_the_first_twenty() -> None:
    filler = [f"f{i}" for i in range(11)]
    table = per_query({"q": [*filler, "a"]}, judge([("q", "a", 3)])).row(0, named=True)
    assert (table["mrr@10"], table["hr@20"], table["mrr@20"]) == (0.0, 1.0, pytest.approx(1 / 12))
    late = per_query({"q": [*(f"f{i}" for i in range(20)), "a"]}, judge([("q", "a", 3)])).row(0, named=True)
    assert (late["hr@20"], late["mrr@20"]) == (0.0, 0.0)


@settings(deadline=None)
@given(decisions=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_mean_of_the_f1_shares_is_f1(decisions: list[tuple[bool, bool]]) -> None:
    judged = judge([(f"q{i}", f"p{i}", 3 if match else 0) for i, (match, _) in enumerate(decisions)])
    run = {f"q{i}": [f"p{i}"] if said else [] for i, (_, said) in enumerate(decisions)}
    tp = sum(match and said for match, said in decisions)
    size = sum(match + said for match, said in decisions)
    assert per_query(run, judged)["f1"].mean() == pytest.approx(2 * tp / size if size else 0.0)


def test_resampled_means_of_the_f1_shares_follow_resampled_f1() -> None:
    rng = np.random.default_rng(5)
    match, said = rng.random(600) < 0.3, rng.random(600) < 0.3
    said |= match & (rng.random(600) < 0.7)
    judged = judge([(f"q{i:03}", f"p{i}", 3 * int(m)) for i, m in enumerate(match)])
    run = {f"q{i:03}": [f"p{i}"] if s else [] for i, s in enumerate(said)}
    shares = per_query(run, judged)["f1"].to_numpy()
    draws = rng.integers(0, 600, size=(2000, 600))
    true = [2 * (match[d] & said[d]).sum() / (match[d].sum() + said[d].sum()) for d in draws]
    linear = shares[draws].mean(axis=1)
    assert np.std(linear) == pytest.approx(np.std(true), rel=0.05)
    assert np.percentile(linear, [2.5, 97.5]) == pytest.approx(np.percentile(true, [2.5, 97.5]), abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    grades=st.lists(st.integers(0, 3), min_size=1, max_size=15),
    order=st.randoms(use_true_random=False),
    cut=st.integers(0, 15),
)
def test_metrics_stay_in_bounds_and_the_ideal_order_scores_one(grades: list[int], order, cut: int) -> None:
    products = [f"p{i}" for i in range(len(grades))]
    judged = judge([("q", p, g) for p, g in zip(products, grades, strict=True)])
    ideal = sorted(products, key=lambda p: -grades[int(p[1:])])
    shuffled = list(products)
    order.shuffle(shuffled)
    best = per_query({"q": ideal}, judged).row(0, named=True)
    some = per_query({"q": shuffled[:cut]}, judged).row(0, named=True)
    assert best["ndcg@10"] == pytest.approx(1.0 if max(grades) else 0.0, abs=1e-12)
    assert all(0.0 <= some[metric] <= best[metric] + 1e-12 for metric in METRICS)
