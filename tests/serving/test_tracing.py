"""Spans, trace ids and exemplars: in memory, and sent to a stand-in for a collector as the real thing would get them."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette

from rankops.errors import BadInput
from rankops.serving.tracing import open_tracing
from tests.serving.conftest import ServerProcess, Shop, running
from tests.serving.test_process import arguments, wait_until_ready
from tests.serving.test_search import raw

pytest.importorskip("opentelemetry.sdk", reason="needs the extra 'tracing'")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    text: str


Get = Callable[..., Reply]


def asker(address: str) -> Get:
    def get(path: str, headers: dict[str, str] | None = None) -> Reply:
        status, answered, content = raw(address, "GET", path, headers=headers)
        return Reply(status, answered, content.decode())

    return get


@contextmanager
def traced(shop: Shop, sample: float | None = None, **settings: object) -> Iterator[tuple[Get, list]]:
    """A server whose spans stay in memory: how to ask it, and a live list of finished spans."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()

    def prepare(app: Starlette) -> None:
        queries = bool(settings.get("trace_queries"))
        tracing = open_tracing(sample, with_queries=queries, processor=SimpleSpanProcessor(exporter))
        app.state.service.telemetry._tracing = tracing

    with running(shop.config(**settings), prepare) as address:
        yield asker(address), exporter._finished_spans


def roots(spans: list, name: str = "GET /search") -> list:
    limit = time.monotonic() + 5
    while time.monotonic() < limit and not any(span.name == name for span in spans):
        time.sleep(0.01)  # a span ends just after its answer was sent
    return [span for span in spans if span.name == name]


def test_a_request_is_a_span_with_a_child_for_each_stage_inside_it(shop):
    with traced(shop) as (get, spans):
        reply = get("/search?q=red+shoe", headers={"traceparent": SAMPLED})
        (root,) = roots(spans)
        children = [span for span in spans if span is not root]
    assert root.name == "GET /search"
    assert root.parent is not None
    assert format(root.context.trace_id, "032x") == TRACE
    assert format(root.parent.span_id, "016x") == PARENT
    assert [child.name for child in children] == ["parse", "queue", "encode", "search", "rerank", "serialize"]
    for child in children:
        assert child.parent.span_id == root.context.span_id
        assert root.start_time <= child.start_time <= child.end_time <= root.end_time
    assert root.attributes["rankops.release"] == shop.manifest.digest
    assert root.attributes["rankops.model"] == "retriever"
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["rankops.results"] == 10
    assert root.attributes["rankops.request_id"] == reply.headers["x-request-id"]
    assert reply.headers["x-trace-id"] == TRACE


def test_without_a_caller_a_trace_begins_here_and_probes_make_none(shop):
    with traced(shop) as (get, spans):
        for path in ("/healthz", "/readyz", "/metrics", "/v2/health/ready"):
            assert "x-trace-id" not in get(path).headers
        assert not spans
        reply = get("/search?q=red")
        assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-trace-id"])
        (root,) = roots(spans)
    assert root.parent is None
    assert format(root.context.trace_id, "032x") == reply.headers["x-trace-id"]


def test_a_failure_is_an_error_span_and_holds_no_query(shop, monkeypatch):
    from rankops.serving.engines.retrieval import SearchEngine

    def explode(self, query, *_):
        raise ValueError(f"cannot search {query}")

    with traced(shop) as (get, spans):
        monkeypatch.setattr(SearchEngine, "search_many", explode)
        assert get("/search?q=jane@example.org").status == 500
        (root,) = roots(spans)
    assert root.status.status_code.name == "ERROR"
    assert "jane" not in root.to_json()


def test_a_query_is_in_a_span_only_by_option_and_then_cleaned(shop):
    for option, expected in ((False, None), (True, "red shoe for <email>")):
        with traced(shop, trace_queries=option) as (get, spans):
            get("/search?q=red+shoe+for+jane@example.org")
            (root,) = roots(spans)
        assert root.attributes.get("rankops.query") == expected
        assert not any("jane" in span.to_json() for span in spans)


def test_the_callers_decision_counts_and_ours_only_where_the_trace_begins(shop):
    with traced(shop, sample=0.0) as (get, spans):
        reply = get("/search?q=red")
        assert len(reply.headers["x-trace-id"]) == 32, "an id for the logs all the same"
        assert not spans
        get("/search?q=red", headers={"traceparent": SAMPLED})
        assert len(roots(spans)) == 1
    with traced(shop, sample=1.0) as (get, spans):
        get("/search?q=red", headers={"traceparent": UNSAMPLED})
        assert not spans


