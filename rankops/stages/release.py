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
from rankops.stages.capacity import add_capacity
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


@dataclass(frozen=True)
class Refit:
    """What a judged model's spec made of all labels (:mod:`rankops.stages.refit`): it is shipped in that one's place.

    ``judged`` is the digest of the artifact that the evidence is about.
    """

    dataset: StoredArtifact
    checkpoint: StoredArtifact
    artifact: StoredArtifact
    judged: str

    def check(self, inputs: ReleaseInputs) -> None:
        """Raise :class:`ProvenanceMismatch` where this is no refit of the judged model."""
        remedy = "materialize the release (or run rankops fit) again"
        before = {"judged_dataset": inputs.dataset.digest, "judged_checkpoint": inputs.checkpoint.digest}
        chain = {"dataset": self.dataset.digest, "checkpoint": self.checkpoint.digest, "judged": self.judged}
        require_match("the refitted artifact", {**before, **chain}, self.artifact.lineage, remedy)
        require_match("the judged artifact", {"judged": self.judged}, {"judged": inputs.artifact.digest}, remedy)

    @property
    def told(self) -> str:
        """One sentence for people: whose figures these are."""
        metric = self.artifact.facts["refit"]
        return (
            f"The figures are those of the judged artifact {self.judged[:12]}. After the gates had passed, the same "
            f"spec learned once more from everything, the held-out part too: on it the judged model scores "
            f"{metric['judged']:.4f}, and this release, which has seen it, {metric['refitted']:.4f}."
        )


def build(
    store: ArtifactStore,
    spec: ModelSpec,
    inputs: ReleaseInputs,
    *,
    signing_key: Path,
    dagster_run: str | None,
    progress: Progress,
    refit: Refit | None = None,
) -> tuple[StoredArtifact, bool]:
    """Bundle, sign and publish; ``reused`` tells that this very release was in the store already.

    With a ``refit`` its artifact is shipped, on the evidence of the judged one. Raises :class:`GateFailed` when the
    evidence in the artifact says no: a failing check stops only its own run, so the evidence is read again here.
    """
    from rankops.release.signing import sign

    inputs.check()
    if refit is not None:
        refit.check(inputs)
    shipped = refit or inputs
    facts = release_facts(store, spec, inputs, dagster_run, refit)
    key = digest_of(
        {
            "artifact": shipped.artifact.digest,
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
            artifact=store.local_path(shipped.artifact),
            dataset=store.local_path(inputs.dataset),  # the same catalogue; golden queries are held-out ones
            spec=spec,
            facts=facts,
            progress=progress,
        )
        progress("release: signing")
        sign(bundle, signing_key)
        manifest = add_capacity(bundle, manifest, spec, signing_key=signing_key, progress=progress)
        made = store.publish(
            "release",
            bundle,
            lineage={"model": spec.name, "artifact": shipped.artifact.digest, **_chain(shipped)},
            facts={"target": manifest.target, "dagster_run": dagster_run, "mlflow_run": facts.mlflow_run},
            input_key=key,
            digest=manifest.digest,
        )
    return made, False


def release_facts(
    store: ArtifactStore, spec: ModelSpec, inputs: ReleaseInputs, dagster_run: str | None, refit: Refit | None = None
) -> ReleaseFacts:
    """Lineage and evidence of a release; raises :class:`GateFailed` when a gate is closed."""
    from rankops.evaluation.gate import GateDecision
    from rankops.evaluation.storage import load_evaluation
    from rankops.release.manifest import BaseModelRef, DatasetRef, GateResult, JudgedRef, ReleaseFacts

    evaluation = load_evaluation(store.local_path(inputs.artifact) / "evaluation")
    compression = GateDecision.model_validate(inputs.artifact.facts["compression_gate"])
    for decision, what in ((evaluation.decision, "the quantized artifact"), (compression, "the compression")):
        decision.require(what)
    base = inputs.checkpoint.facts["base"]
    shipped = refit or inputs
    records = CardRecords(
        spec, shipped.dataset, shipped.checkpoint, shipped.artifact, evaluation, note=refit.told if refit else ""
    )
    gates = [
        GateResult(name=check.name, passed=check.passed, explanation=check.explanation)
        for check in [*evaluation.decision.checks, *compression.checks]
    ]
    judged = None
    if refit is not None:
        judged = JudgedRef(checkpoint=inputs.checkpoint.digest, artifact=refit.judged)
        gates.append(GateResult(name="refit", passed=True, explanation=refit.told))
    return ReleaseFacts(
        model=spec.name,
        task=spec.task,
        target=shipped.artifact.facts["target"],
        base_model=BaseModelRef(name=base["name"], revision=base["revision"], digest=base["digest"]),
        checkpoint=shipped.checkpoint.digest,
        dataset=DatasetRef(
            name=spec.dataset,
            digest=shipped.dataset.digest,
            first_day=shipped.dataset.facts.get("first_day"),
            last_day=shipped.dataset.facts.get("last_day"),
        ),
        judged=judged,
        code_commit=code_commit(),
        dagster_run=dagster_run,
        mlflow_run=shipped.checkpoint.facts["mlflow_run"],
        metrics=metric_rows(evaluation),
        gates=gates,
        compression=shipped.artifact.facts["rungs"],
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


def _chain(inputs: ReleaseInputs | Refit) -> dict[str, str]:
    return {"dataset": inputs.dataset.digest, "checkpoint": inputs.checkpoint.digest}
