"""Climb a target's ladder: build every rung, measure it beside the checkpoint, keep the best.

The order of work keeps it to about a minute: parity and latency are cheap and come first for all rungs; relevance is
expensive and is measured from the fastest rung on, until no other can win.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rankops.compression.choose import TIE, Choice, choose, paired_difference
from rankops.compression.latency import latencies
from rankops.compression.measurement import CANDIDATES, Measurement, probe
from rankops.compression.parity import Parity
from rankops.compression.probe import Plan, Profile
from rankops.compression.reference import torch_threads
from rankops.compression.report import CompressionReport, RungResult
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.sampling import median_tokens, training_texts
from rankops.compression.subject import Subject, subject_of
from rankops.compression.targets import available_cores, can_measure, cpu_name, providers_for
from rankops.dataset import Dataset
from rankops.errors import BadInput, GateFailed, IntegrityError
from rankops.files import sha256_file, write_json
from rankops.specs import ModelSpec, Target

Score = Callable[[Any], np.ndarray]
"""From a model (an encoder or a cross-encoder, as the spec's task has it) to relevance per query."""
Progress = Callable[[str], None]
Refusal = Callable[[Path], str | None]
MODEL = "model.onnx"
_MB = 1e6
_HOPELESS = 2.5
"""Rungs that take this many times the fastest's time in the first round are not timed again."""


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
    with tempfile.TemporaryDirectory(prefix="rankops-ladder-") as scratch:
        ladder = _Ladder(checkpoint, dataset, spec, target, Path(scratch), subject, score, refusal, progress)
        ladder.measure_reference()
        for rung in ladder.rungs:
            ladder.build(rung)
        ladder.measure_latency()
        choice = ladder.choose()
        ladder.profile(choice)
        report = ladder.report(choice, time.perf_counter() - started)
        winner = ladder.built[report.winner]
        subject.write(out, winner.folder / MODEL, winner.rung.name)
        if not report.measured:
            ladder.carry(out)
    write_json(out / "compression.json", report.model_dump(mode="json"))
    return report


@dataclass
class _Built:
    """A rung that exists and computes what the checkpoint computes."""

    rung: Rung
    folder: Path
    model: Any
    parity: Parity
    per_second: float
    latency: np.ndarray | None = None
    scores: np.ndarray | None = None
    problem: str | None = None
    profile: Profile | None = None
    spared: tuple[str, ...] = ()


@dataclass
class _Ladder:
    checkpoint: Path
    dataset: Dataset
    spec: ModelSpec
    target: Target
    scratch: Path
    subject: Subject
    score: Score
    refusal: Refusal
    progress: Progress
    built: dict[str, _Built] = field(default_factory=dict)
    failed: dict[str, RungResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measured_here = can_measure(self.target)
        named = self.spec.compression.measurement
        self.measurement = Measurement.read(Path(named)) if named and not self.measured_here else None
        self.cost: dict[str, float] = {}
        self.student: Workshop | None = None
        self.rungs = rungs_for(
            self.target,
            thorough=self.spec.compression.ladder == "thorough",
            students=self.spec.compression.student is not None,
        )
        self.workshop = Workshop(
            self.checkpoint, self.scratch, self.target, self.subject.export_task, self.subject.texts
        )
        self.query_tokens = median_tokens(self.checkpoint / "tokenizer.json", self.subject.questions)
        self.reference = self.subject.reference()

    def measure_reference(self) -> None:
        """Outputs, throughput (one thread) and relevance of the fp32 checkpoint; export fails here, not in a rung."""
        self.progress(f"compress: {self.spec.name} for {self.target}: the checkpoint's relevance on dev")
        self.reference_scores = self._scores(self.reference)
        if self.reference_scores.mean() <= 0:
            raise BadInput("the checkpoint finds nothing relevant on the dev split", "train it, or look at the dataset")
        with torch_threads(1):
            self.reference_outputs, self.reference_speed = self.subject.outputs(self.reference)
        self.progress("compress: export to ONNX")
        self.workshop.export()

    def build(self, rung: Rung) -> None:
        """Build a rung and compare its outputs; a rung that fails is kept with its reason."""
        self.progress(f"compress: rung {rung.name}: {rung.what}")
        try:
            built = self._build(rung)
        except OSError:
            raise  # a full disk or a lost folder is not the rung's fault
        except Exception as error:  # noqa: BLE001 - Optimum and ONNX Runtime raise anything; recorded, never hidden
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            self.failed[rung.name] = self._lost(rung, f"could not be built: {reason}")
            return
        if problem := built.parity.problem():
            size = _megabytes(built.folder)
            self.failed[rung.name] = self._lost(rung, problem, size_mb=size, **built.parity.measures())
            return
        self.built[rung.name] = built

    def measure_latency(self) -> None:
        """Milliseconds per query of the checkpoint and of each rung, one thread, interleaved.

        Rungs far behind after the first round are not measured again.
        """
        if not self.built:
            raise GateFailed("no rung of the ladder works:\n" + self._reasons(), "fix the checkpoint; see each reason")
        questions, subject = self.subject.questions, self.subject
        self.progress(f"compress: latency of {len(questions)} queries on {len(self.built)} rungs and the checkpoint")
        models: dict[str, Any] = {"": self.reference} | {name: built.model for name, built in self.built.items()}
        with torch_threads(1):
            asks = {name: partial(subject.ask, model) for name, model in models.items()}
            taken = latencies(asks, questions, drop=_HOPELESS, keep=("",))
            self.batch_ms = {name: self._batch_ms(model) for name, model in models.items()}
        self.reference_latency = taken.pop("")
        for name, latency in taken.items():
            self.built[name].latency = latency

    def _batch_ms(self, model: Any) -> dict[str, float]:
        """Milliseconds a question, by how many are asked at once."""
        sizes = [size for size in self.subject.batches if size <= len(self.subject.questions)]
        taken = latencies({"": partial(self.subject.ask_many, model)}, sizes)[""].min(axis=0) if sizes else []
        return {str(size): float(ms) / size for size, ms in zip(sizes, taken, strict=True)}

    def choose(self) -> Choice:
        """The winner by latency here, or as measured on the target; else the declared order stands in for it."""
        if self.measured_here:
            cost = {name: _p(built.latency, 50) for name, built in self.built.items()}
        elif self.measurement is not None:
            digests = {name: sha256_file(built.folder / MODEL) for name, built in self.built.items()}
            cost = self.measurement.costs(self.spec.name, self.target, digests)
        else:
            cost = {name: 2.0**place for place, name in enumerate(self.built)}
        self.cost = cost
        fidelity = {name: built.parity.fidelity for name, built in self.built.items()}
        thorough = self.spec.compression.ladder == "thorough"
        budget = self.spec.compression.quality_budget
        choice = choose(cost, fidelity, self._loss, budget, all_of_them=thorough)
        if choice.winner is None:
            for name, loss in choice.losses.items():
                self.built[name].problem = self.built[name].problem or f"loses {loss:.2%} of relevance"
            raise GateFailed(
                f"no rung keeps within the quality budget of {budget:.2%}:\n{self._reasons()}",
                "raise compression.quality_budget, or train a checkpoint that compresses better",
            )
        return choice

    def profile(self, choice: Choice) -> None:
        """Load time, memory and latency by batch and length of the finalists: what was scored, and what fp32 costs."""
        names = [name for name in self.built if name in choice.losses or self.built[name].rung.precision == "fp32"]
        plan = Plan(lengths=tuple(sorted({self.query_tokens, 8, 16, 32})), providers=providers_for(self.target))
        if self.spec.compression.ladder == "quick":
            names = _finalists(choice, names)
            plan = plan.model_copy(
                update={"seconds": 0.05, "batches": (1, 8), "lengths": tuple(sorted({self.query_tokens, 16, 32}))}
            )
        for name in names:
            self.progress(f"compress: memory and latency by batch and length of {name}")
            self.built[name].profile = probe(self.built[name].folder / MODEL, plan)

    def carry(self, out: Path) -> None:
        """Put every rung that could win beside the artifact, for ``rankops measure`` on the target."""
        for name, built in self.built.items():
            (out / CANDIDATES / name).mkdir(parents=True)
            shutil.copyfile(built.folder / MODEL, out / CANDIDATES / name / MODEL)

    def report(self, choice: Choice, seconds: float) -> CompressionReport:
        """Every rung in declared order, with why it won or lost."""
        rows = [
            self._result(self.built[rung.name], choice) if rung.name in self.built else self.failed[rung.name]
            for rung in self.rungs
        ]
        return CompressionReport(
            model=self.spec.name,
            target=self.target,
            winner=str(choice.winner),
            quality_budget=self.spec.compression.quality_budget,
            reference=self._reference_result(),
            rungs=rows,
            dev_queries=len(self.reference_scores),
            measured_here=self.measured_here,
            measured_on=self.measurement.machine if self.measurement and not self.measured_here else None,
            query_tokens=self.query_tokens,
            machine=cpu_name(),
            seconds=round(seconds, 1),
            versions={name: version(name) for name in ("onnxruntime", "optimum", "optimum-onnx", "torch")},
        )

    def _build(self, rung: Rung) -> _Built:
        workshop = self._students_workshop() if rung.student else self.workshop
        folder = self.subject.write(self.scratch / "artifacts" / rung.name, workshop.build(rung), rung.name)
        model = self.subject.open(folder)
        outputs, per_second = self.subject.outputs(model)
        parity = self.subject.compare(self.reference_outputs, outputs)
        spared = workshop.spared.get(rung.name, ())
        return _Built(rung, folder, model, parity, per_second, spared=spared)

    def _students_workshop(self) -> Workshop:
        """The workshop of the student, which is made when its first rung is built."""
        if self.student is None and (asked := self.spec.compression.student) is not None:
            from rankops.compression.student import make_student

            texts = training_texts(self.dataset, asked.texts)
            place = make_student(self.checkpoint, self.scratch / "student", asked, texts, self.progress)
            scratch = self.scratch / "student-graphs"
            scratch.mkdir()
            task, texts = self.subject.export_task, self.subject.texts
            self.student = Workshop(place, scratch, self.target, task, texts)
        if self.student is None:
            raise BadInput("this rung needs a student", "set compression.student")
        return self.student

    def _scores(self, model: Any) -> np.ndarray:
        scores = np.asarray(self.score(model), dtype=np.float64)
        if scores.ndim != 1 or len(scores) == 0 or not np.isfinite(scores).all():
            raise BadInput("score() must return one finite number per dev query", "look at the dev judgements")
        return scores

    def _loss(self, name: str) -> float:
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

    def _result(self, built: _Built, choice: Choice) -> RungResult:
        name = built.rung.name
        measured: dict[str, Any] = {
            "size_mb": _megabytes(built.folder),
            "p50_ms": _p(built.latency, 50),
            "p95_ms": _p(built.latency, 95),
            "p99_ms": _p(built.latency, 99),
            "spared": built.spared,
            "products_per_second": built.per_second,
            "batch_ms": self.batch_ms[name],
            **built.parity.measures(),
        }
        if built.profile is not None:
            measured |= {"load_ms": built.profile.load_ms, "peak_mb": built.profile.peak_mb}
            measured |= {"grid": built.profile.points}
        if built.scores is not None:
            difference, interval = paired_difference(built.scores, self.reference_scores)
            measured |= {
                "relevance": float(built.scores.mean()),
                "difference": difference,
                "interval": interval,
                "loss_share": -difference / float(self.reference_scores.mean()),
            }
        won = name == choice.winner
        return RungResult(
            name=name,
            what=built.rung.what,
            verdict="won" if won else "lost",
            reason=self._why_won(choice) if won else self._why_lost(built, choice),
            **measured,
        )

    def _why_won(self, choice: Choice) -> str:
        budget = self.spec.compression.quality_budget
        if self.measured_here:
            basis = "fastest"
        elif self.measurement is not None:
            basis = f"fastest ({self.cost[str(choice.winner)]:.2f} ms a query on {self.measurement.machine})"
        else:
            basis = f"first in order (no {self.target} here to measure on)"
        return f"{basis} within the quality budget of {budget:.2%}; of equally fast rungs the most faithful"

    def _why_lost(self, built: _Built, choice: Choice) -> str:
        if built.problem:
            return built.problem
        winner = self.built[str(choice.winner)]
        if (loss := choice.losses.get(built.rung.name)) is None:
            if not (self.measured_here or self.measurement):
                return f"after {winner.rung.name} in order; relevance not measured"
            ratio = self.cost[built.rung.name] / self.cost[winner.rung.name]
            return f"{ratio:.2f} times the winner's latency{self._against_float(built)}; relevance not measured"
        if loss > self.spec.compression.quality_budget:
            return f"loses {loss:.2%} of relevance, budget {self.spec.compression.quality_budget:.2%}"
        ratio = self.cost[built.rung.name] / self.cost[winner.rung.name]
        if ratio > TIE:
            return f"{ratio:.2f} times the winner's latency{self._against_float(built)}"
        return "as fast as the winner (within 5 %), but further from the checkpoint"

    def _against_float(self, built: _Built) -> str:
        """What to say of an int8 or fp16 rung that the plain model beats: it makes answers worse and slower."""
        floats = [self.cost[name] for name, other in self.built.items() if other.rung.precision == "fp32"]
        if built.rung.precision == "fp32" or not floats or self.cost[built.rung.name] <= min(floats):
            return ""
        return f", slower than fp32 ({self.cost[built.rung.name]:.2f} against {min(floats):.2f} ms)"

    def _reference_result(self) -> RungResult:
        weights = sum(path.stat().st_size for path in self.checkpoint.glob("*.safetensors"))
        return RungResult(
            name="checkpoint",
            what=self.subject.what,
            size_mb=weights / _MB,
            p50_ms=_p(self.reference_latency, 50),
            p95_ms=_p(self.reference_latency, 95),
            p99_ms=_p(self.reference_latency, 99),
            products_per_second=self.reference_speed,
            batch_ms=self.batch_ms[""],
            relevance=float(self.reference_scores.mean()),
            verdict="reference",
            reason="what every rung is compared with",
        )

    @staticmethod
    def _lost(rung: Rung, reason: str, **measured: Any) -> RungResult:
        return RungResult(name=rung.name, what=rung.what, verdict="lost", reason=reason, **measured)

    def _reasons(self) -> str:
        lines = [f"  {name}: {row.reason}" for name, row in self.failed.items()]
        return "\n".join(lines + [f"  {name}: {built.problem}" for name, built in self.built.items()])


def _finalists(choice: Choice, names: list[str]) -> list[str]:
    """The winner, and the plain model that it is compared with."""
    return [name for name in names if name in (choice.winner, "fp32")]


def _megabytes(folder: Path) -> float:
    return (folder / MODEL).stat().st_size / _MB


def _p(values: np.ndarray | None, percent: float) -> float:
    """A percentile over queries of ``(rounds, queries)`` milliseconds, of each query's best round.

    The best round is the one that the rest of the machine disturbed least (as ``timeit`` has it).
    """
    assert values is not None, "latency is measured before it is read"  # noqa: S101 - an invariant of compress()
    return float(np.percentile(values.min(axis=0), percent))
