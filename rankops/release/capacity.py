"""What a release's server was measured to carry: evidence in ``release.json``, and no part of the release digest."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class MeasuredSession(BaseModel):
    """How a release's model is best run: what its server does where no setting says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = Field(default=1, ge=1, le=64, description="cores of one run of the model")
    arena: bool = Field(default=True, description="whether working memory is kept between runs")
    tried: list[dict[str, Any]] = Field(
        default_factory=list, description="each other setting: its gain in throughput against one thread with an arena"
    )


class ReleaseCapacity(BaseModel):
    """Queries a second of one server process at the latency objective, and what it used there.

    ``queries_per_second`` is None where it could not be measured, and ``reason`` says why. Rates are of open-loop
    Poisson arrivals, latencies count from when a request was meant to be sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective_ms: float = Field(description="the latency objective")
    percent: float = Field(default=99.0, description="share of requests that must meet it, in percent; none may fail")
    target: str = Field(description="what the release was made for")
    queries_per_second: float | None = Field(default=None, description="largest rate that met the objective")
    interval: tuple[float, float | None] | None = Field(
        default=None, description="rate that always met it, and the smallest that missed it (None: none did)"
    )
    per_core: float | None = Field(default=None, description="queries_per_second / cores")
    cores: int = Field(default=1, ge=1, description="cores that the server was given")
    shared_cores: bool = Field(default=False, description="the load generator ran on the same cores")
    cores_used: float | None = Field(default=None, description="cores busy with the server at that rate")
    cpu_ms_per_query: float | None = None
    p50_ms: float | None = Field(default=None, description="at that rate, as p95_ms and p99_ms")
    p95_ms: float | None = None
    p99_ms: float | None = None
    p50_one_client_ms: float | None = Field(default=None, description="without a queue")
    memory_mb: float | None = Field(default=None, description="resident memory after the load (1e6 bytes)")
    memory_peak_mb: float | None = None
    memory_private_mb: float | None = Field(default=None, description="without mapped files")
    ready_seconds: float | None = Field(default=None, description="from start to ready")
    requests: int = Field(default=0, description="requests that were sent for this measurement")
    others_cores: float | None = Field(
        default=None, description="cores busy with other processes meanwhile: the figures are pessimistic by them"
    )
    send_lag_p99_ms: float | None = Field(default=None, description="how late the load generator itself was")
    stages: list[dict[str, Any]] = Field(
        default_factory=list, description="each rate that was tried: its p99, or why not"
    )
    observed: dict[str, float] = Field(
        default_factory=dict, description="what the server said of itself: mean ms by stage, batch size, refusals"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="server settings that differ from the defaults")
    session: MeasuredSession | None = Field(default=None, description="where other sessions of the model were tried")
    machine: str = ""
    seconds: float = Field(default=0.0, description="how long the measurement took")
    reason: str | None = Field(default=None, description="why nothing was measured")

    @property
    def measured(self) -> bool:
        """Whether there is a rate to plan with."""
        return bool(self.queries_per_second)

    def sentence(self) -> str:
        """One line for people."""
        goal = f"p{self.percent:g} <= {self.objective_ms:g} ms"
        if self.queries_per_second is None or self.per_core is None:
            return f"capacity was not measured: {self.reason}"
        if not self.queries_per_second:
            return f"no rate meets {goal}: {self.reason}"
        low, high = self.interval or (self.queries_per_second, None)
        within = f"at least {low:,.0f}" if high is None else f"interval {low:,.0f} to {high:,.0f}"
        return (
            f"{self.per_core:,.0f} queries/s per core at {goal} ({self.queries_per_second:,.0f} on {self.cores} "
            f"core{'s' if self.cores > 1 else ''}, {within})"
        )
