"""Checkpoint: which training a spec and a dataset ask for, and publishing what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput, IntegrityError, ProvenanceMismatch
from rankops.files import digest_of, write_text
from rankops.specs import ModelSpec
from rankops.stages.evaluation import Champion
from rankops.stages.fetched import fetched
from rankops.stages.replay import PAIRS, champions_dataset, write_pairs
from rankops.state import LocalState
from rankops.store import ArtifactStore

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
    first_stage: str | None = None


def base_model(spec: ModelSpec, progress: Progress) -> ResolvedBase:
    """The pre-trained weights of a spec, local and checked."""
    from rankops.training.base_models import resolve_base_model

    return resolve_base_model(spec.base_model, progress)


def standing(
    store: ArtifactStore,
    spec: ModelSpec,
    dataset: StoredArtifact,
    progress: Progress,
    first_stage: StoredArtifact | None = None,
) -> StoredArtifact | None:
    """The checkpoint that this spec made of this dataset, wherever its weights started; None when there is none.

    ``first_stage`` is the checkpoint of the retriever that finds a ranker's candidates, where the spec names one.
    """
    return store.find("checkpoint", subject_key(spec, dataset, progress, first_stage))


def subject_key(
    spec: ModelSpec, dataset: StoredArtifact, progress: Progress, first_stage: StoredArtifact | None = None
) -> str:
    """Under what :func:`standing` looks: digest over what a spec and a dataset ask for."""
    weights = _weights(base_model(spec, progress), teacher_of(spec, progress))
    return digest_of(_subject(spec, dataset, weights, first_stage))


def _weights(base: ResolvedBase, teacher: ResolvedBase | None) -> dict[str, str]:
    """Digests of what a training starts from where there is no champion."""
    return {"base": base.digest, **({"teacher": teacher.digest} if teacher else {})}


def teacher_of(spec: ModelSpec, progress: Progress) -> ResolvedBase | None:
    """The weights of the larger model that the base model learns from first, where the spec names one."""
    from rankops.training.base_models import resolve_base_model

    return resolve_base_model(spec.training.teacher.model, progress) if spec.training.teacher else None


def taught_folder(spec: ModelSpec) -> Path:
    """Where a model's base is kept after the lessons of its teacher, for later runs on the same catalogue."""
    return LocalState.current().root / "cache" / "taught" / spec.name


def _subject(
    spec: ModelSpec, dataset: StoredArtifact, weights: dict[str, str], first_stage: StoredArtifact | None
) -> dict[str, Any]:
    if (spec.ranking.first_stage is None) != (first_stage is None):
        raise BadInput(
            f"{spec.name} reorders what {spec.ranking.first_stage or 'no other model'} finds, and "
            f"{'no' if first_stage is None else 'a'} checkpoint of a first stage is given",
            "give the checkpoint of ranking.first_stage (assets do), or leave the field out",
        )
    training = spec.training.model_dump(mode="json", exclude_none=True)
    subject: dict[str, Any] = {"training": training, "dataset": dataset.digest, **weights, "code": 2}
    if first_stage is not None:
        subject["first_stage"] = first_stage.digest
    options = spec.hybrid if spec.task == "retrieval" else getattr(spec, spec.task)
    return {**subject, "task": spec.task, "options": options.model_dump(mode="json", exclude_none=True)}


def plan(
    store: ArtifactStore,
    spec: ModelSpec,
    dataset: StoredArtifact,
    champion: Champion | None,
    progress: Progress,
    first_stage: StoredArtifact | None = None,
) -> PlannedTraining:
    """Write the job file of a training under the state folder; the same inputs plan the same training.

    The folder is the training's resumable work space: a killed run is continued by the next one with this key.
    Where the spec says so and the store still has the champion's checkpoint, that is where the weights start.
    """
    from rankops.training.job import TrainingJob

    base, teacher = base_model(spec, progress), teacher_of(spec, progress)
    subject = _subject(spec, dataset, _weights(base, teacher), first_stage)
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
        retriever=store.local_path(first_stage) if first_stage else base.path if warm else None,
        dataset=here,
        replay_pairs=old,
        output=output,
        work=work / "state",
        threads=None,
        teacher=teacher.path if teacher and not warm else None,  # a champion has had the lessons
        taught=taught_folder(spec),
    )
    write_text(work / "job.json", job.model_dump_json(indent=2))
    found_by = first_stage.digest if first_stage else None
    return PlannedTraining(key, digest_of(subject), base, digest, work / "job.json", output, found_by)


def _champions_checkpoint(store: ArtifactStore, spec: ModelSpec, champion: Champion | None) -> Path | None:
    # What a next-item model starts from is the texts' encoder; its fit is a closed form that starts from nothing.
    if spec.training.start == "base" or champion is None or spec.task == "recommendation":
        return None
    uri = store.uri("checkpoint", champion.checkpoint)
    try:
        return fetched(uri, "checkpoint", champion.checkpoint)
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
            **({"first_stage": planned.first_stage} if planned.first_stage else {}),
            **({"teacher": result["teaching"]["teacher"]} if result.get("teaching") else {}),
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
