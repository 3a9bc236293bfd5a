"""Release: the artifact, its evidence and its index become one signed bundle."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact, require_match
from rankops.files import digest_of
from rankops.specs import ModelSpec
from rankops.stages.model_card import CardRecords, model_card
from rankops.stages.tasks import ARTIFACT, task_stage
from rankops.state import REPOSITORY, LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.evaluation.results import Evaluation
    from rankops.release.manifest import ReleaseFacts

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ReleaseInputs:
    """The references that a release is made from; :func:`check` proves that they belong together."""

    dataset: StoredArtifact
    checkpoint: StoredArtifact
    evaluation: StoredArtifact
    artifact: StoredArtifact

    def check(self) -> None:
        """Raise :class:`ProvenanceMismatch` naming every field that does not fit."""
        remedy = "materialize checkpoint, evaluation, quantized and release in one run"
        trained = {"dataset": self.dataset.digest}
        require_match("the checkpoint", trained, self.checkpoint.lineage, remedy)
        judged = {**trained, "checkpoint": self.checkpoint.digest}
        require_match("the evaluation", judged, self.evaluation.lineage, remedy)
        compressed = {**judged, "evaluation": self.evaluation.digest}
        require_match("the quantized artifact", compressed, self.artifact.lineage, remedy)


def build(
    store: ArtifactStore,
    spec: ModelSpec,
    inputs: ReleaseInputs,
    *,
    signing_key: Path,
    dagster_run: str,
    progress: Progress,
) -> tuple[StoredArtifact, bool]:
    """Bundle, sign and publish; ``reused`` tells that this very release was in the store already.

    Raises :class:`GateFailed` when the evidence in the artifact says no: a failing check stops only its own run,
    so the evidence is read again here.
    """
    from rankops.release.signing import sign

    inputs.check()
    facts = release_facts(store, spec, inputs, dagster_run)
    key = digest_of(
        {
            "artifact": inputs.artifact.digest,
            "golden": spec.serving.golden_queries,
            "model": spec.name,
            "card": facts.model_card,
        }
    )
    if (standing := store.find("release", key)) is not None:
        return standing, True
    with tempfile.TemporaryDirectory(prefix="rankops-release-") as scratch:
        bundle = Path(scratch) / "bundle"
        manifest = task_stage(spec.task).bundle(
            bundle,
            artifact=store.local_path(inputs.artifact),
            dataset=store.local_path(inputs.dataset),
            spec=spec,
            facts=facts,
            progress=progress,
        )
        progress("release: signing")
        sign(bundle, signing_key)
        made = store.publish(
            "release",
            bundle,
            lineage={"model": spec.name, "artifact": inputs.artifact.digest, **_chain(inputs)},
            facts={"target": manifest.target, "dagster_run": dagster_run, "mlflow_run": facts.mlflow_run},
            input_key=key,
            digest=manifest.digest,
        )
    return made, False


def release_facts(store: ArtifactStore, spec: ModelSpec, inputs: ReleaseInputs, dagster_run: str) -> ReleaseFacts:
    """Lineage and evidence of a release; raises :class:`GateFailed` when a gate is closed."""
    from rankops.evaluation.gate import GateDecision
    from rankops.evaluation.storage import load_evaluation
    from rankops.release.manifest import BaseModelRef, DatasetRef, GateResult, ReleaseFacts

    evaluation = load_evaluation(store.local_path(inputs.artifact) / "evaluation")
    compression = GateDecision.model_validate(inputs.artifact.facts["compression_gate"])
    for decision, what in ((evaluation.decision, "the quantized artifact"), (compression, "the compression")):
        decision.require(what)
    base = inputs.checkpoint.facts["base"]
    records = CardRecords(spec, inputs.dataset, inputs.checkpoint, inputs.artifact, evaluation)
    return ReleaseFacts(
        model=spec.name,
        task=spec.task,
        target=inputs.artifact.facts["target"],
        base_model=BaseModelRef(name=base["name"], revision=base["revision"], digest=base["digest"]),
        checkpoint=inputs.checkpoint.digest,
        dataset=DatasetRef(
            name=spec.dataset,
            digest=inputs.dataset.digest,
            first_day=inputs.dataset.facts.get("first_day"),
            last_day=inputs.dataset.facts.get("last_day"),
        ),
        code_commit=code_commit(),
        dagster_run=dagster_run,
        mlflow_run=inputs.checkpoint.facts["mlflow_run"],
        metrics=metric_rows(evaluation),
        gates=[
            GateResult(name=check.name, passed=check.passed, explanation=check.explanation)
            for check in [*evaluation.decision.checks, *compression.checks]
        ],
        compression=inputs.artifact.facts["rungs"],
        model_card=model_card(records),
    )


def metric_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per system and metric: value with interval, the same rows that ``release.json`` carries."""
    return [
        {
            "system": "this release" if score.system == ARTIFACT else score.system,
            "metric": metric,
            "value": interval.mean,
            "lower": interval.low,
            "upper": interval.high,
            "n": interval.n,
        }
        for score in evaluation.systems
        for metric, interval in score.metrics.items()
    ]


def signing_keys(progress: Progress) -> tuple[Path, Path]:
    """Private and public key of this state; the embedded default makes its own pair once.

    Raises :class:`BadInput` when a configured key (``RANKOPS_SIGNING_KEY``) does not exist.
    """
    from rankops.errors import BadInput
    from rankops.release.signing import create_key_pair

    state = LocalState.current()
    if not state.signing_key.is_file():
        if os.environ.get("RANKOPS_SIGNING_KEY"):
            raise BadInput(f"{state.signing_key} does not exist", "mount the key that RANKOPS_SIGNING_KEY names")
        progress(f"signing: making a key pair in {state.signing_key.parent}")
        create_key_pair(state.signing_key.parent)
    return state.signing_key, state.public_key


def code_commit() -> str:
    """The commit of this repository, ``-dirty`` when files differ from it, ``unknown`` outside a clone."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _chain(inputs: ReleaseInputs) -> dict[str, str]:
    return {"dataset": inputs.dataset.digest, "checkpoint": inputs.checkpoint.digest}
