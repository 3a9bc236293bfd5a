"""What compression found out, as plain values: ``compression.json`` and what the UI shows are made of these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rankops.compression.probe import Point
from rankops.specs import Target


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RungResult(_Frozen):
    """One row of the ladder. None means: not measured, and ``reason`` says why.

    ``relevance`` is the mean over dev queries of what the ladder's ``score`` returns (nDCG@10, F1), ``difference`` the
    paired mean difference to the checkpoint with its 95 % bootstrap ``interval``, ``loss_share`` the part of the
    checkpoint's relevance that is lost (negative: won). Latencies are milliseconds a query (or pair), batch 1, one
    thread: percentiles over queries of each query's best round. ``products_per_second`` counts products encoded, or
    pairs scored. Vectors are compared by cosine and overlap, logits by correlation and largest difference.
    """

    name: str
    what: str
    size_mb: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    load_ms: float | None = None
    peak_mb: float | None = None
    grid: tuple[Point, ...] = Field(default=(), description="latency by texts at once and their length, of finalists")
    products_per_second: float | None = None
    relevance: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    loss_share: float | None = None
    cosine_mean: float | None = None
    cosine_worst: float | None = None
    top10_overlap: float | None = None
    correlation: float | None = None
    largest_difference: float | None = None
    batch_ms: dict[str, float] = Field(default_factory=dict, description="ms a pair, by pairs asked at once")
    spared: tuple[str, ...] = Field(default=(), description="matrices that are not in plain int8")
    verdict: Literal["won", "lost", "reference"]
    reason: str


class CompressionReport(_Frozen):
    """The ladder of one checkpoint on one target. ``reference`` is the checkpoint in PyTorch."""

    model: str
    target: Target
    winner: str
    quality_budget: float
    reference: RungResult
    rungs: list[RungResult]
    dev_queries: int
    measured_here: bool = Field(description="False: latencies are of another machine and did not decide")
    measured_on: str | None = Field(default=None, description="machine of an accepted measurement from elsewhere")
    query_tokens: int = Field(default=8, description="tokens of the median sample query (or pair)")
    machine: str
    seconds: float
    versions: dict[str, str]

    @property
    def measured(self) -> bool:
        """Whether latencies of the target decided: measured here, or there by ``rankops measure``."""
        return self.measured_here or self.measured_on is not None

    @property
    def won(self) -> RungResult:
        """The winner's row."""
        return next(rung for rung in self.rungs if rung.verdict == "won")

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the checkpoint in PyTorch the winner encodes a query (p50)."""
        if self.reference.p50_ms is None or self.won.p50_ms is None:
            return None
        return self.reference.p50_ms / self.won.p50_ms

    def facts(self) -> dict[str, float | str | bool]:
        """Small facts for lineage and UI metadata: plain numbers and text only."""
        won = self.won
        numbers: dict[str, float | None] = {
            "relevance": won.relevance,
            "loss_share": won.loss_share,
            "p50_ms": won.p50_ms,
            "p95_ms": won.p95_ms,
            "p99_ms": won.p99_ms,
            "load_ms": won.load_ms,
            "peak_mb": won.peak_mb,
            "size_mb": won.size_mb,
            "size_before_mb": self.reference.size_mb,
            "p50_before_ms": self.reference.p50_ms,
            "speedup": self.speedup,
            "cosine_mean": won.cosine_mean,
            "cosine_worst": won.cosine_worst,
            "correlation": won.correlation,
        }
        facts: dict[str, float | str | bool] = {name: value for name, value in numbers.items() if value is not None}
        return {"rung": self.winner, "target": self.target, "measured_here": self.measured_here, **facts}
