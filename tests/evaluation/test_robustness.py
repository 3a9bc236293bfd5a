"""Probes change the words and not the meaning; what they cost is measured, shown, and can close the gate."""

from __future__ import annotations

import polars as pl
import pytest

from rankops.dataset import Dataset
from rankops.evaluation.breadth import broaden
from rankops.evaluation.evaluate import evaluate
from rankops.evaluation.probes import Probed, with_probes
from rankops.runs import bm25_run, encoder_run
from rankops.specs import EvaluationSpec, GateSpec
from tests.evaluation.rich_shop import rich_shop
from tests.evaluation.samples import WordEncoder


@pytest.fixture(scope="module")
def rich() -> Dataset:
    return rich_shop(60)


@pytest.fixture(scope="module")
def probed(rich: Dataset) -> Probed:
    return with_probes(rich, 40, min_grade=2)


@pytest.fixture(scope="module")
def runs(probed: Probed) -> dict[str, dict[str, list[str]]]:
    dataset = probed.dataset
    asked = list(dataset.split("test").select("query_id", "query").iter_rows())
    texts, ids = dataset.product_texts(), dataset.catalogue["product_id"].to_list()
    return {"words": encoder_run(WordEncoder(), asked, texts, ids), "bm25": bm25_run(asked, texts, ids)}


def broad(rich: Dataset, probed: Probed, runs, **gates):
    spec = GateSpec(floors=(), resamples=200, **gates)
    narrow = evaluate(rich, runs, challenger="words", champion=None, spec=spec)
    return broaden(narrow, rich, runs, task="retrieval", gates=spec, spec=EvaluationSpec(), probes=probed.table)


def test_probes_are_spread_over_the_queries_and_the_same_every_time(rich: Dataset, probed: Probed) -> None:
    assert probed.table.equals(with_probes(rich, 40, min_grade=2).table)
    assert probed.table["query_id"].n_unique() == 40
    counts = dict(probed.table["probe"].value_counts().iter_rows())
    assert set(counts) == {"typo", "word-order", "synonym", "negation"} and min(counts.values()) >= 10
    assert with_probes(rich, 0, min_grade=2).dataset.queries.height == rich.queries.height


def test_each_probe_changes_what_it_says(rich: Dataset, probed: Probed) -> None:
    original = dict(rich.queries.select("query_id", "query").iter_rows())
    brands = dict(rich.catalogue.select("product_id", "brand").iter_rows())
    relevant = rich.judgements.filter(pl.col("grade") >= 2)
    own = {q: {brands[p].lower() for p in ps} for q, ps in relevant.group_by("query_id").agg("product_id").iter_rows()}
    for _, query_id, probe, text in probed.table.iter_rows():
        before = original[query_id]
        if probe == "typo":
            assert abs(len(text) - len(before)) <= 1 and text.count(" ") == before.count(" ")
        elif probe == "word-order":
            assert text.split() == before.split()[::-1]
        elif probe == "negation":
            words, brand = text.split(" not ")
            assert words == before and brand not in own[query_id]


def test_the_probes_are_asked_beside_the_queries_and_not_scored_with_them(rich: Dataset, probed: Probed, runs) -> None:
    assert probed.dataset.split("test").height == rich.split("test").height + probed.table.height
    found = broad(rich, probed, runs)
    assert found.n_queries == 60 and found.per_query["query_id"].n_unique() == 60


def test_word_order_costs_a_bag_of_words_nothing_and_a_typo_much(rich: Dataset, probed: Probed, runs) -> None:
    found = {result.probe: result for result in broad(rich, probed, runs).breadth.robustness.probes}
    assert found["word-order"].drop.mean == 0.0
    assert found["typo"].drop.low > 0.1 and found["typo"].before - found["typo"].after == pytest.approx(
        found["typo"].drop.mean
    )
    assert set(found["typo"].others) == {"bm25"} and len(found["typo"].worst) == 3


def test_a_promise_about_probes_is_kept_or_closes_the_gate(rich: Dataset, probed: Probed, runs) -> None:
    free, strict = broad(rich, probed, runs), broad(rich, probed, runs, max_probe_drop=0.05)
    assert free.decision.passed and not any("robustness" in check.name for check in free.decision.checks)
    failing = [check.name for check in strict.decision.checks if not check.passed]
    assert "robustness:typo" in failing and "robustness:word-order" not in failing
    assert not strict.decision.passed and "typo probes" in strict.decision.reasons[0]
    assert broad(rich, probed, runs, max_probe_drop=1.0).decision.passed


def test_a_promise_that_cannot_be_checked_is_not_kept(rich: Dataset, runs) -> None:
    spec = GateSpec(floors=(), resamples=200, max_probe_drop=0.9)
    narrow = evaluate(rich, runs, challenger="words", champion=None, spec=spec)
    for probes, reason in ((None, "asked with products"), (with_probes(rich, 0, min_grade=2).table, "not ranked")):
        found = broaden(
            narrow,
            rich,
            runs,
            task="retrieval",
            gates=spec,
            spec=EvaluationSpec(),
            probes=probes,
            unprobed="asked with products",
        )
        assert not found.decision.passed and reason in found.decision.reasons[0]
