"""What is shipped has learned from the days it was judged by; the next challenger meets the model that was judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from rankops.artifacts import StoredArtifact
from rankops.baskets import contexts
from rankops.dataset import Dataset, load_dataset
from rankops.next_item import NextItemModel, load_next_item
from rankops.release.manifest import read_manifest
from rankops.release.recommendation import MODEL
from rankops.retrain_spec import RetrainSpec
from rankops.specs import BaseModelSpec, ModelSpec, learns_held_out
from rankops.stages import checkpoint as checkpoints
from rankops.stages.evaluation import Champion, judge, load_runs
from rankops.stages.fit import fit
from rankops.stages.imported_dataset import adopt
from rankops.stages.tasks import CHAMPION, task_stage
from rankops.state import LocalState
from rankops.store import ArtifactStore
from rankops.training.job import TrainingJob
from rankops.training.next_item import train
from tests.recommendation.conftest import FIRST, unread_base
from tests.recommendation.test_life import SPEC

EARLIER, A_DAY = 14, 30
"""Days of the first dataset; baskets a day."""


def quiet(_: str) -> None: ...


def trained(job_file: Path) -> dict[str, Any]:
    return train(TrainingJob.model_validate_json(job_file.read_text()), quiet).model_dump(mode="json")


@dataclass(frozen=True)
class Place:
    """A store in which the model of the first days is live."""

    store: ArtifactStore
    spec: ModelSpec
    champion: Champion
    save: Callable[[int], Path]

    def dataset(self, days: int) -> StoredArtifact:
        return adopt(self.store, str(self.save(days)), name=self.spec.dataset, progress=quiet)[0]

    def checkpoint(self, dataset: StoredArtifact) -> StoredArtifact:
        if (standing := checkpoints.standing(self.store, self.spec, dataset, quiet)) is not None:
            return standing
        planned = checkpoints.plan(self.store, self.spec, dataset, None, quiet)
        result = trained(planned.job_file)
        return checkpoints.publish(self.store, self.spec, dataset, planned, result=result, mlflow_run=None)


@pytest.fixture(scope="module")
def place(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("champion")
    spec = SPEC.model_copy(update={"base_model": BaseModelSpec(name=str(unread_base(root / "base")))})

    def save(days: int) -> Path:
        folder = root / f"days{days}"
        if not folder.is_dir():
            folder.mkdir()
            seen = shop.interactions.filter(pl.col("day") < FIRST + timedelta(days=days))
            replace(shop, interactions=seen).save(folder)
        return folder

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RANKOPS_STATE", str(root / "state"))
        made = fit(save(EARLIER), spec, train=trained, final=True, progress=quiet)
        store = ArtifactStore(LocalState.current().store_url)
        folder = store.local_path(made.release)
        manifest = read_manifest(folder)
        champion = Champion(made.release.digest, manifest.checkpoint, folder, manifest.judged)
        yield Place(store, spec, champion, save)


def judged_model(place: Place) -> NextItemModel:
    assert place.champion.judged is not None
    artifact = place.store.uri("artifact", place.champion.judged.artifact)
    return load_next_item(Path(artifact.removeprefix("file://")))


def test_a_release_has_learned_the_days_that_its_judged_model_had_not(place: Place) -> None:
    shipped = load_next_item(place.champion.folder / MODEL)
    assert shipped.config.facts["baskets"] == EARLIER * A_DAY
    assert judged_model(place).config.facts["baskets"] == (EARLIER - 4) * A_DAY
    told = json.loads((place.champion.folder / "release.json").read_text())
    assert told["judged"]["checkpoint"] != told["checkpoint"]


def test_the_next_challenger_meets_the_judged_model_and_not_one_that_saw_the_days(place: Place) -> None:
    """One day later three of the four held-out days are days that the live release has learned from."""
    dataset = place.dataset(EARLIER + 1)
    made, _ = judge(place.store, place.spec, dataset, place.checkpoint(dataset), place.champion, quiet)
    run = load_runs(place.store.local_path(made))[CHAMPION]
    seen = task_stage("recommendation").view(load_dataset(place.save(EARLIER + 1)), place.spec)
    asked = seen.split("test").sort("query_id")

    def by(model: NextItemModel) -> dict[str, list[str]]:
        ranked = model.rank(contexts(asked), exclude=seen.unavailable())
        return dict(zip(asked["query_id"].to_list(), ranked, strict=True))

    assert run == by(judged_model(place))
    assert run != by(load_next_item(place.champion.folder / MODEL))


def test_the_same_data_again_is_no_rival_of_itself(place: Place) -> None:
    dataset = place.dataset(EARLIER)
    checkpoint = place.checkpoint(dataset)
    assert place.champion.is_of(checkpoint.digest) and place.champion.checkpoint != checkpoint.digest
    _, reused = judge(place.store, place.spec, dataset, checkpoint, place.champion, quiet)
    assert reused


def test_only_days_can_be_learned_after_they_were_judged_by() -> None:
    assert learns_held_out(SPEC)
    assert not learns_held_out(SPEC.model_copy(update={"retrain": RetrainSpec(learn_held_out=False)}))
    assert not learns_held_out(ModelSpec(name="search", task="retrieval"))
    with pytest.raises(ValidationError, match=r"what search \(retrieval\) is judged by is asked again"):
        ModelSpec(name="search", task="retrieval", retrain=RetrainSpec(learn_held_out=True))
