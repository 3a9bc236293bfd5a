"""`rankops fit` with a recommender, as people run it: the command, a specs' module of their own, a second process."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankops.baskets import next_item_view
from rankops.cli import app
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.next_item import load_next_item
from rankops.predict.recommendation import read_cases
from rankops.release.manifest import read_manifest
from rankops.specs import RecommendationSpec
from tests.recommendation.conftest import DAYS, unread_base

SPECS = """
from rankops.specs import BaseModelSpec, GateSpec, ModelSpec, RecommendationSpec, ServingSpec

RECOMMENDER = ModelSpec(
    name="recommender",
    task="recommendation",
    base_model=BaseModelSpec(name={base!r}),
    recommendation=RecommendationSpec(
        test_days=4, dev_days=3, half_lives=(30.0,), size_exponents=(0.5,), text_weights=(0.0,), max_items=100
    ),
    gates=GateSpec(metric="hr@20", floors=("random", "popularity"), resamples=400),
    serving=ServingSpec(golden_queries=6),
)
"""


def rankops(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_one_command_fits_to_the_last_day_and_the_next_predicts(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("RANKOPS_STATE", str(state))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "my_specs.py").write_text(SPECS.format(base=str(unread_base(tmp_path / "base"))))
    shop.save(tmp_path / "data")
    command = ("fit", tmp_path / "data", "--model", "recommender", "--specs", "my_specs")
    told = rankops(*command)
    assert "training: next item" in told and "recommender: release " in told
    assert "stood already" in rankops(*command)
    pin = json.loads((state / "releases" / "recommender.json").read_text())
    folder = Path(pin["uri"].removeprefix("file://"))
    assert read_manifest(folder).dataset.last_day is not None
    assert load_next_item(folder / "next_item").config.facts["baskets"] == DAYS * 30  # the judged days' too
    cases = [{"invoice": "x", "context": ["camp0", "camp1"], "held_out": "camp2"}]
    (tmp_path / "data" / "next_item_cases_test.jsonl.gz").write_bytes(gzip.compress(json.dumps(cases[0]).encode()))
    out = tmp_path / "out.tsv"
    rankops("predict", tmp_path / "data" / "next_item_cases_test.jsonl.gz", "--model", "recommender", "--out", out)
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert [row[1] for row in rows[:3]] == ["1", "2", "3"] and rows[0][2].startswith("camp")


def test_a_model_that_is_no_spec_is_named_with_those_that_are(tmp_path: Path) -> None:
    told = rankops("fit", tmp_path, "--model", "nothing", code=1)
    assert "icecat, matcher, ranker, recommender, retail, retriever" in told
    told = rankops("fit", tmp_path, "--model", "nothing", "--specs", "no.such.module", code=1)
    assert "cannot be imported" in told


def test_cases_come_from_every_file_or_from_the_splits(tmp_path: Path) -> None:
    for name in ("dev", "test"):
        case = {"invoice": name, "context": ["a"]}
        (tmp_path / f"next_item_cases_{name}.jsonl.gz").write_bytes(gzip.compress(json.dumps(case).encode()))
    assert [name for name, _ in read_cases(tmp_path)] == ["dev", "test"]
    assert [name for name, _ in read_cases(tmp_path, "test")] == ["test"]
    with pytest.raises(BadInput, match="named train"):
        read_cases(tmp_path, "train")
    (tmp_path / "cases_again.jsonl").write_text('{"case_id": "dev", "context": []}\n')
    with pytest.raises(BadInput, match="occur twice"):
        read_cases(tmp_path)


def test_without_test_days_everything_is_learned_from_and_nothing_is_judged(shop: Dataset) -> None:
    seen = next_item_view(shop, RecommendationSpec(test_days=0, dev_days=3))
    assert seen.interactions.height == shop.interactions.height
    assert set(seen.queries["split"]) == {"dev"}
