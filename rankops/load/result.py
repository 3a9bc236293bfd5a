"""What became of the requests of one stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rankops.load.histogram import LatencyHistogram


@dataclass
class StageResult:
    """One stage of load. Latencies count from when a request was *meant* to be sent, so that a server that stalls
    cannot make the generator ask less and look good (coordinated omission).

    ``latency`` holds answers with status 2xx, and requests that timed out with the time that they waited at least.
    ``lag`` is how much later than meant requests left: the generator's own share, for the lack of a connection or
    of CPU time. ``failures`` counts by kind: timeout, connect, closed, malformed, and ``status NNN``.
    """

    rate: float | None
    seconds: float = 0.0
    sent: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    lag: LatencyHistogram = field(default_factory=LatencyHistogram)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    generator_cpu_seconds: float = 0.0
    answered: int = 0
    answered_seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Requests without an answer of status 2xx."""
        return sum(self.failures.values())

    @property
    def throughput(self) -> float:
        """Answers of status 2xx a second, from the first request until the last answer."""
        return self.answered / self.answered_seconds if self.answered_seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Milliseconds."""
        return 1e3 * self.latency.percentile(percent)

    def merge(self, other: StageResult) -> None:
        """Take a second stage of the same rate into this one."""
        self.seconds += other.seconds
        self.sent += other.sent
        self.latency.add(other.latency)
        self.lag.add(other.lag)
        self.statuses.update(other.statuses)
        self.failures.update(other.failures)
        self.labels.update(other.labels)
        self.reconnects += other.reconnects
        self.generator_cpu_seconds += other.generator_cpu_seconds
        self.answered += other.answered
        self.answered_seconds += other.answered_seconds

    def row(self) -> dict[str, Any]:
        """Plain values for a table or JSON; milliseconds."""
        return {
            "rate": None if self.rate is None else round(self.rate, 1),
            "sent": self.sent,
            "throughput": round(self.throughput, 1),
            **self.latency.summary_ms(),
            "failures": dict(self.failures),
            "send lag p99": round(1e3 * self.lag.percentile(99), 3),
            "generator cores": round(self.generator_cpu_seconds / self.seconds, 3) if self.seconds else 0.0,
        }
