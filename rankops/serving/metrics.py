"""What the server counts, for Prometheus. Names follow its conventions: base units, ``_total`` for counters.

Looking a child up by its labels takes longer than counting in it, so children are bound once and kept; one request
counts everything in one go, after its answer was sent (:class:`rankops.serving.observed.Observed` collects until then).
"""

from __future__ import annotations

import bisect
import platform
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Exemplar

from rankops.release.manifest import ReleaseManifest

if TYPE_CHECKING:
    from rankops.serving.observed import Observed

Refusal = Literal["overload", "deadline", "loading"]
Swap = Literal["ok", "refused"]

STAGES = ("parse", "queue", "encode", "search", "lexical", "rerank", "serialize")
"""Stages that are there from the start, at zero; ``tokenize`` and ``infer`` join where an engine tells encode apart."""

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_STAGE_SECONDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, *_SECONDS)
_BYTES = (64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128)
_SCORES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class FastHistogram(Histogram):
    """The client's histogram, whose bucket is found by bisection and whose exemplar is not validated at each call."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count ``amount``; ``exemplar`` holds one short label, a trace id of our own making."""
        self._sum.inc(amount)
        bucket = self._buckets[bisect.bisect_left(self._upper_bounds, amount)]
        bucket.inc(1)
        if exemplar:
            bucket.set_exemplar(Exemplar(exemplar, amount, time.time()))


