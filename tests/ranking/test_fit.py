"""`rankops fit` with a matcher whose test labels lie with somebody else: one call to a release that predicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rankops.cli import app
from rankops.cross_encoding import OnnxCrossEncoder
from rankops.dataset import load_dataset
from rankops.errors import GateFailed, ProvenanceMismatch
from rankops.release.manifest import MODEL_CARD, read_manifest
from rankops.specs import BaseModelSpec, ModelSpec
from rankops.stages.fit import Fitted, fit
from rankops.stages.release import ReleaseInputs, build
from rankops.state import LocalState
from rankops.store import ArtifactStore
from rankops.training.crossencoder import train
from rankops.training.job import TrainingJob
from tests.ranking.conftest import MATCHER, write_offers


class Trainings:
    """Trains in this process, and counts."""

    def __init__(self) -> None:
        self.jobs: list[TrainingJob] = []

    def __call__(self, job_file: Path) -> dict[str, Any]:
        self.jobs.append(TrainingJob.model_validate_json(job_file.read_text()).model_copy(update={"threads": 1}))
        return train(self.jobs[-1], lambda _: None).model_dump(mode="json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("fit")
    patch = pytest.MonkeyPatch()
    patch.setenv("RANKOPS_STATE", str(root / "state"))
    yield root
    patch.undo()


@pytest.fixture(scope="module")
def spec(tiny_base: Path) -> ModelSpec:
    # Seven tenths of the pairs are left to learn from, and character overlap is strong on such offers.
    gates = MATCHER.gates.model_copy(update={"floors": ("random", "base")})
    return MATCHER.model_copy(update={"base_model": BaseModelSpec(name=str(tiny_base)), "gates": gates})


@pytest.fixture(scope="module")
def offers_without_test_labels(place: Path) -> Path:
    return write_offers(place / "offers", labelled_test=False)


@pytest.fixture(scope="module")
def fitted(place: Path, spec: ModelSpec, offers_without_test_labels: Path) -> tuple[Fitted, Trainings]:
    trainings = Trainings()
    return fit(offers_without_test_labels, spec, train=trainings, final=True, progress=lambda _: None), trainings


def store() -> ArtifactStore:
    return ArtifactStore(LocalState.current().store_url)


def test_the_test_pairs_are_predicted_by_the_models_name(fitted: Any, offers_without_test_labels: Path) -> None:
    out = LocalState.current().root / "out.tsv"
    command = ["predict", str(offers_without_test_labels), "--model", "matcher", "--out", str(out), "--split", "test"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert len(rows) == 90
    right = [label == str(int(int(pair_id[2:]) % 3 == 0)) for pair_id, _, label in rows]  # as write_offers labels
    assert sum(right) > 75


def test_blend_and_threshold_come_from_every_dev_pair_and_the_network_from_one_training(fitted: Any) -> None:
    made, trainings = fitted
    assert len(trainings.jobs) == 1
    digest = read_manifest(store().local_path(made.release)).dataset.digest
    judged, final = load_dataset(trainings.jobs[0].dataset), load_dataset(tmp_path_of(store()) / "dataset" / digest)
    assert (judged.split("dev").height, judged.split("test").height) == (48, 90)
    assert (final.split("dev").height, final.split("test").height) == (138, 0)
    assert final.split("train").equals(judged.split("train"))


def test_the_release_says_whose_figures_it_carries(fitted: Any) -> None:
    made, _ = fitted
    folder = store().local_path(made.release)
    manifest = read_manifest(folder)
    (told,) = [gate.explanation for gate in manifest.gates if gate.name == "refit"]
    assert "learned once more from everything" in told and manifest.gates_passed
    assert told in (folder / MODEL_CARD).read_text()
    assert manifest.judged is not None and manifest.judged.checkpoint != manifest.checkpoint
    assert OnnxCrossEncoder(folder / "ranker").config.threshold is not None


def test_a_second_run_makes_nothing_and_names_the_same_release(
    fitted: Any, spec: ModelSpec, offers_without_test_labels: Path
) -> None:
    def never(_: Path) -> dict[str, Any]:
        raise AssertionError("trained again")

    again = fit(offers_without_test_labels, spec, train=never, final=True, progress=lambda _: None)
    assert again.reused and again.release.digest == fitted[0].release.digest
    pin = json.loads((LocalState.current().root / "releases" / "matcher.json").read_text())
    assert pin["digest"] == again.release.digest


def test_judged_releases_the_judged_model_itself(
    fitted: Any, spec: ModelSpec, offers_without_test_labels: Path
) -> None:
    made = fit(offers_without_test_labels, spec, train=Trainings(), final=False, progress=lambda _: None)
    manifest = read_manifest(store().local_path(made.release))
    assert "refit" not in {gate.name for gate in manifest.gates}
    # Servers that know no such field read the releases that need none.
    assert "judged" not in json.loads((store().local_path(made.release) / "release.json").read_text())
    assert made.release.digest != fitted[0].release.digest


def test_a_closed_gate_releases_nothing(
    spec: ModelSpec, offers_without_test_labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rankops.stages.fit._require_enough_to_judge", lambda *_: None)  # what it says comes earlier
    gates = spec.gates.model_copy(update={"min_queries": 1000})
    strict = spec.model_copy(update={"gates": gates, "name": "strict"})
    with pytest.raises(GateFailed, match="does not pass the gate"):
        fit(offers_without_test_labels, strict, train=Trainings(), final=True, progress=lambda _: None)
    assert not (LocalState.current().root / "releases" / "strict.json").exists()


def test_a_refit_of_another_model_is_no_evidence(fitted: Any, spec: ModelSpec, tmp_path: Path) -> None:
    from rankops.stages.release import Refit

    at = store()
    made = fitted[0].release
    artifacts = [at.find("artifact", path.stem) for path in (tmp_path_of(at) / "memo" / "artifact").glob("*.json")]
    refitted = next(found for found in artifacts if found is not None and "judged" in found.lineage)
    judged = next(found for found in artifacts if found is not None and found.digest == refitted.lineage["judged"])
    by = {kind: made_from(at, kind, judged) for kind in ("dataset", "checkpoint", "evaluation")}
    inputs = ReleaseInputs(**by, artifact=judged)
    lineage = {**refitted.lineage, "judged_checkpoint": "0" * 64}
    stranger = refitted.model_copy(update={"lineage": lineage})
    wrong = Refit(made_from(at, "dataset", refitted), made_from(at, "checkpoint", refitted), stranger, judged.digest)
    with pytest.raises(ProvenanceMismatch, match="judged_checkpoint"):
        build(at, spec, inputs, signing_key=tmp_path / "none", dagster_run=None, progress=str, refit=wrong)
    with pytest.raises(ProvenanceMismatch, match="judged artifact"):
        lineage = {**refitted.lineage, "judged": made.digest}
        other = replace(wrong, artifact=refitted.model_copy(update={"lineage": lineage}), judged=made.digest)
        build(at, spec, inputs, signing_key=tmp_path / "none", dagster_run=None, progress=str, refit=other)


def tmp_path_of(at: ArtifactStore) -> Path:
    return Path(at.root.removeprefix("file://"))


def made_from(at: ArtifactStore, kind: Any, artifact: Any) -> Any:
    folder = tmp_path_of(at) / "memo" / kind
    found = [at.find(kind, path.stem) for path in folder.glob("*.json")]
    return next(one for one in found if one is not None and one.digest == artifact.lineage[kind])
