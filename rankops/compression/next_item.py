"""The ladder of a next-item model: fewer neighbours, smaller numbers.

There is no graph to optimize: the time of an answer is the links it adds up, the memory is the links it holds. The
rungs therefore store weights as float32, float16 or int8 (one scale a product) and keep fewer neighbours; each is
measured as the others are, and the fastest inside the quality budget wins. Where the model has a sequential part, each
of these is tried with it in float32 and in int8 (:mod:`rankops.compression.sequence`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rankops.compression.choose import Choice, choose, paired_difference
from rankops.compression.report import CompressionReport, RungResult
from rankops.compression.sequence import FLOAT32, FORMS, export_forms
from rankops.compression.targets import can_measure, cpu_name
from rankops.errors import BadInput, GateFailed
from rankops.files import write_json
from rankops.next_item import NextItemModel
from rankops.sequence import SequenceScorer
from rankops.specs import ModelSpec, Target

Progress = Callable[[str], None]
Score = Callable[[NextItemModel], np.ndarray]
_ROUNDS = 5
_MB = 1e6


@dataclass(frozen=True)
class Rung:
    """How a rung stores its links: numpy type and share of the neighbours; and its sequential part, if any."""

    name: str
    what: str
    storage: str
    share: float
    sequence: str = FLOAT32


RUNGS = (
    Rung("float32", "weights as they were fitted", "float32", 1.0),
    Rung("float16", "weights as float16", "float16", 1.0),
    Rung("int8", "weights as int8, one scale a product", "int8", 1.0),
    Rung("int8-half", "int8, the stronger half of the neighbours", "int8", 0.5),
    Rung("int8-quarter", "int8, the strongest quarter of the neighbours", "int8", 0.25),
)


def rungs_of(model: NextItemModel) -> tuple[Rung, ...]:
    """Those of the links; with a sequential part, each once a form of that."""
    if model.sequence is None:
        return RUNGS
    named = ((rung, form, "" if form == FLOAT32 else f"+sequence-{form}") for form in FORMS for rung in RUNGS)
    return tuple(
        replace(rung, name=f"{rung.name}{more}", what=f"{rung.what}; sequence as {form}", sequence=form)
        for rung, form, more in named
    )


def build_rung(model: NextItemModel, rung: Rung, forms: Mapping[str, SequenceScorer] | None = None) -> NextItemModel:
    """The model as this rung stores it. Links are in order of strength, so that fewer are a prefix; ``forms`` are
    those of the sequential part."""
    keep = max(1, int(model.neighbours.shape[1] * rung.share))
    weights = model.weights[:, :keep].astype(np.float32)
    scales = np.ones(len(model.ids), np.float32)
    stored: np.ndarray = weights.astype(rung.storage) if rung.storage != "int8" else weights
    if rung.storage == "int8":
        scales = np.maximum(np.abs(weights).max(axis=1), 1e-12).astype(np.float32) / np.float32(127)
        stored = np.clip(np.round(weights / scales[:, None]), -127, 127).astype(np.int8)
    config = replace(model.config, storage=rung.storage, neighbours=keep)
    return replace(
        model,
        config=config,
        neighbours=np.ascontiguousarray(model.neighbours[:, :keep]),
        weights=stored,
        scales=scales,
        sequence=(forms or {}).get(rung.sequence),
    )


def _forms(model: NextItemModel, target: Target, scratch: Path) -> dict[str, SequenceScorer]:
    if model.sequence is None:
        return {}
    from rankops.torch_sequence import TorchSequence

    if not isinstance(model.sequence, TorchSequence):
        raise BadInput("only a checkpoint is compressed, this is an artifact", "give the checkpoint's folder")
    scratch.mkdir()
    return {**export_forms(model.sequence, len(model.ids), target, scratch)}


def compress_next_item(
    checkpoint: Path,
    contexts: Sequence[Sequence[str]],
    spec: ModelSpec,
    target: Target,
    out: Path,
    *,
    score: Score,
    refusal: Callable[[Path], str | None],
    progress: Progress,
) -> CompressionReport:
    """Write the winning rung and ``compression.json`` into ``out`` and return the report.

    ``contexts`` are what latency is measured on; ``score`` gives relevance per dev question; ``refusal`` may say why
    the rung in a folder must not win. Raises :class:`GateFailed` where no rung stays inside the quality budget.
    """
    started = time.perf_counter()
    from rankops.torch_sequence import load_checkpoint

    model = load_checkpoint(checkpoint)
    rungs = rungs_of(model)
    with tempfile.TemporaryDirectory(prefix="rankops-ladder-") as scratch:
        forms = _forms(model, target, Path(scratch) / "sequence")
        ladder = _Ladder(
            spec, score, refusal, progress, rungs, {rung.name: build_rung(model, rung, forms) for rung in rungs}
        )
        ladder.save(Path(scratch))
        ladder.measure(model, contexts)
        choice = ladder.choose()
        report = CompressionReport(
            model=spec.name,
            target=target,
            winner=str(choice.winner),
            quality_budget=spec.compression.quality_budget,
            reference=ladder.reference_row(),
            rungs=[ladder.row(rung, choice) for rung in rungs],
            dev_queries=len(ladder.reference),
            measured_here=can_measure(target),
            machine=cpu_name(),
            seconds=round(time.perf_counter() - started, 1),
            versions={name: version(name) for name in ("numpy", *(["onnxruntime"] if forms else []))},
        )
    out.mkdir(parents=True, exist_ok=True)
    ladder.built[report.winner].save(out)
    write_json(out / "compression.json", report.model_dump(mode="json"))
    return report


@dataclass
class _Ladder:
    spec: ModelSpec
    score: Score
    refusal: Callable[[Path], str | None]
    progress: Progress
    rungs: Sequence[Rung]
    built: dict[str, NextItemModel]
    folders: dict[str, Path] = field(default_factory=dict)
    latency: dict[str, np.ndarray] = field(default_factory=dict)
    reference: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)

    def save(self, scratch: Path) -> None:
        """Every rung as a folder, which is what may be refused."""
        for name, model in self.built.items():
            (scratch / name).mkdir()
            model.save(scratch / name)
            self.folders[name] = scratch / name

    def measure(self, model: NextItemModel, contexts: Sequence[Sequence[str]]) -> None:
        """Latency of all rungs, relevance of the checkpoint."""
        self.progress(f"compress: latency of {len(contexts)} contexts on {len(self.built)} rungs")
        self.latency = _latencies(self.built, contexts)
        self.reference = np.asarray(self.score(model), dtype=np.float64)
        if self.reference.mean() <= 0:
            raise BadInput("the checkpoint finds nothing on the dev days", "take more days, or look at the baskets")
        self.sizes = {name: _megabytes(folder) for name, folder in self.folders.items()}

    def choose(self) -> Choice:
        """The fastest rung inside the budget; among equals the one that changed least."""
        cost = {name: float(np.median(times)) for name, times in self.latency.items()}
        fidelity = {name: -float(place) for place, name in enumerate(self.built)}
        budget = self.spec.compression.quality_budget
        choice = choose(cost, fidelity, self._loss, budget)
        if choice.winner is None:
            reasons = self.problems or {name: f"loses {loss:.2%}" for name, loss in choice.losses.items()}
            raise GateFailed(
                f"no rung keeps within the quality budget of {budget:.2%}: {reasons}",
                "raise compression.quality_budget or recommendation.neighbours",
            )
        return choice

    def _loss(self, name: str) -> float:
        self.progress(f"compress: relevance of {name} on the dev days")
        self.scores[name] = np.asarray(self.score(self.built[name]), dtype=np.float64)
        share = float((self.reference.mean() - self.scores[name].mean()) / self.reference.mean())
        if share <= self.spec.compression.quality_budget and (reason := self.refusal(self.folders[name])) is not None:
            self.problems[name] = reason
            return float("inf")
        return share

    def reference_row(self) -> RungResult:
        """The checkpoint, which is what the first rung stores unchanged."""
        times = self.latency[self.rungs[0].name]
        return RungResult(
            name="checkpoint",
            what="float32, as fitted",
            size_mb=self.sizes[self.rungs[0].name],
            p50_ms=float(np.percentile(times, 50)),
            p95_ms=float(np.percentile(times, 95)),
            relevance=float(self.reference.mean()),
            verdict="reference",
            reason="what every rung is compared with",
        )

    def row(self, rung: Rung, choice: Choice) -> RungResult:
        """One rung, with why it won or lost."""
        times, scores = self.latency[rung.name], self.scores.get(rung.name)
        measured: dict[str, Any] = {
            "size_mb": self.sizes[rung.name],
            "p50_ms": float(np.percentile(times, 50)),
            "p95_ms": float(np.percentile(times, 95)),
        }
        if scores is not None:
            difference, interval = paired_difference(scores, self.reference)
            share = -difference / float(self.reference.mean())
            measured |= {"relevance": float(scores.mean()), "difference": difference, "interval": interval}
            measured["loss_share"] = share
        won = rung.name == choice.winner
        reason = f"fastest within the quality budget of {self.spec.compression.quality_budget:.2%}"
        return RungResult(
            name=rung.name,
            what=rung.what,
            verdict="won" if won else "lost",
            reason=reason if won else self._why_lost(rung, choice),
            **measured,
        )

    def _why_lost(self, rung: Rung, choice: Choice) -> str:
        if (problem := self.problems.get(rung.name)) is not None:
            return problem
        loss, budget = choice.losses.get(rung.name), self.spec.compression.quality_budget
        if loss is None:
            return "slower than the winner; relevance not measured"
        return f"loses {loss:.2%} of relevance, budget {budget:.2%}" if loss > budget else "as fast, further from it"


def _latencies(built: dict[str, NextItemModel], contexts: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Milliseconds of one recommendation, each context's best of some rounds; rungs take turns."""
    found = {name: np.full((_ROUNDS, len(contexts)), np.inf) for name in built}
    for turn in range(_ROUNDS):
        for name, model in built.items():
            for place, context in enumerate(contexts):
                begun = time.perf_counter()
                model.recommend(context, 20)
                found[name][turn, place] = (time.perf_counter() - begun) * 1e3
    return {name: times.min(axis=0) for name, times in found.items()}


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".npy", ".onnx")) / _MB
