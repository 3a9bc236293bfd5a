"""What becomes of an observed request once it is answered: metrics, and where asked for a span and a log line."""

from __future__ import annotations

import logging
import random
import time
from typing import Any

from rankops.serving.config import ServerConfig
from rankops.serving.metrics import Metrics, stage_totals
from rankops.serving.observed import Observed
from rankops.serving.tracing import QUIET, Tracing, open_tracing

TRACE_HEADER = "X-Trace-Id"
logger = logging.getLogger("rankops.request")
_LINES_A_SECOND = 50


class Telemetry:
    """One per application. ``slow_ms``: requests that take longer are logged (0: none); ``sample``: share of requests
    that are logged whatever they took.
    """

    def __init__(
        self, metrics: Metrics, *, slow_ms: float = 0, sample: float = 0, tracing: Tracing | None = None
    ) -> None:
        self.metrics = metrics
        self._slow_seconds = slow_ms / 1e3 if slow_ms else float("inf")
        self._sample = sample
        self._tracing = tracing
        self._second, self._lines, self._left_out = 0, 0, 0

    @classmethod
    def of(cls, config: ServerConfig, metrics: Metrics) -> Telemetry:
        """As the settings say. Raises :class:`rankops.errors.BadInput` where tracing is asked for and impossible."""
        tracing = open_tracing(config.trace_sample, with_queries=config.trace_queries) if config.tracing else None
        return cls(metrics, slow_ms=config.slow_ms, sample=config.log_sample, tracing=tracing)

    def begin(self, seen: Observed, headers: list[tuple[bytes, bytes]]) -> None:
        """Read the caller's trace context, and start a span where there is tracing."""
        if self._tracing is not None:
            self._tracing.begin(seen, headers)
            return
        for name, value in headers:
            if name == b"traceparent":
                seen.take_traceparent(value)

    def finish(self, seen: Observed) -> None:
        """Count the request, and tell of it. Never raises: it was answered."""
        try:
            self.metrics.answered(seen)
            if self._tracing is not None:
                self._tracing.finish(seen)
            self._log(seen)
        except Exception:  # an exporter's mistake is not the caller's
            logger.exception("a request could not be recorded")

    def close(self) -> None:
        """Send the spans that wait."""
        if self._tracing is not None:
            self._tracing.close()

    def _log(self, seen: Observed) -> None:
        if seen.code == 500:
            self._line(logging.ERROR, "failed", seen)
        elif seen.endpoint in QUIET:
            return
        elif seen.seconds >= self._slow_seconds:
            self._line(logging.WARNING, "slow", seen)
        elif self._sample and random.random() < self._sample:  # noqa: S311 (no secret)
            self._line(logging.INFO, "answered", seen)

    def _line(self, level: int, event: str, seen: Observed) -> None:
        """At most so many lines a second: a server that is late must not be made later by telling so."""
        if (second := int(time.monotonic())) != self._second:
            self._second, self._lines = second, 0
        if self._lines >= _LINES_A_SECOND:
            self._left_out += 1
            return
        self._lines += 1
        facts: dict[str, Any] = {
            "method": seen.method,
            "status": seen.code,
            "duration_ms": round(seen.seconds * 1e3, 3),
            "stages_ms": {name: round(seconds * 1e3, 3) for name, seconds in stage_totals(seen).items()},
            **seen.attributes,
        }
        if self._left_out:
            facts["lines_left_out"], self._left_out = self._left_out, 0
        logger.log(level, event, extra={"facts": facts})


def body_size(message: Any) -> int:
    """Bytes of the body in an ASGI message."""
    return len(message.get("body", b""))