def test_the_samplers_share_is_kept(shop):
    with traced(shop, sample=0.25) as (get, spans):
        for _ in range(200):
            get("/v2")
        sampled = len(roots(spans, "GET /v2"))
    assert 14 <= sampled <= 86  # 0.25 of 200, six standard deviations


@pytest.mark.parametrize(
    "header",
    ["", "00-" + "0" * 32 + f"-{PARENT}-01", f"00-{TRACE}-" + "0" * 16 + "-01", f"ff-{TRACE}-{PARENT}-01", "x" * 5000,
     f"00-{TRACE.upper()}-{PARENT}-01"],
)  # fmt: skip
@pytest.mark.parametrize("tracing", [True, False])
def test_a_malformed_traceparent_is_ignored(shop, address, header, tracing):
    with traced(shop) if tracing else nullcontext((asker(address), [])) as (get, _):
        reply = get("/search?q=red", headers={"traceparent": header})
    assert reply.status == 200
    assert reply.headers.get("x-trace-id") != TRACE
    assert ("x-trace-id" in reply.headers) is tracing


def test_exemplars_lead_from_a_latency_bucket_to_the_callers_trace_even_without_opentelemetry(shop):
    with running(shop.config()) as address:
        get = asker(address)
        reply = get("/search?q=red", headers={"traceparent": SAMPLED})
        assert reply.headers["x-trace-id"] == TRACE
        get("/search?q=red", headers={"traceparent": UNSAMPLED.replace("4bf9", "aaaa")})
        plain = get("/metrics")
        opened = get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "trace_id" not in plain.text
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in text_string_to_metric_families(opened.text)}
    found = [s.exemplar.labels for s in families["rankops_request_seconds"].samples if s.exemplar]
    assert found == [{"trace_id": TRACE}]
    assert not any(s.name.endswith("_created") for family in families.values() for s in family.samples)


def test_what_the_environment_asks_for_and_we_cannot_do_is_said(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(BadInput, match="http/protobuf"):
        open_tracing()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(BadInput, match="OTEL_TRACES_EXPORTER is 'zipkin'"):
        open_tracing()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    open_tracing().close()


def test_without_the_extra_the_error_names_it():
    code = (
        "import sys; sys.modules['opentelemetry.sdk.trace'] = None\n"
        "from rankops.serving.tracing import open_tracing\n"
        "try: open_tracing()\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rankops[tracing]" in done.stdout


def test_nothing_of_opentelemetry_is_imported_while_it_is_off(shop):
    code = (
        "import sys; from pathlib import Path; from rankops.serving.app import create_app\n"
        "from rankops.serving.config import ServerConfig\n"
        "create_app(ServerConfig(release=Path('x'), public_key=Path('y')))\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Collector(ThreadingHTTPServer):
    """Takes what an OTLP/HTTP exporter sends, as protobuf."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        self.requests: list = []
        self.paths: list[tuple[str, str, str | None]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.paths.append((self.path, self.headers["Content-Type"], self.headers.get("x-key")))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_a_server_process_sends_protobuf_to_the_collector_that_the_environment_names(shop):
    collector = Collector()
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=secret",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging",
        "OTEL_SERVICE_NAME": "shop-search",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "RANKOPS_TRACING": "1",
    }
    with ServerProcess(arguments(shop), environment) as server:
        wait_until_ready(server)
        get = asker(server.url)
        get("/search?q=blue+jane@example.org")  # the environment's sampler says no
        get("/search?q=red+jane@example.org", headers={"traceparent": SAMPLED})
        server.process.terminate()
        assert server.process.wait(20) == 0, "spans that wait are sent while it drains"
    collector.shutdown()
    assert set(collector.paths) == {("/v1/traces", "application/x-protobuf", "secret")}
    (resource,) = [r for request in collector.requests for r in request.resource_spans]
    attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert attributes["service.name"] == "shop-search"
    assert attributes["deployment.environment.name"] == "staging"
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {"GET /search", "parse", "queue", "encode", "search"} <= {span.name for span in spans}
    assert not any(b"jane" in request.SerializeToString() for request in collector.requests)


def test_a_collector_that_is_gone_costs_no_answer(shop, tmp_path: Path):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "RANKOPS_TRACING": "1",
                   "OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_SCHEDULE_DELAY": "50"}  # fmt: skip
    with ServerProcess(arguments(shop), environment) as server:
        wait_until_ready(server)
        get = asker(server.url)
        assert {get("/search?q=red").status for _ in range(20)} == {200}
        assert get("/healthz").status == 200
        server.process.terminate()
        assert server.process.wait(30) == 0
