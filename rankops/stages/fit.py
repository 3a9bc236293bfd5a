"""From a folder of data and a model spec to a signed release, in one go and without Dagster.

The stages are those of the assets, in the same order, remembered in the same store: dataset, checkpoint, evaluation and
its gate, quantized artifact and its gates, release. What stands is used again, so a killed run goes on where it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankops.artifacts import StoredArtifact
from rankops.dataset import load_dataset
from rankops.errors import BadInput, RankopsError
from rankops.files import write_json
from rankops.specs import ModelSpec
from rankops.stages import checkpoint as checkpoints
from rankops.stages import evaluation, quantized, refit, release
from rankops.stages.imported_dataset import adopt
from rankops.stages.refit import Train
from rankops.stages.tasks import task_stage
from rankops.state import REPOSITORY, LocalState
from rankops.store import ArtifactStore

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Fitted:
    """A release that ``rankops predict --model NAME`` finds from now on; ``reused``: it stood already."""

    release: StoredArtifact
    reused: bool
    seconds: float
    card: Path


def fit(folder: Path, spec: ModelSpec, *, train: Train | None = None, final: bool, progress: Progress) -> Fitted:
    """Import, train, judge, compress, release and pin ``spec`` on the data in ``folder``.

    ``final``: once the gates have passed, learn from the held-out part as well (:mod:`rankops.stages.refit`); else the
    judged model itself is released. Raises :class:`rankops.errors.GateFailed` where a gate is closed, and whatever the
    stages raise for bad input.
    """
    from rankops.release.manifest import MODEL_CARD

    started = time.monotonic()
    state, store = LocalState.current(), ArtifactStore(LocalState.current().store_url)
    run = train or _in_a_process(progress)
    progress(f"dataset: reading {folder}")
    dataset, _ = adopt(store, str(folder), name=spec.dataset, progress=progress)
    _require_enough_to_judge(store, spec, dataset)
    inputs = _judged(store, spec, dataset, run, progress)
    refitted = refit.build(store, spec, inputs, train=run, progress=progress) if final else None
    private, _ = release.signing_keys(progress)
    made, reused = release.build(
        store, spec, inputs, signing_key=private, dagster_run=None, progress=progress, refit=refitted
    )
    pin(state, spec, made)
    return Fitted(made, reused, time.monotonic() - started, store.local_path(made) / MODEL_CARD)


def pin(state: LocalState, spec: ModelSpec, made: StoredArtifact) -> None:
    """Tell the command line which release ``--model NAME`` means."""
    record = {"uri": made.uri, "digest": made.digest, "environment": "none: made by rankops fit"}
    write_json(state.root / "releases" / f"{spec.name}.json", record)


def _require_enough_to_judge(store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact) -> None:
    """Raise :class:`BadInput` where the gate will say that there are too few queries: before training, not after."""
    seen = task_stage(spec.task).view(load_dataset(store.local_path(dataset)), spec)
    judged = seen.split("test").join(seen.judgements, on="query_id", how="semi").height
    if judged < spec.gates.min_queries:
        raise BadInput(
            f"{judged} queries of the test split are judged, the gate of {spec.name} asks for {spec.gates.min_queries}",
            "judge more queries, or lower gates.min_queries knowing what it means",
        )


def _judged(
    store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, train: Train, progress: Progress
) -> release.ReleaseInputs:
    """The chain up to an artifact that has passed every gate."""
    from rankops.evaluation.storage import load_evaluation

    checkpoint = checkpoints.standing(store, spec, dataset, progress)
    if checkpoint is None:
        planned = checkpoints.plan(store, spec, dataset, None, progress)
        result = train(planned.job_file)
        checkpoint = checkpoints.publish(store, spec, dataset, planned, result=result, mlflow_run=None)
    judged, _ = evaluation.judge(store, spec, dataset, checkpoint, None, progress)
    decision = load_evaluation(store.local_path(judged)).decision
    for reason in decision.reasons:
        progress(f"gate: {reason}")
    decision.require(f"the checkpoint of {spec.name}")
    artifact, _ = quantized.build(store, spec, quantized.QuantizedInputs(dataset, checkpoint, judged), progress)
    return release.ReleaseInputs(dataset, checkpoint, judged, artifact)


def _in_a_process(progress: Progress) -> Train:
    """Training in a process of its own, as the assets do it: its memory goes back, and a stop saves its state."""

    def run(job_file: Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "rankops.training", str(job_file)]
        last = ""
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stderr or ():
                    last = line.strip() or last
                    progress(f"training: {last}")
            except BaseException:
                process.terminate()  # it saves its state; the next run goes on there
                raise
        if process.returncode != 0:
            raise RankopsError(
                f"training ended with status {process.returncode}: {last}", "run the command again: it goes on there"
            )
        found: dict[str, Any] = json.loads(job_file.with_name("result.json").read_text())
        return found

    return run