class Metrics:
    """One registry per application, so that two applications in one process do not mix."""

    def __init__(self) -> None:
        disable_created_metrics()  # a time beside each counter would double what Prometheus has to keep
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"rankops_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"rankops_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> FastHistogram:
            return FastHistogram(f"rankops_{name}", text, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Answered requests", ("endpoint", "method", "code"))
        self.seconds = histogram("request_seconds", "Time to answer, whole", _SECONDS, ("endpoint",))
        self.stage_seconds = histogram(
            "stage_seconds",
            "Time in one stage of a request: parse, queue (waiting for its turn), encode (tokenizer and model; told "
            "apart as tokenize and infer where known), search (vectors), lexical, rerank, serialize",
            _STAGE_SECONDS,
            ("stage",),
        )
        self.request_bytes = histogram("request_bytes", "Size of request bodies that were read", _BYTES, ("endpoint",))
        self.response_bytes = histogram("response_bytes", "Size of response bodies", _BYTES, ("endpoint",))

        self.errors = counter("errors", "Requests that failed on our side", ("kind",))
        self.key_requests = counter(
            "key_requests", "Requests by API key: allowed, or limited (beyond the key's rate)", ("key", "outcome")
        )
        self.key_refused = counter("key_refused", "Requests without an API key that is known", ("reason",))
        self.key_reloads = counter(
            "key_reloads", "Reads of the file of API keys: loaded, or failed (the keys before it stay)", ("outcome",)
        )
        self.keys_broken = gauge("keys_broken", "1 while the file of API keys is broken and an older one is used")
        self.refused = counter(
            "refused",
            "Requests that were not worked on: overload (the queue was full), deadline (it passed while they waited), "
            "loading (no release yet)",
            ("reason",),
        )
        self.in_flight = gauge("in_flight", "Requests being worked on or waiting for it")
        self.queue_depth = gauge("queue_depth", "Requests that wait for their turn")
        self.queue_capacity = gauge("queue_capacity", "Requests that may wait; more are refused as overload")
        self.batch_size = histogram("batch_size", "Requests that a thread answered together", _BATCH)

        self.cache_hits = counter(
            "cache_hits", "Searches answered from the result cache, or together with the same search"
        )
        self.cache_misses = counter("cache_misses", "Searches that the result cache did not know")
        self.cache_evictions = counter("cache_evictions", "Answers removed from the result cache to make room")
        self.cache_entries = gauge("cache_entries", "Answers in the result cache")
        self.cache_bytes = gauge("cache_bytes", "Memory that the answers in the result cache take, estimated")

        self.zero_results = counter("zero_results", "Searches and recommendations without any result")
        self.top_score = histogram(
            "top_score", "Score of the best result of a search: the fused one of a hybrid, else the cosine", _SCORES
        )

        self.log_records = counter(
            "request_log_records",
            "Request log records by outcome: written, dropped (queue full), failed (a write that will be retried)",
            ("outcome",),
        )
        self.log_bytes = gauge("request_log_bytes", "Disk that the request log uses")
        self.log_limit_bytes = gauge("request_log_limit_bytes", "Disk that the request log may use")

        self.info = gauge(
            "release_info", "1 for the release that is served", ("model", "release", "encoder", "dataset", "target")
        )
        self.server_info = gauge("server_info", "1, with versions", ("version", "python", "onnxruntime"))
        self.ready = gauge("ready", "1 when a verified release is loaded")
        self.loaded_at = gauge("release_loaded_timestamp_seconds", "When the release that is served was loaded")
        self.swaps = counter("swaps", "Changes to another release without a restart, by outcome", ("outcome",))
        self.last_swap_at = gauge("last_swap_timestamp_seconds", "When a change of release was last tried; 0: never")

        self._start_at_zero()
        self._bind()

    def _start_at_zero(self) -> None:
        """What did not happen yet is 0 and not absent, so that its first time is an increase."""
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for reason in ("overload", "deadline", "loading"):
            self.refused.labels(reason)
        for outcome in ("ok", "refused"):
            self.swaps.labels(outcome)
        for outcome in ("written", "dropped", "failed"):
            self.log_records.labels(outcome)
        for reason in ("missing", "unknown"):
            self.key_refused.labels(reason)
        for outcome in ("loaded", "failed"):
            self.key_reloads.labels(outcome)
        self.errors.labels("internal")
        self.server_info.labels(_version("rankops"), platform.python_version(), _version("onnxruntime")).set(1)

    def _bind(self) -> None:
        # Few values each: see endpoint_label, _METHODS, HTTP status codes and the stages in our own code.
        self._request = lru_cache(1024)(self.requests.labels)
        self._seconds = lru_cache(64)(self.seconds.labels)
        self._stage = lru_cache(64)(self.stage_seconds.labels)
        self._request_bytes = lru_cache(64)(self.request_bytes.labels)
        self._response_bytes = lru_cache(64)(self.response_bytes.labels)

    def answered(self, seen: Observed) -> None:
        """Count one request, whole."""
        method = seen.method if seen.method in _METHODS else "other"
        self._request(seen.endpoint, method, str(seen.code)).inc()
        exemplar = {"trace_id": seen.trace_id} if seen.sampled else None
        self._seconds(seen.endpoint).observe(seen.seconds, exemplar)
        for stage, _, seconds in seen.stages:
            self._stage(stage).observe(seconds)
        if seen.request_bytes:
            self._request_bytes(seen.endpoint).observe(seen.request_bytes)
        self._response_bytes(seen.endpoint).observe(seen.response_bytes)

    def stage(self, name: str, seconds: float) -> None:
        """Count a stage that belongs to no single request."""
        self._stage(name).observe(seconds)

    def refuse(self, reason: Refusal) -> None:
        """Count a request that is not worked on."""
        self.refused.labels(reason).inc()

    def found(self, top_score: float | None) -> None:
        """Count what a search found; None is nothing."""
        if top_score is None:
            self.zero_results.inc()
        else:
            self.top_score.observe(top_score)

    def loaded(self, manifest: ReleaseManifest) -> None:
        """Say which release is served from now on."""
        values = (manifest.model, manifest.digest, manifest.encoder_digest, manifest.dataset.digest, manifest.target)
        self.info.clear()
        self.info.labels(*values).set(1)
        self.ready.set(1)
        self.loaded_at.set_to_current_time()

    def swapped(self, outcome: Swap) -> None:
        """Count a change of release that was tried; call :meth:`loaded` as well where it went well."""
        self.swaps.labels(outcome).inc()
        self.last_swap_at.set_to_current_time()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type in the form that ``accept`` asks for; OpenMetrics is the one with exemplars."""
        encoder: Callable[[CollectorRegistry], bytes]
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type


def stage_totals(seen: Observed) -> Mapping[str, float]:
    """Seconds by stage of one request; a stage that ran twice is summed."""
    totals: dict[str, float] = {}
    for stage, _, seconds in seen.stages:
        totals[stage] = totals.get(stage, 0.0) + seconds
    return totals


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
