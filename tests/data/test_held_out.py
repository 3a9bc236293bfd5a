"""A judged part is held out where the test labels lie with somebody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from rankops.data.held_out import ENOUGH_JUDGED, LARGE_DEV, given_back, with_held_out
from rankops.data.registry import read_folder
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput


def labelled(train: int, dev: int, test: int, *, judge_test: bool = False) -> Dataset:
    """Pairs of queries that share a group; each query has one judged product."""
    rows = [(f"{split}{n:04d}", split, f"{split}-g{n // 2}") for split, count in
            (("train", train), ("dev", dev), ("test", test)) for n in range(count)]  # fmt: skip
    queries = pl.DataFrame(
        [
            {"query_id": q, "query": q, "group_id": g, "split": s, "popularity": "torso", "category": None}
            for q, s, g in rows
        ],
        schema=COLUMNS["queries"],
    )
    judged = [{"query_id": q, "product_id": "p", "grade": 3} for q, split, _ in rows if split != "test" or judge_test]
    empty = {name: pl.DataFrame(schema=COLUMNS[name]) for name in ("catalogue", "interactions")}
    return Dataset(**empty, queries=queries, judgements=pl.DataFrame(judged, schema=COLUMNS["judgements"]))


def counts(dataset: Dataset) -> dict[str, int]:
    return {split: dataset.split(split).height for split in ("train", "dev", "test")}


def test_a_small_dev_split_is_judged_on_and_a_fifth_of_train_takes_its_place() -> None:
    found = with_held_out(labelled(train=50, dev=40, test=30))
    assert counts(found) == {"train": 40, "dev": 10, "test": 40}
    assert all(query.startswith("dev") for query in found.split("test")["query_id"])


def test_a_dev_split_too_small_for_a_gate_is_joined_by_train_groups() -> None:
    found = with_held_out(labelled(train=50, dev=20, test=30))
    assert counts(found) == {"train": 32, "dev": 8, "test": ENOUGH_JUDGED}
    assert found.queries.group_by("group_id").agg(pl.col("split").n_unique())["split"].max() == 1


def test_at_most_half_of_the_labels_are_judged_on() -> None:
    assert counts(with_held_out(labelled(train=20, dev=4, test=30))) == {"train": 10, "dev": 2, "test": 12}


def test_what_is_left_out_is_told() -> None:
    found = with_held_out(labelled(train=50, dev=20, test=30))
    assert found.info["held_out"]["test queries without labels, left out"] == 30


def test_half_of_a_large_dev_split_is_judged_on_and_groups_stay_together() -> None:
    found = with_held_out(labelled(train=20, dev=LARGE_DEV, test=6))
    assert counts(found) == {"train": 20, "dev": LARGE_DEV // 2, "test": LARGE_DEV // 2}
    splits = found.queries.group_by("group_id").agg(pl.col("split").n_unique())
    assert splits["split"].to_list() == [1] * splits.height


@pytest.mark.parametrize(
    "given",
    [
        lambda: labelled(20, 10, 6, judge_test=True),
        lambda: labelled(20, 0, 6),
        lambda: labelled(0, 0, 0),
    ],
)
def test_what_is_judged_already_or_cannot_be_stays_as_it_is(given: Callable[[], Dataset]) -> None:
    before = given()
    assert with_held_out(before) is before


def test_the_held_out_queries_go_back_to_where_they_are_learned_from() -> None:
    found = with_held_out(labelled(train=50, dev=20, test=30))
    assert counts(given_back(found, "train")) == {"train": 62, "dev": 8, "test": 0}
    assert counts(given_back(found, "dev")) == {"train": 32, "dev": 38, "test": 0}


def test_a_strange_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder of a known data set"):
        read_folder(tmp_path)
