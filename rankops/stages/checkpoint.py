"""Checkpoint: which training a spec and a dataset ask for, and publishing what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.errors import IntegrityError, ProvenanceMismatch
from rankops.files import digest_of, write_text
from rankops.specs import ModelSpec
from rankops.stages.evaluation import Champion
from rankops.stages.replay import PAIRS, champions_dataset, write_pairs
from rankops.state import LocalState
from rankops.store import ArtifactStore, fetch_folder

if TYPE_CHECKING:
    from rankops.training.base_models import ResolvedBase

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PlannedTraining:
    """A training that is fully determined: ``key`` is a digest over everything that changes its result.

    ``subject`` leaves out where the weights started (``started_from``, a digest): what a spec and a dataset ask for.
    """

    key: str
    subject: str
    base: ResolvedBase
    started_from: str
    job_file: Path
    output: Path


def base_model(spec: ModelSpec, progress: Progress) -> ResolvedBase:
    """The pre-trained weights of a spec, local and checked."""
    from rankops.training.base_models import resolve_base_model

    return resolve_base_model(spec.base_model, progress)


def standing(
    store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, progress: Progress
) -> StoredArtifact | None:
    """The checkpoint that this spec made of this dataset, wherever its weights started; None when there is none."""
    return store.find("checkpoint", subject_key(spec, dataset, progress))


def subject_key(spec: ModelSpec, dataset: StoredArtifact, progress: Progress) -> str:
    """Under what :func:`standing` looks: digest over what a spec and a dataset ask for."""
    return digest_of(_subject(spec, dataset, base_model(spec, progress).digest))


def _subject(spec: ModelSpec, dataset: StoredArtifact, base: str) -> dict[str, Any]:
    subject = {"training": spec.training.model_dump(mode="json"), "dataset": dataset.digest, "base": base, "code": 1}
    options = spec.hybrid if spec.task == "retrieval" else getattr(spec, spec.task)
    return {**subject, "task": spec.task, "options": options.model_dump(mode="json", exclude_none=True)}


def plan(
    store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, champion: Champion | None, progress: Progress
) -> PlannedTraining:
    """Write the job file of a training under the state folder; the same inputs plan the same training.

    The folder is the training's resumable work space: a killed run is continued by the next one with this key.
    Where the spec says so and the store still has the champion's checkpoint, that is where the weights start.
    """
    from rankops.training.job import TrainingJob

    base = base_model(spec, progress)
    subject = _subject(spec, dataset, base.digest)
    start, digest = base.path, base.digest
    warm = _champions_checkpoint(store, spec, champion)
    if warm is not None and champion is not None:
        start, digest = warm, champion.checkpoint
        progress(f"training starts from the champion's checkpoint {digest[:12]}")
    before = champions_dataset(store, spec, dataset, champion, progress) if warm and champion else None
    key = digest_of({**subject, "start": digest, **({"replay": before[0]} if before else {})})
    work = LocalState.current().root / "work" / key[:16]
    output = work / "checkpoint"
    here = store.local_path(dataset)
    old = write_pairs(here, before[1], spec.training.replay, work / PAIRS, progress) if before else None
    job = TrainingJob(
        task=spec.task,
        hybrid=spec.hybrid,
        recommendation=spec.recommendation,
        ranking=spec.ranking,
        spec=spec.training.model_copy(update={"max_steps": spec.training.warm_steps}) if warm else spec.training,
        base_model=start,
        retriever=base.path if warm else None,
        dataset=here,
        replay_pairs=old,
        output=output,
        work=work / "state",
        threads=None,
    )
    write_text(work / "job.json", job.model_dump_json(indent=2))
    return PlannedTraining(key, digest_of(subject), base, digest, work / "job.json", output)


def _champions_checkpoint(store: ArtifactStore, spec: ModelSpec, champion: Champion | None) -> Path | None:
    # What a next-item model starts from is the texts' encoder; its fit is a closed form that starts from nothing.
    if spec.training.start == "base" or champion is None or spec.task == "recommendation":
        return None
    uri = store.uri("checkpoint", champion.checkpoint)
    try:
        return fetch_folder(uri, LocalState.current().root / "cache" / "checkpoint" / champion.checkpoint)
    except IntegrityError:  # another store made it: the base model is a sound start too
        return None


def publish(
    store: ArtifactStore,
    spec: ModelSpec,
    dataset: StoredArtifact,
    planned: PlannedTraining,
    *,
    result: dict[str, Any],
    mlflow_run: str | None,
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
        lineage={
            "model": spec.name,
            "dataset": dataset.digest,
            "base_model": planned.base.digest,
            "started_from": planned.started_from,
        },
        facts={"training": result, "mlflow_run": mlflow_run, "base": base_facts(spec, planned.base)},
        input_key=planned.key,
    )
    store.remember(made, planned.subject)
    shutil.rmtree(planned.job_file.parent)
    return made


def base_facts(spec: ModelSpec, base: ResolvedBase) -> dict[str, str]:
    """Name, revision and digest of the base model, for the release's lineage."""
    return {"name": spec.base_model.name, "revision": base.revision, "digest": base.digest, "source": base.source}
