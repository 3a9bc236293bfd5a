"""The candidates of a ladder: every rung, built, compared with the checkpoint's outputs, and timed beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rankops.compression.latency import latencies
from rankops.compression.parity import Parity
from rankops.compression.probe import Profile
from rankops.compression.reference import torch_threads
from rankops.compression.report import RungResult
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.sampling import training_texts
from rankops.compression.subject import Subject
from rankops.compression.targets import available_cores
from rankops.dataset import Dataset
from rankops.errors import BadInput, GateFailed, IntegrityError
from rankops.specs import ModelSpec, Target

Score = Callable[[Any], np.ndarray]
"""From a model (an encoder or a cross-encoder, as the spec's task has it) to relevance per query."""
Progress = Callable[[str], None]
Refusal = Callable[[Path], str | None]
MODEL = "model.onnx"
MB = 1e6
_HOPELESS = 2.5
"""Rungs that take this many times the fastest's time in the first round are not timed again."""


@dataclass
class Measured:
    """What is measured of the checkpoint and of every candidate alike.

    ``latency``: ``(rounds, queries)`` milliseconds; ``scores``: relevance per query, None where it was not asked for;
    ``per_second``: sample texts a second on one thread; ``batch_ms``: milliseconds a question, by batch size.
    """

    model: Any
    per_second: float
    latency: np.ndarray | None = None
    scores: np.ndarray | None = None
    batch_ms: dict[str, float] = field(default_factory=dict)

    def percentile(self, percent: float) -> float:
        """A percentile over queries of each query's best round.

        The best round is the one that the rest of the machine disturbed least (as ``timeit`` has it).
        """
        assert self.latency is not None, "latency is measured before it is read"  # noqa: S101 - compress() has the order
        return float(np.percentile(self.latency.min(axis=0), percent))


@dataclass
class Candidate(Measured):
    """A rung that exists and computes what the checkpoint computes. ``problem``: why it must not win after all."""

    rung: Rung = field(kw_only=True)
    folder: Path = field(kw_only=True)
    parity: Parity = field(kw_only=True)
    spared: tuple[str, ...] = ()
    problem: str | None = None
    profile: Profile | None = None

    @property
    def megabytes(self) -> float:
        """Size of the graph."""
        return (self.folder / MODEL).stat().st_size / MB


@dataclass
class Candidates:
    """The rungs of a spec's ladder for a target. Use: ``measure_reference``, ``build`` each, ``measure_latency``."""

    checkpoint: Path
    dataset: Dataset
    spec: ModelSpec
    target: Target
    scratch: Path
    subject: Subject
    score: Score
    refusal: Refusal
    progress: Progress
    built: dict[str, Candidate] = field(default_factory=dict)
    failed: dict[str, RungResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        compression = self.spec.compression
        self.rungs = rungs_for(
            self.target, thorough=compression.ladder == "thorough", students=compression.student is not None
        )
        self._student: Workshop | None = None
        self._workshop = Workshop(
            self.checkpoint, self.scratch, self.target, self.subject.export_task, self.subject.texts
        )
        self.reference = Measured(self.subject.reference(), per_second=0.0)

    def measure_reference(self) -> None:
        """Outputs, throughput (one thread) and relevance of the fp32 checkpoint; export fails here, not in a rung."""
        self.progress(f"compress: {self.spec.name} for {self.target}: the checkpoint's relevance on dev")
        self.reference_scores = self.reference.scores = self._scores(self.reference.model)
        if self.reference_scores.mean() <= 0:
            raise BadInput("the checkpoint finds nothing relevant on the dev split", "train it, or look at the dataset")
        with torch_threads(1):
            self._reference_outputs, self.reference.per_second = self.subject.outputs(self.reference.model)
        self.progress("compress: export to ONNX")
        self._workshop.export()

    def build(self, rung: Rung) -> None:
        """Build a rung and compare its outputs; a rung that fails is kept with its reason."""
        self.progress(f"compress: rung {rung.name}: {rung.what}")
        try:
            built = self._build(rung)
        except OSError:
            raise  # a full disk or a lost folder is not the rung's fault
        except Exception as error:  # noqa: BLE001 - Optimum and ONNX Runtime raise anything; recorded, never hidden
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            self.failed[rung.name] = _lost(rung, f"could not be built: {reason}")
            return
        if problem := built.parity.problem():
            measures = {"size_mb": built.megabytes, **built.parity.measures()}
            self.failed[rung.name] = _lost(rung, problem, **measures)
            return
        self.built[rung.name] = built

    def measure_latency(self) -> None:
        """Milliseconds per query of the checkpoint and of each rung, one thread, interleaved.

        Rungs far behind after the first round are not measured again.
        """
        if not self.built:
            raise GateFailed("no rung of the ladder works:\n" + self.reasons(), "fix the checkpoint; see each reason")
        questions, subject = self.subject.questions, self.subject
        self.progress(f"compress: latency of {len(questions)} queries on {len(self.built)} rungs and the checkpoint")
        everyone: dict[str, Measured] = {"": self.reference, **self.built}
        with torch_threads(1):
            asks = {name: partial(subject.ask, measured.model) for name, measured in everyone.items()}
            taken = latencies(asks, questions, drop=_HOPELESS, keep=("",))
            for name, measured in everyone.items():
                measured.latency = taken[name]
                measured.batch_ms = self._batch_ms(measured.model)

    def loss(self, name: str) -> float:
        """Share of the checkpoint's mean relevance that the rung loses; infinite for a rung that breaks on the way."""
        built = self.built[name]
        self.progress(f"compress: relevance of {name} on dev")
        try:
            built.scores = self._scores(self.subject.open(built.folder, threads=available_cores()))
        except IntegrityError as error:
            built.problem = error.problem
            return float("inf")
        reference = float(self.reference_scores.mean())
        loss = (reference - float(built.scores.mean())) / reference
        if loss <= self.spec.compression.quality_budget and (reason := self.refusal(built.folder)) is not None:
            built.problem = reason
            return float("inf")
        return loss

    def reasons(self) -> str:
        """Why each rung lost, one a line."""
        lines = [f"  {name}: {row.reason}" for name, row in self.failed.items()]
        return "\n".join(lines + [f"  {name}: {built.problem}" for name, built in self.built.items()])

    def _build(self, rung: Rung) -> Candidate:
        workshop = self._students_workshop() if rung.student else self._workshop
        folder = self.subject.write(self.scratch / "artifacts" / rung.name, workshop.build(rung), rung.name)
        model = self.subject.open(folder)
        outputs, per_second = self.subject.outputs(model)
        parity = self.subject.compare(self._reference_outputs, outputs)
        spared = workshop.spared.get(rung.name, ())
        return Candidate(model, per_second, rung=rung, folder=folder, parity=parity, spared=spared)

    def _students_workshop(self) -> Workshop:
        """The workshop of the student, which is made when its first rung is built."""
        if self._student is None and (asked := self.spec.compression.student) is not None:
            from rankops.compression.student import make_student

            texts = training_texts(self.dataset, asked.texts)
            place = make_student(self.checkpoint, self.scratch / "student", asked, texts, self.progress)
            scratch = self.scratch / "student-graphs"
            scratch.mkdir()
            task, texts = self.subject.export_task, self.subject.texts
            self._student = Workshop(place, scratch, self.target, task, texts)
        if self._student is None:
            raise BadInput("this rung needs a student", "set compression.student")
        return self._student

    def _batch_ms(self, model: Any) -> dict[str, float]:
        """Milliseconds a question, by how many are asked at once."""
        sizes = [size for size in self.subject.batches if size <= len(self.subject.questions)]
        taken = latencies({"": partial(self.subject.ask_many, model)}, sizes)[""].min(axis=0) if sizes else []
        return {str(size): float(ms) / size for size, ms in zip(sizes, taken, strict=True)}

    def _scores(self, model: Any) -> np.ndarray:
        scores = np.asarray(self.score(model), dtype=np.float64)
        if scores.ndim != 1 or len(scores) == 0 or not np.isfinite(scores).all():
            raise BadInput("score() must return one finite number per dev query", "look at the dev judgements")
        return scores


def _lost(rung: Rung, reason: str, **measured: Any) -> RungResult:
    return RungResult(name=rung.name, what=rung.what, verdict="lost", reason=reason, **measured)
