"""Each snippet of docs/your-own-model.md runs, and does what the page says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rankops.artifacts import StoredArtifact
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.evaluation import probes, reported, slices
from rankops.evaluation.plugins import load_plugins
from rankops.runs import encoder_run
from rankops.specs import EvaluationSpec, ModelSpec, TrainingSpec
from rankops.stages import breadth
from rankops.stages.evaluation import _evaluate
from rankops.stages.model_card import licence_of
from rankops.state import REPOSITORY
from tests.evaluation.rich_shop import rich_shop
from tests.evaluation.samples import WordEncoder, noisy_run
from tests.training.conftest import build_dataset, tiny_model  # noqa: F401

PAGE = REPOSITORY / "docs" / "your-own-model.md"


def snippet(name: str) -> str:
    """The Python block whose first line is ``# name``."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(f"# {name}\n")]
    return found


def run(name: str, **given: Any) -> dict[str, Any]:
    names: dict[str, Any] = dict(given)
    exec(compile(snippet(name), f"{PAGE.name}: {name}", "exec"), names)
    return names


@pytest.fixture
def registries() -> Iterator[None]:
    kept = [(table, dict(table)) for table in (reported._REGISTRY, slices._SLICERS, probes._PROBES)]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)
    sys.modules.pop("shop_metrics", None)


def test_every_snippet_has_a_test() -> None:
    blocks = re.findall(r"```python\n# (.*?)\n", PAGE.read_text())
    source = Path(__file__).read_text()
    assert len(blocks) == 9 and all(f'"{name}"' in source for name in blocks)


def test_a_new_base_model_is_one_spec_and_gets_all_its_assets() -> None:
    from assets.build import build_assets

    models = run("base model")["MODELS"]
    keys = {"/".join(key.path) for built in build_assets(models) for key in getattr(built, "keys", [])}
    assert {f"search/{stage}" for stage in ("checkpoint", "evaluation", "quantized", "release", "deploy")} <= keys
    assert licence_of(models[0].base_model) == "MIT"


def test_a_teacher_is_one_field_and_makes_another_training() -> None:
    from rankops.stages.checkpoint import _subject

    spec = run("teacher")["SEARCH"]
    assert spec.training.teacher.model.name == "BAAI/bge-base-en-v1.5"
    plain = spec.model_copy(update={"training": spec.training.model_copy(update={"teacher": None})})
    dataset = StoredArtifact(kind="dataset", digest="a" * 64, uri="file:///a", lineage={}, facts={})
    told = [_subject(made, dataset, {"base": "b"}, None)["training"] for made in (spec, plain)]
    assert {*told[0]} - {*told[1]} == {"teacher"}  # a model without one keeps its key


def test_another_pooling_head_goes_through_training_and_export(tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    from rankops.compression.export import read_pooling
    from rankops.training.base_models import resolve_base_model
    from rankops.training.biencoder import train
    from rankops.training.job import TrainingJob
    from rankops.training.torch_encoder import TorchEncoder

    spec: ModelSpec = run("head of a bi-encoder", base_folder=tiny_model, own_folder=tmp_path / "own")["SEARCH"]
    base = resolve_base_model(spec.base_model, lambda _: None)
    (tmp_path / "dataset").mkdir()
    build_dataset().save(tmp_path / "dataset")
    job = TrainingJob(
        spec=TrainingSpec(max_steps=2, evaluate_every=2, batch_size=4, hard_negatives=0),
        base_model=base.path,
        dataset=tmp_path / "dataset",
        output=tmp_path / "checkpoint",
        work=tmp_path / "work",
        threads=1,
    )
    train(job, lambda _: None)
    assert (read_pooling(tiny_model), read_pooling(job.output)) == ("mean", "cls")
    text = ["red shoe"]
    own, mean = (TorchEncoder(folder).encode(text, role="query") for folder in (base.path, tiny_model))
    assert own.shape == mean.shape and abs(own - mean).max() > 0.01


def test_a_head_that_the_server_could_not_run_is_refused_by_name(tmp_path: Path) -> None:
    from rankops.compression.export import read_pooling

    modules = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in ("Transformer", "Dense")]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BadInput, match="Dense"):
        read_pooling(tmp_path)


def test_another_objective_brings_its_metric_and_says_what_is_not_probed() -> None:
    from rankops.stages.tasks import task_stage

    spec = run("head of a cross-encoder")["MATCHER"]
    assert task_stage(spec.task).metrics(spec) == ("f1",) and spec.gates.metric == "f1"
    assert breadth.asked(rich_shop(6), spec).probes is None


