"""What the server counts, for Prometheus. Names follow its conventions: base units, ``_total`` for counters."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rankops.release.manifest import ReleaseManifest

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SCORES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """One registry per application, so that two applications in one process do not mix."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "rankops_requests", "Answered requests", ["endpoint", "method", "code"], registry=registry
        )
        self.seconds = Histogram(
            "rankops_request_seconds", "Time to answer, whole", ["endpoint"], buckets=_SECONDS, registry=registry
        )
        self.stage_seconds = Histogram(
            "rankops_stage_seconds",
            "Time in one stage: queue (waiting for a thread), encode, search (vectors), lexical, rerank",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.errors = Counter("rankops_errors", "Requests that failed on our side", ["kind"], registry=registry)
        self.zero_results = Counter("rankops_zero_results", "Searches without any result", registry=registry)
        self.top_score = Histogram(
            "rankops_top_score",
            "Score of the best result of a search: the fused one of a hybrid, else the cosine",
            buckets=_SCORES,
            registry=registry,
        )
        self.in_flight = Gauge("rankops_in_flight", "Requests being encoded or waiting for it", registry=registry)
        self.log_records = Counter(
            "rankops_request_log_records",
            "Request log records by outcome: written, dropped (queue full), failed (a write that will be retried)",
            ["outcome"],
            registry=registry,
        )
        self.info = Gauge(
            "rankops_release_info",
            "1 for the release that is served",
            ["model", "release", "encoder", "dataset", "target"],
            registry=registry,
        )
        self.ready = Gauge("rankops_ready", "1 when a verified release is loaded", registry=registry)

    def loaded(self, manifest: ReleaseManifest) -> None:
        """Say which release is served from now on."""
        values = (manifest.model, manifest.digest, manifest.encoder_digest, manifest.dataset.digest, manifest.target)
        self.info.labels(*values).set(1)
        self.ready.set(1)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
