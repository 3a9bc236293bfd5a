"""Quantized artifact: the fastest rung that keeps the relevance, then the gate again.

The ladder picks on dev and train queries. Its pick must then stay inside the quality budget on the held-out queries
too; where it does not, the next faster rung is tried. That look can only refuse: it moves the choice towards fp32,
which loses nothing, and so cannot flatter what is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact, require_match
from rankops.dataset import load_dataset
from rankops.files import digest_of, sha256_file
from rankops.specs import ModelSpec
from rankops.stages.evaluation import HeldOut
from rankops.stages.tasks import task_stage
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.compression.report import CompressionReport
    from rankops.evaluation.gate import GateCheck
    from rankops.specs import Target

Progress = Callable[[str], None]


@dataclass(frozen=True)
class QuantizedInputs:
    """What is compressed, on which data, and the evidence about it so far."""

    dataset: StoredArtifact
    checkpoint: StoredArtifact
    evaluation: StoredArtifact

    def check(self) -> None:
        """Raise :class:`ProvenanceMismatch` where evaluation, checkpoint and dataset do not belong together."""
        expected = {"dataset": self.dataset.digest, "checkpoint": self.checkpoint.digest}
        require_match("the evaluation", expected, self.evaluation.lineage, "rematerialize the evaluation")


def serving_target(spec: ModelSpec) -> Target:
    """The target that this spec is compressed for and served on (``this-machine`` resolved by CPU flags)."""
    from rankops.compression.targets import detect_target

    return detect_target() if spec.serving.target == "this-machine" else spec.serving.target


def build(
    store: ArtifactStore, spec: ModelSpec, inputs: QuantizedInputs, progress: Progress
) -> tuple[StoredArtifact, bool]:
    """Compress the checkpoint for its serving target and judge the result; the store remembers it by its inputs."""
    inputs.check()
    target = serving_target(spec)
    key = digest_of(
        {
            "checkpoint": inputs.checkpoint.digest,
            "evaluation": inputs.evaluation.digest,
            "target": target,
            "compression": spec.compression.model_dump(mode="json"),
            "gates": spec.gates.model_dump(mode="json"),
            "measurement": _measurement_digest(spec),
            "code": 5,
        }
    )

    def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
        facts = _compress_and_judge(store, spec, inputs, target, out, progress)
        chain = {"dataset": inputs.dataset.digest, "checkpoint": inputs.checkpoint.digest}
        return {"model": spec.name, "evaluation": inputs.evaluation.digest, **chain}, facts

    return store.find_or_make("artifact", key, make)


def measured_check(report: CompressionReport, artifact: Path) -> GateCheck:
    """Whether latencies of the target decided; a release for hardware that nobody measured is a guess."""
    from rankops.evaluation.gate import GateCheck

    if report.measured:
        told = f"The rungs were measured on {report.target}: {report.measured_on or report.machine}."
    else:
        told = (
            f"No rung was ever measured on {report.target}: run `rankops measure {artifact} --out FILE` with this "
            f"artifact on such a machine, set compression.measurement of {report.model} to the file, and rematerialize."
        )
    measured = report.measured
    return GateCheck(name="target-measured", passed=measured, measured=float(measured), bound=1.0, explanation=told)


def _measurement_digest(spec: ModelSpec) -> str | None:
    """Which measurement the ladder will read: another content is another artifact."""
    path = Path(spec.compression.measurement) if spec.compression.measurement else None
    return sha256_file(path) if path is not None and path.is_file() else None


def _compress_and_judge(
    store: ArtifactStore, spec: ModelSpec, inputs: QuantizedInputs, target: Target, out: Path, progress: Progress
) -> dict[str, Any]:
    stage = task_stage(spec.task)
    dataset = stage.view(load_dataset(store.local_path(inputs.dataset)), spec)
    held_out = HeldOut(dataset, store.local_path(inputs.evaluation), spec, progress)
    report = stage.compress(
        store.local_path(inputs.checkpoint),
        dataset,
        spec,
        target,
        out,
        refusal=held_out.refusal,
        progress=progress,
    )
    evidence = out / "evaluation"
    evidence.mkdir()
    evaluation, budget = held_out.judge(out, evidence)
    decision = budget.joined_by([measured_check(report, out)])
    return {
        "target": target,
        "rungs": [rung.model_dump(mode="json") for rung in report.rungs],
        "compression_gate": decision.model_dump(mode="json"),
        "gate": evaluation.decision.model_dump(mode="json"),
    }
