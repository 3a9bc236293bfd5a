"""`rankops fit` with a retriever: judged on held-out queries, then trained on them too, released and asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rankops.data.held_out import with_held_out
from rankops.dataset import load_dataset
from rankops.errors import BadInput
from rankops.predict import resolve_release
from rankops.release.manifest import read_manifest
from rankops.release.searcher import Searcher
from rankops.specs import BaseModelSpec, CompressionSpec, GateSpec, ModelSpec, ServingSpec
from rankops.stages.fit import fit
from rankops.stages.tasks import Contenders, task_stage
from rankops.state import LocalState
from rankops.training import torch_encoder
from rankops.training.biencoder import TrainingJob, train


def test_a_retriever_learns_from_the_held_out_queries_once_it_was_judged_on_them(
    tiny_model: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training.conftest import SPEC

    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    spec = ModelSpec(
        name="finder",
        task="retrieval",
        base_model=BaseModelSpec(name=str(tiny_model)),
        training=SPEC.model_copy(update={"max_steps": 6, "evaluate_every": 6, "start": "base"}),
        compression=CompressionSpec(quality_budget=0.2),
        gates=GateSpec(floors=("random",), min_queries=5, resamples=200),
        serving=ServingSpec(golden_queries=5),
    )
    jobs: list[TrainingJob] = []
    learned_from: list[dict[str, int]] = []

    def run(job_file: Path) -> dict[str, Any]:
        job = TrainingJob.model_validate_json(job_file.read_text()).model_copy(update={"threads": 1})
        jobs.append(job)
        data = load_dataset(job.dataset)
        learned_from.append({split: data.split(split).height for split in ("train", "dev", "test")})
        return train(job, lambda _: None).model_dump(mode="json")

    made = fit(_with_unanswered(tiny_dataset, tmp_path), spec, train=run, final=True, progress=lambda _: None)
    assert learned_from == [{"train": 27, "dev": 6, "test": 31}, {"train": 58, "dev": 6, "test": 0}]
    assert jobs[0].spec == jobs[1].spec
    state = LocalState.current()
    release = resolve_release("finder", state.public_key, state)
    assert release.digest == made.release.digest
    assert "refit" in {gate.name for gate in read_manifest(release.folder).gates}
    assert len(Searcher.open(release.folder).search("red zzvase", 3).product_ids) == 3
    card = made.card.read_text()
    (told,) = re.findall(r"the judged model scores (\d\.\d+)", card)
    measured = re.findall(r"`quantized` \|.*?\| \**(\d\.\d+)\** \[.*\n", card)[0]  # nDCG@10: the table's second
    assert float(told) == pytest.approx(float(measured), abs=6e-4)


def _with_unanswered(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The tiny shop, where the only judgement of every fifth query says "not this": it counts for no metric."""
    dataset = load_dataset(tiny_dataset)
    wrong = dataset.queries["query_id"].gather_every(5).to_list()
    grade = pl.when(pl.col("query_id").is_in(wrong)).then(0).otherwise("grade").cast(dataset.judgements["grade"].dtype)
    folder = tmp_path / "unanswered"
    folder.mkdir()
    replace(dataset, judgements=dataset.judgements.with_columns(grade.alias("grade"))).save(folder)
    return folder


def test_too_few_judged_queries_are_told_before_anything_is_trained(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    spec = ModelSpec(name="finder", task="retrieval", gates=GateSpec(min_queries=31))
    with pytest.raises(BadInput, match="30 queries of the test split are judged, the gate of finder asks for 31"):
        fit(tiny_dataset, spec, train=lambda _: pytest.fail("trained"), final=True, progress=lambda _: None)


def test_an_evaluation_embeds_the_base_models_products_once(
    tiny_model: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    dataset = with_held_out(load_dataset(tiny_dataset))
    spec = ModelSpec(name="finder", task="retrieval")
    asked: list[int] = []
    real = torch_encoder.encode_texts

    def counted(model: Any, texts: Sequence[str], max_tokens: int, **options: Any) -> Any:
        asked.append(len(texts))
        return real(model, texts, max_tokens, **options)

    monkeypatch.setattr(torch_encoder, "encode_texts", counted)
    contenders = Contenders(base=tiny_model, checkpoint=tiny_model, champion=None)
    first = task_stage("retrieval").rank_systems(dataset, contenders, spec, lambda _: None)
    products = dataset.catalogue.height
    assert asked.count(products) == 2  # of the base model and of the checkpoint
    again = task_stage("retrieval").rank_systems(dataset, contenders, spec, lambda _: None)
    assert asked.count(products) == 3  # a checkpoint is evaluated once, and has nothing to remember
    assert again == first
