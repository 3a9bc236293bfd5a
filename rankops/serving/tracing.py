"""Spans of OpenTelemetry: one a request, with a child for each stage; only where ``--tracing`` asks for it.

The standard's environment variables are respected: ``OTEL_EXPORTER_OTLP_ENDPOINT`` (and ``_HEADERS``, ``_TIMEOUT``,
``_CERTIFICATE`` ...), ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER`` (and ``_ARG``),
``OTEL_TRACES_EXPORTER`` (otlp, console, none), ``OTEL_BSP_*``, ``OTEL_PROPAGATORS``, ``OTEL_SDK_DISABLED``. A query is
in no span unless ``--trace-queries`` says so, and then without what :func:`rankops.pii.remove_pii` knows.

Nothing of OpenTelemetry is imported before :func:`open_tracing`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput
from rankops.pii import remove_pii
from rankops.serving.observed import Observed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler

QUIET = frozenset({"/", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Endpoints of probes and scrapers: they would drown what people ask."""

_NANO = 1_000_000_000


class Tracing:
    """Makes the spans of requests. ``with_queries``: cleaned queries are attributes of search spans."""

    def __init__(self, provider: TracerProvider, *, with_queries: bool = False) -> None:
        from opentelemetry import propagate, trace

        self._provider = provider
        self._tracer = provider.get_tracer("rankops.serving")
        self._extract = propagate.extract
        self._inside = trace.set_span_in_context
        self._kinds = trace.SpanKind
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._with_queries = with_queries

    def begin(self, seen: Observed, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Start the span, as a child of the caller's where it sent one; the sampler decides here."""
        if seen.endpoint in QUIET:
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        span = self._tracer.start_span(
            f"{seen.method} {seen.endpoint}",
            context=self._extract(carrier),
            kind=self._kinds.SERVER,
            attributes={"http.request.method": seen.method, "http.route": seen.endpoint},
            start_time=seen.began_ns,
        )
        context = span.get_span_context()
        if context.is_valid:  # not where the SDK is disabled
            seen.trace_id, seen.sampled = format(context.trace_id, "032x"), context.trace_flags.sampled
        seen.span = span

    def finish(self, seen: Observed) -> None:
        """End the span with what is known now, and give it a child for each stage."""
        span: Any = seen.span
        if span is None or not span.is_recording():
            return
        span.set_attributes(self._attributes(seen))
        if seen.code >= 500:
            span.set_status(self._failed)
        inside = self._inside(span)
        for name, start, seconds in seen.stages:
            began = seen.began_ns + int(start * _NANO)
            child = self._tracer.start_span(name, context=inside, start_time=began)
            child.end(began + int(seconds * _NANO))
        span.end(seen.began_ns + int(seen.seconds * _NANO))

    def _attributes(self, seen: Observed) -> dict[str, Any]:
        found: dict[str, Any] = {
            "http.response.status_code": seen.code,
            "http.request.body.size": seen.request_bytes,
            "http.response.body.size": seen.response_bytes,
            "rankops.request_id": seen.request_id,
            **{f"rankops.{name}": value for name, value in seen.attributes.items()},
        }
        if (manifest := seen.manifest) is not None:
            found |= {
                "rankops.model": manifest.model,
                "rankops.task": manifest.task,
                "rankops.release": manifest.digest,
                "rankops.target": manifest.target,
                "rankops.dataset": manifest.dataset.digest,
            }
        if self._with_queries and seen.query is not None:
            found["rankops.query"] = remove_pii(seen.query)
        return found

    def close(self) -> None:
        """Send what waits (for at most some seconds) and stop."""
        self._provider.shutdown()


def open_tracing(
    sample: float | None = None, *, with_queries: bool = False, processor: SpanProcessor | None = None
) -> Tracing:
    """Tracing by the environment's OTEL variables; ``sample`` (0 to 1) overrides its sampler for traces begun here.

    ``processor`` replaces the exporter. Raises :class:`BadInput` where the extra ``tracing`` is not installed or a
    variable asks for what we cannot do.
    """
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError as error:
        raise BadInput(f"--tracing needs OpenTelemetry: {error}", "pip install 'rankops[tracing]'") from error
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(
        resource=Resource.create({} if named else {"service.name": "rankops-serving"}),
        sampler=None if sample is None else _sampler(sample),
        shutdown_on_exit=False,
    )
    if (sending := processor or _processor()) is not None:
        provider.add_span_processor(sending)
    return Tracing(provider, with_queries=with_queries)


def _sampler(share: float) -> Sampler:
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    return ParentBased(TraceIdRatioBased(share))


def _processor() -> SpanProcessor | None:
    """What ``OTEL_TRACES_EXPORTER`` names."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip() or "otlp"
    if exporter == "none":
        return None
    if exporter == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter())
    if exporter != "otlp":
        raise BadInput(f"OTEL_TRACES_EXPORTER is {exporter!r}", "use otlp, console or none")
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        raise BadInput(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}", "use http/protobuf, and the collector's port for it (4318)"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())
