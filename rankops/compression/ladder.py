"""Climb a target's ladder: build every rung, measure it beside the checkpoint, keep the best.

The order of work keeps it to about a minute: parity and latency are cheap and come first for all rungs; relevance is
expensive and is measured from the fastest rung on, until no other can win.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rankops.compression.candidates import MODEL, Candidates, Progress, Refusal, Score
from rankops.compression.choose import Choice, choose
from rankops.compression.measurement import CANDIDATES, Measurement, probe
from rankops.compression.probe import Plan
from rankops.compression.report import CompressionReport
from rankops.compression.sampling import median_tokens
from rankops.compression.subject import subject_of
from rankops.compression.targets import can_measure, cpu_name, providers_for
from rankops.compression.verdicts import Verdicts
from rankops.dataset import Dataset
from rankops.errors import GateFailed
from rankops.files import sha256_file, write_json
from rankops.specs import ModelSpec, Target


def compress(
    checkpoint: Path,
    dataset: Dataset,
    spec: ModelSpec,
    target: Target,
    out: Path,
    *,
    score: Score,
    refusal: Refusal = lambda _: None,
    progress: Progress = lambda _: None,
) -> CompressionReport:
    """Write the winning artifact of ``checkpoint`` and ``compression.json`` into ``out`` and return the report.

    ``score`` returns relevance per query (float, same queries and order for each model). ``refusal`` is given a rung's
    folder and may say why it must not win though it is inside the budget (None: it may); it is asked only after
    ``score``, so it can move the choice towards more faithful rungs and never towards a better score. Rungs that
    cannot be built, or are broken, lose with a reason. Raises :class:`BadInput` for a folder that is no checkpoint
    and :class:`GateFailed` when no rung stays inside ``spec.compression.quality_budget``.
    """
    started = time.perf_counter()
    subject = subject_of(checkpoint, dataset, spec, target)
    measurement = _measurement(spec, target)
    with tempfile.TemporaryDirectory(prefix="rankops-ladder-") as scratch:
        rungs = Candidates(checkpoint, dataset, spec, target, Path(scratch), subject, score, refusal, progress)
        query_tokens = median_tokens(checkpoint / "tokenizer.json", subject.questions)
        rungs.measure_reference()
        for rung in rungs.rungs:
            rungs.build(rung)
        rungs.measure_latency()
        cost = _costs(rungs, measurement)
        choice = _choose(rungs, cost)
        _profile(rungs, choice, query_tokens)
        verdicts = Verdicts(rungs, choice, cost, can_measure(target), measurement)
        report = _report(verdicts, query_tokens, time.perf_counter() - started)
        winner = rungs.built[report.winner]
        subject.write(out, winner.folder / MODEL, winner.rung.name)
        if not report.measured:
            _carry(rungs, out)
    write_json(out / "compression.json", report.model_dump(mode="json"))
    return report


def _measurement(spec: ModelSpec, target: Target) -> Measurement | None:
    """What was measured on the target, where this machine is not one."""
    named = spec.compression.measurement
    return Measurement.read(Path(named)) if named and not can_measure(target) else None


def _costs(rungs: Candidates, measurement: Measurement | None) -> dict[str, float]:
    """Median latency here, or as measured on the target; else the declared order stands in for it."""
    if can_measure(rungs.target):
        return {name: built.percentile(50) for name, built in rungs.built.items()}
    if measurement is not None:
        digests = {name: sha256_file(built.folder / MODEL) for name, built in rungs.built.items()}
        return measurement.costs(rungs.spec.name, rungs.target, digests)
    return {name: 2.0**place for place, name in enumerate(rungs.built)}


def _choose(rungs: Candidates, cost: dict[str, float]) -> Choice:
    fidelity = {name: built.parity.fidelity for name, built in rungs.built.items()}
    compression = rungs.spec.compression
    budget = compression.quality_budget
    choice = choose(cost, fidelity, rungs.loss, budget, all_of_them=compression.ladder == "thorough")
    if choice.winner is None:
        for name, loss in choice.losses.items():
            rungs.built[name].problem = rungs.built[name].problem or f"loses {loss:.2%} of relevance"
        raise GateFailed(
            f"no rung keeps within the quality budget of {budget:.2%}:\n{rungs.reasons()}",
            "raise compression.quality_budget, or train a checkpoint that compresses better",
        )
    return choice


def _profile(rungs: Candidates, choice: Choice, query_tokens: int) -> None:
    """Load time, memory and latency by batch and length of the finalists: what was scored, and what fp32 costs.

    The quick ladder looks at the winner and the plain model only, and less closely.
    """
    names = [name for name, built in rungs.built.items() if name in choice.losses or built.rung.precision == "fp32"]
    plan = Plan(lengths=tuple(sorted({query_tokens, 8, 16, 32})), providers=providers_for(rungs.target))
    if rungs.spec.compression.ladder == "quick":
        names = [name for name in names if name in (choice.winner, "fp32")]
        plan = plan.model_copy(
            update={"seconds": 0.05, "batches": (1, 8), "lengths": tuple(sorted({query_tokens, 16, 32}))}
        )
    for name in names:
        rungs.progress(f"compress: memory and latency by batch and length of {name}")
        rungs.built[name].profile = probe(rungs.built[name].folder / MODEL, plan)


def _report(verdicts: Verdicts, query_tokens: int, seconds: float) -> CompressionReport:
    rungs, measurement = verdicts.candidates, verdicts.measurement
    return CompressionReport(
        model=rungs.spec.name,
        target=rungs.target,
        winner=str(verdicts.choice.winner),
        quality_budget=rungs.spec.compression.quality_budget,
        reference=verdicts.reference_row(),
        rungs=verdicts.rows(),
        dev_queries=len(rungs.reference_scores),
        measured_here=verdicts.measured_here,
        measured_on=measurement.machine if measurement else None,
        query_tokens=query_tokens,
        machine=cpu_name(),
        seconds=round(seconds, 1),
        versions={name: version(name) for name in ("onnxruntime", "optimum", "optimum-onnx", "torch")},
    )


def _carry(rungs: Candidates, out: Path) -> None:
    """Put every rung that could win beside the artifact, for ``rankops measure`` on the target."""
    for name, built in rungs.built.items():
        (out / CANDIDATES / name).mkdir(parents=True)
        shutil.copyfile(built.folder / MODEL, out / CANDIDATES / name / MODEL)
