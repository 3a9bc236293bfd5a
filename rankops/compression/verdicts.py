"""The rows of a ladder's report: what was measured of each rung, and why it won or lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankops.compression.candidates import MB, Candidate, Candidates
from rankops.compression.choose import TIE, Choice, paired_difference
from rankops.compression.measurement import Measurement
from rankops.compression.report import RungResult


@dataclass(frozen=True)
class Verdicts:
    """``cost``: latency or rank of each built rung, which ``choice`` went by.

    ``measured_here``: the target is this machine; otherwise ``measurement`` was made on one, and without it the
    declared order stood in for latency.
    """

    candidates: Candidates
    choice: Choice
    cost: dict[str, float]
    measured_here: bool
    measurement: Measurement | None

    def rows(self) -> list[RungResult]:
        """Every rung in declared order, with why it won or lost."""
        built, failed = self.candidates.built, self.candidates.failed
        names = [rung.name for rung in self.candidates.rungs]
        return [self._row(built[name]) if name in built else failed[name] for name in names]

    def reference_row(self) -> RungResult:
        """The checkpoint, which has no verdict."""
        reference = self.candidates.reference
        weights = sum(path.stat().st_size for path in self.candidates.checkpoint.glob("*.safetensors"))
        return RungResult(
            name="checkpoint",
            what=self.candidates.subject.what,
            size_mb=weights / MB,
            p50_ms=reference.percentile(50),
            p95_ms=reference.percentile(95),
            p99_ms=reference.percentile(99),
            products_per_second=reference.per_second,
            batch_ms=reference.batch_ms,
            relevance=float(self.candidates.reference_scores.mean()),
            verdict="reference",
            reason="what every rung is compared with",
        )

    @property
    def _budget(self) -> float:
        return self.candidates.spec.compression.quality_budget

    def _row(self, built: Candidate) -> RungResult:
        measured: dict[str, Any] = {
            "size_mb": built.megabytes,
            "p50_ms": built.percentile(50),
            "p95_ms": built.percentile(95),
            "p99_ms": built.percentile(99),
            "spared": built.spared,
            "products_per_second": built.per_second,
            "batch_ms": built.batch_ms,
            **built.parity.measures(),
        }
        if built.profile is not None:
            measured |= {"load_ms": built.profile.load_ms, "peak_mb": built.profile.peak_mb}
            measured |= {"grid": built.profile.points}
        if built.scores is not None:
            reference = self.candidates.reference_scores
            difference, interval = paired_difference(built.scores, reference)
            measured |= {
                "relevance": float(built.scores.mean()),
                "difference": difference,
                "interval": interval,
                "loss_share": (0.0 - difference) / float(reference.mean()),
            }
        won = built.rung.name == self.choice.winner
        return RungResult(
            name=built.rung.name,
            what=built.rung.what,
            verdict="won" if won else "lost",
            reason=self._why_won() if won else self._why_lost(built),
            **measured,
        )

    def _why_won(self) -> str:
        if self.measured_here:
            basis = "fastest"
        elif self.measurement is not None:
            basis = f"fastest ({self.cost[str(self.choice.winner)]:.2f} ms a query on {self.measurement.machine})"
        else:
            basis = f"first in order (no {self.candidates.target} here to measure on)"
        return f"{basis} within the quality budget of {self._budget:.2%}; of equally fast rungs the most faithful"

    def _why_lost(self, built: Candidate) -> str:
        if built.problem:
            return built.problem
        winner = str(self.choice.winner)
        ratio = self.cost[built.rung.name] / self.cost[winner]
        if (loss := self.choice.losses.get(built.rung.name)) is None:
            if not (self.measured_here or self.measurement):
                return f"after {winner} in order; relevance not measured"
            return f"{ratio:.2f} times the winner's latency{self._against_float(built)}; relevance not measured"
        if loss > self._budget:
            return f"loses {loss:.2%} of relevance, budget {self._budget:.2%}"
        if ratio > TIE:
            return f"{ratio:.2f} times the winner's latency{self._against_float(built)}"
        return "as fast as the winner (within 5 %), but further from the checkpoint"

    def _against_float(self, built: Candidate) -> str:
        """What to say of an int8 or fp16 rung that the plain model beats: it makes answers worse and slower."""
        others = self.candidates.built.items()
        floats = [self.cost[name] for name, other in others if other.rung.precision == "fp32"]
        if built.rung.precision == "fp32" or not floats or self.cost[built.rung.name] <= min(floats):
            return ""
        return f", slower than fp32 ({self.cost[built.rung.name]:.2f} against {min(floats):.2f} ms)"
