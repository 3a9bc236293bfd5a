"""The model card says what the records say, and travels as a file of the release."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from rankops.artifacts import StoredArtifact
from rankops.evaluation.breadth import broaden
from rankops.evaluation.evaluate import evaluate
from rankops.evaluation.probes import with_probes
from rankops.release.bundle import Content, assemble
from rankops.release.golden import Golden, GoldenInference, GoldenRequest
from rankops.release.manifest import MODEL_CARD, read_manifest
from rankops.specs import BaseModelSpec, EvaluationSpec, GateSpec, ModelSpec, RankingSpec, TeacherSpec, TrainingSpec
from rankops.stages.model_card import CardRecords, licence_of, model_card
from rankops.training.job import TrainingResult
from tests.evaluation.rich_shop import rich_shop
from tests.evaluation.samples import noisy_run
from tests.support.tiny_release import release_facts

SNAPSHOT = Path(__file__).with_name("model_card.md")
GATES = GateSpec(floors=("random",), resamples=200, slices=("popularity", "category"))
SPEC = ModelSpec(name="retriever", task="retrieval", description="It knows | and <b>.", gates=GATES)


@pytest.fixture(scope="module")
def records() -> CardRecords:
    dataset = rich_shop()
    probed = with_probes(dataset, 40, min_grade=2)
    noise = {"random": 30.0, "champion": 1.1, "quantized": 0.8}
    runs = {name: noisy_run(probed.dataset, level, seed) for seed, (name, level) in enumerate(noise.items())}
    narrow = evaluate(dataset, runs, challenger="quantized", champion="champion", spec=GATES)
    evaluation = broaden(
        narrow, dataset, runs, task="retrieval", gates=GATES, spec=EvaluationSpec(), probes=probed.table
    )
    result = TrainingResult(
        steps=40,
        stopped_early=True,
        best_step=30,
        dev_metric_before=0.61,
        dev_metric_best=0.68,
        losses=[(10, 1.0)],
        dev_curve=[(0, 0.61), (30, 0.68)],
        seconds=12.3,
        pairs=4000,
        seed=13,
        parameters=22_713_216,
        trained_parameters=22_713_216,
        dev_queries=150,
        dev_products=600,
        inputs="0" * 64,
        spec=TrainingSpec(),
    )
    rung = {"name": "int8", "what": "dynamic int8", "size_mb": 22.9, "p50_ms": 1.3, "loss_share": 0.0012}
    base = {"name": "sentence-transformers/all-MiniLM-L6-v2", "revision": "53aa51172d14", "digest": "a" * 64}
    step = {
        "name": "bots",
        "table": "interactions",
        "rows_in": 1000,
        "rows_out": 900,
        "reasons": {"too many a day": 100},
    }
    budget = {"passed": True, "reasons": ["Compression loses 0.1% of a budget of 0.5%."], "checks": []}
    return CardRecords(
        spec=SPEC,
        dataset=StoredArtifact(
            kind="dataset",
            digest="1" * 64,
            uri="file:///x",
            facts={
                "first_day": "2026-03-02",
                "last_day": "2026-03-15",
                "source": "generated shop",
                "judged_by": "raters",
                "counts": {"products": 1200, "test": 120},
                "preparation": [step],
            },
        ),
        checkpoint=StoredArtifact(
            kind="checkpoint",
            digest="2" * 64,
            uri="file:///x",
            facts={"training": result.model_dump(mode="json"), "base": base, "mlflow_run": "r"},
        ),
        artifact=StoredArtifact(
            kind="artifact",
            digest="3" * 64,
            uri="file:///x",
            facts={
                "target": "cpu-avx2",
                "rungs": [{**rung, "verdict": "won", "reason": "1.3 ms"}],
                "compression_gate": budget,
            },
        ),
        evaluation=evaluation,
    )


def test_the_card_is_the_snapshot(records: CardRecords) -> None:
    """After a change that is meant: RANKOPS_UPDATE_SNAPSHOTS=1, and read the difference."""
    card = model_card(records)
    if os.environ.get("RANKOPS_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(card)
    assert card == SNAPSHOT.read_text()


def test_the_same_records_give_the_same_bytes_whenever_they_were_measured(records: CardRecords) -> None:
    training = {**records.checkpoint.facts["training"], "seconds": 99.0}
    slower = records.checkpoint.model_copy(update={"facts": {**records.checkpoint.facts, "training": training}})
    rungs = [{**records.artifact.facts["rungs"][0], "p50_ms": 9.9, "reason": "9.9 ms"}]
    artifact = records.artifact.model_copy(update={"facts": {**records.artifact.facts, "rungs": rungs}})
    again = CardRecords(SPEC, records.dataset, slower, artifact, records.evaluation)
    assert model_card(again) == model_card(records)


def test_the_limits_come_from_the_evaluation(records: CardRecords) -> None:
    limits = model_card(records).split("## Limits")[1]
    assert "too few queries" in limits and "Weakest slices by ndcg@10" in limits and "this gate catches" in limits
    weakest = min(
        (part for part in records.evaluation.slices if part.difference), key=lambda part: part.means["quantized"]
    )
    assert weakest.name.split("=")[1] in limits


def test_the_licence_is_told_or_called_unknown() -> None:
    assert licence_of(BaseModelSpec()) == "Apache-2.0"
    assert licence_of(BaseModelSpec(name="team/model", licence="MIT")) == "MIT"
    assert "not stated" in licence_of(BaseModelSpec(name="team/model"))


def test_a_recommender_has_a_card_too(records: CardRecords) -> None:
    spec = SPEC.model_copy(update={"task": "recommendation", "name": "recommender"})
    narrow = records.evaluation.model_copy(update={"breadth": None})
    card = model_card(CardRecords(spec, records.dataset, records.checkpoint, records.artifact, narrow))
    assert "next-item model" in card and "learning rate" not in card and "were not measured" in card


def test_the_card_names_the_features_that_training_kept(records: CardRecords) -> None:
    told = {"information": 0.1, "chi_square": 9.0, "p_value": 0.01}
    features = [
        {"name": "words shared", **told, "kept": True, "reason": ""},
        {"name": "codes", **told, "kept": False, "reason": "not significant"},
    ]
    facts = {**records.checkpoint.facts, "training": {**records.checkpoint.facts["training"], "features": features}}
    chosen = records.checkpoint.model_copy(update={"facts": facts})
    card = model_card(CardRecords(SPEC, records.dataset, chosen, records.artifact, records.evaluation))
    assert "1 of 2, chosen on train: words shared" in card and "1 of 2" not in model_card(records)


def test_the_card_says_what_the_base_model_learned_from_a_teacher(records: CardRecords) -> None:
    training = records.checkpoint.facts["training"]
    teaching = {"key": "k", "teacher": "cd" * 32, "queries": 1500, "products": 3000, "losses": [(1, 0.2)]}
    lessons = {**teaching, "curve": [(0, 0.9), (40, 0.95)], "best_step": 40}
    spec = {**training["spec"], "teacher": TeacherSpec().model_dump(mode="json")}
    facts = {**records.checkpoint.facts, "training": {**training, "spec": spec, "teaching": lessons}}
    card = model_card(replace(records, checkpoint=records.checkpoint.model_copy(update={"facts": facts})))
    assert "sentence-transformers/all-mpnet-base-v2 (`cdcdcdcdcdcd`, Apache-2.0)" in card
    assert "1,500 made-up queries and 3,000 product texts, without labels; agreement 0.900 before, 0.950 after" in card
    assert "made-up" not in model_card(records)


def test_the_card_says_what_a_ranker_reorders(records: CardRecords) -> None:
    ranking = RankingSpec(first_stage="retriever", candidates=40)
    lineage = {**records.checkpoint.lineage, "first_stage": "ab" * 32}
    checkpoint = records.checkpoint.model_copy(update={"lineage": lineage})
    spec = records.spec.model_copy(update={"task": "ranking", "ranking": ranking})
    card = model_card(replace(records, spec=spec, checkpoint=checkpoint))
    assert "the first 40 results of retriever (checkpoint `abababababab`)" in card
    assert "what it reorders" not in model_card(records)


def test_the_card_is_a_file_of_the_release_and_changes_its_digest(tmp_path: Path) -> None:
    def fill(folder: Path) -> Content:
        (folder / "weights").write_bytes(b"w")
        request = GoldenRequest(name="q", path="/search", request={"query": "q"}, product_ids=["p"], scores=[1.0])
        return Content("4" * 64, Golden(requests=[request], inference=GoldenInference(inputs=[], outputs=[])), "1 file")

    made = [
        assemble(tmp_path / name, release_facts(model_card=card), fill)
        for name, card in (("a", "# One\n"), ("b", "# One\n"), ("c", "# Two\n"))
    ]
    assert (tmp_path / "a" / MODEL_CARD).read_text() == "# One\n"
    assert made[0].digest == made[1].digest != made[2].digest
    assert MODEL_CARD in made[0].files and "# One" not in (tmp_path / "a" / "release.json").read_text()
    assert read_manifest(tmp_path / "a").digest == made[0].digest
