"""The Icecat benchmark's folds: no query is ranked by a model that saw its group, and each is ranked once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from benchmarks import relevance_icecat as bench
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput


@pytest.fixture
def judged() -> Dataset:
    queries = [
        (f"q{i:02d}", f"query {i}", f"g{i // 3:02d}", ("train", "dev", "test")[i % 9 // 3], "torso", "x")
        for i in range(90)
    ]
    judgements = [(q[0], f"p{j}", j % 4) for q in queries if q[3] != "test" for j in range(5)]
    return Dataset(
        catalogue=pl.DataFrame(schema=COLUMNS["catalogue"]),
        interactions=pl.DataFrame(schema=COLUMNS["interactions"]),
        queries=pl.DataFrame(queries, schema=COLUMNS["queries"], orient="row"),
        judgements=pl.DataFrame(judgements, schema=COLUMNS["judgements"], orient="row"),
    )


def test_each_labelled_query_is_held_out_once_and_the_published_test_split_never(judged: Dataset) -> None:
    dealt = bench.folds(judged.queries)
    labelled = judged.queries.filter(pl.col("split") != "test")["query_id"].to_list()
    assert sorted(query for fold in dealt for query in fold) == sorted(labelled)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 3
    assert dealt == bench.folds(judged.queries.sample(fraction=1.0, shuffle=True, seed=1))


def test_no_group_is_on_two_sides_and_held_out_judgements_stay_out_of_training(judged: Dataset) -> None:
    for held_out in bench.folds(judged.queries):
        fold = bench.fold_dataset(judged, held_out)
        by_split = {name: set(fold.split(name)["group_id"]) for name in ("train", "dev", "test")}
        assert all(by_split.values())
        assert not by_split["train"] & by_split["dev"] and not by_split["test"] & (by_split["train"] | by_split["dev"])
        assert set(fold.split("test")["query_id"]) == held_out
        assert not set(fold.judgements["query_id"]) & held_out


def test_metrics_are_defined_for_the_queries_that_the_data_set_names() -> None:
    rows = [("same", "a", 2), ("same", "b", 2), ("none", "a", 0), ("exact", "a", 3), ("exact", "b", 0)]
    judgements = pl.DataFrame(rows, schema=COLUMNS["judgements"], orient="row")
    defined = {measure.name: set(measure.queries) for measure in bench.measures(judgements)}
    assert defined["judged nDCG@10"] == {"exact"}
    assert defined["full nDCG@10"] == {"same", "exact"}
    assert defined["Recall@100 (grade 3)"] == defined["MRR@10 (grade 3)"] == {"exact"}


def test_comparisons_pair_each_metric_with_each_peer(judged: Dataset) -> None:
    labelled = judged.queries.filter(pl.col("split") != "test")["query_id"].to_list()
    ideal, worst = ["p3", "p2", "p1", "p0", "p4"], ["p0", "p4", "p1", "p2", "p3"]
    both = {order: dict.fromkeys(("judged", "full"), dict.fromkeys(labelled, run)) for order, run in
            (("ideal", ideal), ("worst", worst))}  # fmt: skip
    runs = {**dict.fromkeys(bench.PEERS, both["worst"]), bench.OURS: both["ideal"]}
    records = list(bench.comparisons(judged, runs))
    assert [record["name"].rsplit("/", 1)[1] for record in records] == 4 * list(bench.PEERS)
    first = records[0]
    assert first["ours"] == pytest.approx(1.0) and first["n"] == 60
    assert first["ratio"] == pytest.approx(first["ours"] / first["peer"]) and first["difference_interval"][0] > 0
    assert {"name", "what", "ours", "peer", "ratio", "interval", "n", "unit", "peer_version", "machine"} <= set(first)


def test_absent_data_is_an_error_that_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKOPS_SHARED_DATA", str(tmp_path))
    with pytest.raises(BadInput, match="RANKOPS_SHARED_DATA"):
        bench.data_folder()