def test_a_rankers_parts_are_part_of_what_a_training_is_remembered_by(tmp_path: Path) -> None:
    spec = run("parts of a ranker")["RANKER"]
    assert spec.ranking.objective == "graded" and spec.ranking.word_model.min_chance > 0
    plain = spec.model_copy(update={"ranking": spec.ranking.model_copy(update={"features": None, "word_model": None})})
    told = [made.ranking.model_dump(exclude_none=True) for made in (spec, plain)]
    assert {*told[0]} - {*told[1]} == {"features", "word_model"}  # a matcher without them keeps its key
    assert spec.ranking.first_stage == "retriever" and "first-stage" in spec.gates.floors


def test_a_ranker_is_not_trained_without_the_first_stage_that_its_spec_names(tmp_path: Path) -> None:
    from rankops.stages.checkpoint import _subject

    spec = run("parts of a ranker")["RANKER"]
    made = StoredArtifact(kind="checkpoint", digest="a" * 64, uri="file:///a", lineage={}, facts={})
    dataset = made.model_copy(update={"kind": "dataset"})
    with pytest.raises(BadInput, match="no checkpoint of a first stage is given"):
        _subject(spec, dataset, {"base": "b"}, None)
    other = made.model_copy(update={"digest": "b" * 64})
    assert _subject(spec, dataset, {"base": "b"}, made) != _subject(spec, dataset, {"base": "b"}, other)


def test_a_teams_own_files_become_typed_tables(tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text(
        "product_id,title,description,category,brand,attributes,price,added_day\n"
        "p1,Red shoe,,Shoes,acme,,9.5,2026-01-01\np2,Blue lamp,,Lamps,,,19.0,\n"
    )
    (tmp_path / "search_events_2026-03-02.csv").write_text(
        "session,day,visitor,query,position,sku,clicked,purchased\ns1,2026-03-02,u1,red shoes,1,p1,true,false\n"
    )
    tables = run("data set", warehouse=str(tmp_path))["shop"].day(date(2026, 3, 2), None)
    assert tables.catalogue["title"].to_list() == ["Red shoe", "Blue lamp"]
    assert tables.interactions.select("search_id", "product_id", "user_id").rows() == [("s1", "p1", "u1")]


def test_a_spec_says_when_its_model_is_trained_again() -> None:
    from rankops.drift.decision import policy_for

    policy = policy_for(run("when it is trained again")["RECOMMENDER"])
    assert policy.causes == {"new_products", "new_category"} and policy.window_days == 180
    assert policy.cooldown.total_seconds() == 72 * 3600
    assert "28 days, a recommender from the last 365" in PAGE.read_text()


@pytest.mark.usefixtures("registries")
def test_a_teams_metric_slice_and_probe_are_reported_and_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_metrics.py").write_text(snippet("file shop_metrics.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    given: ModelSpec = run("use it")["SEARCH"]
    gates = given.gates.model_copy(update={"floors": ("random",), "resamples": 200})
    spec = given.model_copy(update={"gates": gates})
    rich: Dataset = rich_shop(90)
    texts_of = [re.sub(r"\d", "", text) if i % 3 else text for i, text in enumerate(rich.queries["query"])]
    dataset = replace(rich, queries=rich.queries.with_columns(pl.Series("query", texts_of)))
    asked = breadth.asked(dataset, spec)
    queries = list(asked.dataset.split("test").select("query_id", "query").iter_rows())
    texts, ids = dataset.product_texts(), dataset.catalogue["product_id"].to_list()
    runs = {
        "challenger": encoder_run(WordEncoder(), queries, texts, ids),
        "champion": noisy_run(dataset, 4.0, 1),
        "random": noisy_run(dataset, 30.0, 2),
    }
    found = _evaluate(dataset, runs, "challenger", "champion", spec, asked, lambda _: None)
    assert found.breadth is not None
    mine = found.breadth.reported["challenger"]["exact@3"]
    assert 0 < mine.mean <= 1 and found.breadth.labels["exact@3"] == "exact in the first three"
    assert "shouting" in {result.probe for result in found.breadth.robustness.probes}
    checks = {check.name for check in found.decision.checks}
    assert {"robustness:shouting", "slice:has_number=yes", "slice:has_number=no"} <= checks


def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match="no_such_module"):
        load_plugins(EvaluationSpec(plugins=("no_such_module",)).plugins)
