"""What observing one request costs: everything that ``/search`` counts, against the client's plain way of counting it.

Both sides count the same: the request by endpoint, method and status, its latency, seven stages, the sizes of its two
bodies and the best score. The peer is prometheus_client as its documentation shows it (``.labels(...)`` at each call,
its own histogram); ours also collects the stages (``Observed``) and decides about log lines. Beside it: the whole
middleware around an application that does nothing, so with headers and request id, with tracing off and on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from benchmarks.harness import Block, Comparison, compare

CALLS = 2000
STAGES = {
    "parse": 3e-5,
    "queue": 1e-4,
    "encode": 2e-3,
    "search": 4e-4,
    "lexical": 3e-4,
    "rerank": 1e-4,
    "serialize": 2e-5,
}


def measure(progress: Callable[[str], None]) -> Comparison:
    """Microseconds a request; the goal of the issue is under 50 in total."""
    progress("observability: counting one request, in rounds")
    return compare(
        "observability_cost",
        "counting one request: 12 series, 7 stages",
        ours=_block(_ours()),
        peers={
            "prometheus_client": _block(_plain()),
            "middleware, tracing off": _middleware(tracing=False),
            "middleware, every request traced": _middleware(tracing=True),
        },
        peer_version=f"prometheus_client {version('prometheus_client')}, labels at each call",
        unit="us",
        rounds=7,
    )


def _block(call: Callable[[], None]) -> Block:
    def block() -> list[float]:
        taken = []
        for _ in range(20):
            started = time.perf_counter()
            for _ in range(CALLS // 20):
                call()
            taken.append((time.perf_counter() - started) / (CALLS // 20) * 1e6)
        return taken

    return block


def _ours() -> Callable[[], None]:
    from rankops.serving.metrics import Metrics
    from rankops.serving.observed import Observed
    from rankops.serving.telemetry import Telemetry

    telemetry = Telemetry(Metrics(), slow_ms=1000)

    def call() -> None:
        seen = Observed("/search", "POST", "r")
        telemetry.begin(seen, [])
        seen.in_turn(STAGES)
        seen.code, seen.seconds, seen.request_bytes, seen.response_bytes = 200, 3e-3, 60, 2000
        telemetry.metrics.found(0.7)
        telemetry.finish(seen)

    return call


def _plain() -> Callable[[], None]:
    from prometheus_client import CollectorRegistry, Counter, Histogram

    registry = CollectorRegistry()
    requests = Counter("requests", "r", ["endpoint", "method", "code"], registry=registry)
    seconds = Histogram("request_seconds", "s", ["endpoint"], registry=registry)
    stages = Histogram("stage_seconds", "s", ["stage"], registry=registry)
    received = Histogram("request_bytes", "b", ["endpoint"], registry=registry)
    sent = Histogram("response_bytes", "b", ["endpoint"], registry=registry)
    scores = Histogram("top_score", "s", registry=registry)

    def call() -> None:
        requests.labels("/search", "POST", "200").inc()
        seconds.labels("/search").observe(3e-3)
        for stage, took in STAGES.items():
            stages.labels(stage).observe(took)
        received.labels("/search").observe(60)
        sent.labels("/search").observe(2000)
        scores.observe(0.7)

    return call


def _middleware(*, tracing: bool) -> Block:
    """The time that ``Envelope`` adds to an application that only answers."""
    from types import SimpleNamespace

    from rankops.serving.metrics import Metrics
    from rankops.serving.observed import observed
    from rankops.serving.telemetry import Telemetry
    from rankops.serving.tracing import open_tracing
    from rankops.serving.web import Envelope

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        observed().in_turn(STAGES)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 2000})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 60}

    async def send(_message: Any) -> None:
        return None

    spans = open_tracing(1.0, processor=_Nowhere()) if tracing else None
    service: Any = SimpleNamespace(telemetry=Telemetry(Metrics(), slow_ms=1000, tracing=spans), release="a" * 64)
    enveloped = Envelope(application, service)

    def scope() -> dict[str, Any]:
        return {"type": "http", "path": "/search", "method": "POST", "headers": [(b"host", b"x"), (b"accept", b"*/*")]}

    async def many(app: Any, calls: int) -> float:
        started = time.perf_counter()
        for _ in range(calls):
            await app(scope(), receive, send)
        return (time.perf_counter() - started) / calls * 1e6

    async def differences() -> list[float]:
        return [await many(enveloped, CALLS // 20) - await many(application, CALLS // 20) for _ in range(20)]

    return lambda: asyncio.run(differences())


class _Nowhere:
    """A span processor that drops what it gets: the exporter works on its own thread."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Nothing."""

    def on_end(self, span: Any) -> None:
        """Nothing."""

    def _on_ending(self, span: Any) -> None:
        """Nothing."""

    def shutdown(self) -> None:
        """Nothing."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits."""
        return True
