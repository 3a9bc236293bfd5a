"""Checkpoint: which training a spec and a dataset ask for, and publishing what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.errors import ProvenanceMismatch
from rankops.files import digest_of, write_text
from rankops.specs import ModelSpec
from rankops.state import LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.training.base_models import ResolvedBase

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PlannedTraining:
    """A training that is fully determined: ``key`` is a digest over everything that changes its result."""

    key: str
    base: ResolvedBase
    job_file: Path
    output: Path


def base_model(spec: ModelSpec, progress: Progress) -> ResolvedBase:
    """The pre-trained weights of a spec, local and checked."""
    from rankops.training.base_models import resolve_base_model

    return resolve_base_model(spec.base_model, progress)


def plan(store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, progress: Progress) -> PlannedTraining:
    """Write the job file of a training under the state folder; the same inputs plan the same training.

    The folder is the training's resumable work space: a killed run is continued by the next one with this key.
    """
    from rankops.training.job import TrainingJob

    base = base_model(spec, progress)
    key = digest_of(
        {"training": spec.training.model_dump(mode="json"), "dataset": dataset.digest, "base": base.digest, "code": 1}
    )
    work = LocalState.current().root / "work" / key[:16]
    output = work / "checkpoint"
    job = TrainingJob(
        spec=spec.training,
        base_model=base.path,
        dataset=store.local_path(dataset),
        output=output,
        work=work / "state",
        threads=None,
    )
    write_text(work / "job.json", job.model_dump_json(indent=2))
    return PlannedTraining(key, base, work / "job.json", output)


def publish(
    store: ArtifactStore,
    spec: ModelSpec,
    dataset: StoredArtifact,
    planned: PlannedTraining,
    *,
    result: dict[str, Any],
    mlflow_run: str,
) -> StoredArtifact:
    """Publish a finished training's checkpoint and remove its work space.

    Raises :class:`ProvenanceMismatch` when the process wrote no checkpoint where the job asked for it.
    """
    import shutil

    if not (planned.output / "training.json").is_file():
        raise ProvenanceMismatch(f"{planned.output} holds no finished checkpoint", "rematerialize the checkpoint")
    made = store.publish(
        "checkpoint",
        planned.output,
        lineage={"model": spec.name, "dataset": dataset.digest, "base_model": planned.base.digest},
        facts={"training": result, "mlflow_run": mlflow_run, "base": base_facts(spec, planned.base)},
        input_key=planned.key,
    )
    shutil.rmtree(planned.job_file.parent)
    return made


def base_facts(spec: ModelSpec, base: ResolvedBase) -> dict[str, str]:
    """Name, revision and digest of the base model, for the release's lineage."""
    return {"name": spec.base_model.name, "revision": base.revision, "digest": base.digest, "source": base.source}
