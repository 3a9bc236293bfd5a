"""Learning once more from everything, after a model was judged on a part that it had not seen.

What was held out to judge on is data that the last model need not do without. The judged model passed the gates; the
same spec then learns from everything, is compressed in the same way, and is released with the *judged* model's figures,
which say so. ``rankops fit`` does so for data whose test part somebody else holds.

In the loop of champion and challenger a release that has seen the held-out queries would be compared on them, so the
assets do it for recommenders only, which hold out days: a small shop needs weeks of baskets to judge by, and the last
of them are what a drift has it fitted again for. The next challenger meets the model that was *judged* for the
champion, which has seen no more of its days than it has itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.dataset import Dataset, load_dataset
from rankops.errors import GateFailed
from rankops.files import digest_of
from rankops.specs import ModelSpec
from rankops.stages import checkpoint as checkpoints
from rankops.stages.evaluation import load_runs
from rankops.stages.quantized import serving_target
from rankops.stages.release import Refit, ReleaseInputs
from rankops.stages.tasks import ARTIFACT, Run, task_stage
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[str], None]
Train = Callable[[Path], dict[str, Any]]
"""Runs the training job in a file and returns its result; see :mod:`rankops.training.__main__`."""


@dataclass(frozen=True)
class _Refitting:
    """What a refit works on."""

    store: ArtifactStore
    spec: ModelSpec
    judged: ReleaseInputs
    progress: Progress

    @property
    def lineage(self) -> dict[str, str]:
        """What a refitted thing says of the judged model."""
        judged = self.judged
        return {"judged_dataset": judged.dataset.digest, "judged_checkpoint": judged.checkpoint.digest}


def build(store: ArtifactStore, spec: ModelSpec, judged: ReleaseInputs, *, train: Train, progress: Progress) -> Refit:
    """Dataset, checkpoint and artifact over all labels; each is remembered by what it was made from.

    Raises :class:`GateFailed` where a gate of the judged model is closed, or where the refitted model answers the
    held-out queries (which it has seen) worse than could be accepted of a model that has not.
    """
    from rankops.evaluation.gate import GateDecision

    judged.check()
    for name in ("gate", "compression_gate"):
        GateDecision.model_validate(judged.artifact.facts[name]).require("the judged model")
    work = _Refitting(store, spec, judged, progress)
    seen = load_dataset(store.local_path(judged.dataset))
    everything, final = task_stage(spec.task).whole(seen, spec)
    dataset = _dataset(work, seen, everything)
    checkpoint = _checkpoint(work, final, dataset, train)
    artifact = _artifact(work, final, dataset, checkpoint)
    return Refit(dataset, checkpoint, artifact, judged.artifact.digest)


def _dataset(work: _Refitting, seen: Dataset, everything: Dataset) -> StoredArtifact:
    if everything is seen:
        return work.judged.dataset  # days are held out by the spec: the tables have all of them
    key = digest_of({"given_back": work.judged.dataset.digest, "task": work.spec.task, "code": 1})

    def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
        everything.save(out)
        return {"name": work.spec.dataset, "judged_dataset": work.judged.dataset.digest}, everything.info

    return work.store.find_or_make("dataset", key, make)[0]


def _checkpoint(work: _Refitting, final: ModelSpec, dataset: StoredArtifact, train: Train) -> StoredArtifact:
    """Trained as the judged one was; or that one itself, with what the dev split decides decided anew."""
    store, progress = work.store, work.progress
    if (standing := checkpoints.standing(store, final, dataset, progress)) is not None:
        return standing
    if (recalibrated := _recalibrated(work, final, dataset)) is not None:
        return recalibrated
    progress("refit: learning from everything, the held-out part too")
    planned = checkpoints.plan(store, final, dataset, None, progress)
    result = train(planned.job_file)
    run = work.judged.checkpoint.facts["mlflow_run"]
    return checkpoints.publish(store, final, dataset, planned, result=result, mlflow_run=run)


def _recalibrated(work: _Refitting, final: ModelSpec, dataset: StoredArtifact) -> StoredArtifact | None:
    store, judged = work.store, work.judged.checkpoint
    with tempfile.TemporaryDirectory(prefix="rankops-refit-") as scratch:
        out = Path(scratch) / "checkpoint"
        seen, folder = load_dataset(store.local_path(dataset)), store.local_path(judged)
        if not task_stage(final.task).recalibrated(folder, seen, final, out, work.progress):
            return None
        return store.publish(
            "checkpoint",
            out,
            lineage={**judged.lineage, "dataset": dataset.digest, **work.lineage},
            facts=judged.facts,
            input_key=checkpoints.subject_key(final, dataset, work.progress),
        )


def _artifact(
    work: _Refitting, final: ModelSpec, dataset: StoredArtifact, checkpoint: StoredArtifact
) -> StoredArtifact:
    store, judged = work.store, work.judged
    key = digest_of({"checkpoint": checkpoint.digest, "judged": judged.artifact.digest, "code": 4})

    def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
        seen = load_dataset(store.local_path(dataset))
        stage = task_stage(final.task)
        work.progress("refit: compressing as the judged model was")
        report = stage.compress(
            store.local_path(checkpoint),
            stage.view(seen, final),
            final,
            serving_target(final),
            out,
            refusal=lambda _: None,
            progress=work.progress,
        )
        shutil.copytree(store.local_path(judged.artifact) / "evaluation", out / "evaluation")
        chain = {"dataset": dataset.digest, "checkpoint": checkpoint.digest, "evaluation": judged.evaluation.digest}
        facts = {
            **judged.artifact.facts,
            "rungs": [rung.model_dump(mode="json") for rung in report.rungs],
            "refit": _agreement(work, out),
        }
        return {"model": final.name, **chain, **work.lineage, "judged": judged.artifact.digest}, facts

    return store.find_or_make("artifact", key, make)[0]


def _agreement(work: _Refitting, artifact: Path) -> dict[str, float]:
    """The gate's metric of both models on the held-out queries that the gate decided by.

    Catches a broken fit; proves nothing beyond that.
    """
    from rankops.evaluation.evaluate import lowest_grade, scorable
    from rankops.evaluation.metrics import per_query

    spec, store = work.spec, work.store
    stage = task_stage(spec.task)
    seen = stage.view(load_dataset(store.local_path(work.judged.dataset)), spec)
    evidence = store.local_path(work.judged.artifact) / "evaluation"
    runs = load_runs(evidence)
    queries, judgements, _ = scorable(seen, "test", lowest_grade(stage.metrics(spec), spec.gates))

    def mean(run: Run) -> float:
        kept = {query_id: run[query_id] for query_id in queries["query_id"] if query_id in run}
        values: np.ndarray = per_query(kept, judgements, min_grade=spec.gates.min_grade)[spec.gates.metric].to_numpy()
        return float(values.mean())

    found = {
        "judged": mean(runs[ARTIFACT]),
        "refitted": mean(stage.rank_artifact(artifact, seen, spec, runs, work.progress)),
    }
    if found["refitted"] < found["judged"] - spec.gates.max_plausible_loss:
        raise GateFailed(
            f"after learning from all labels {spec.gates.metric} on the held-out queries, which it has seen, is "
            f"{found['refitted']:.4f}; the judged model has {found['judged']:.4f}",
            "release the judged model: rankops fit --judged",
        )
    return found
