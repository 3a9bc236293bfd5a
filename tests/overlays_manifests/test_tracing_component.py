"""``components/tracing``: the server understands what it is told, and may reach the collector."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankops.overlays.kustomize import build
from rankops.serving.config import read_config
from tests.overlays_manifests.conftest import copy_overlays, one, pin_release, server, use_components


@pytest.fixture
def traced(kustomize: Path, tmp_path: Path):
    folder = pin_release(copy_overlays(tmp_path / "k8s"), "production")
    use_components(folder, "cpu", "trust", "monitoring", "tracing", "release")
    return build(folder, kustomize=kustomize).objects


def test_the_server_traces_and_logs_json_and_may_reach_the_collector(traced):
    container = server(traced)
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    config = read_config(
        ["--release", "x", "--public-key", "y"], {k: v for k, v in environment.items() if "$" not in v}
    )
    assert config.tracing
    assert config.log_format == "json"
    assert not config.trace_queries
    port = environment["OTEL_EXPORTER_OTLP_ENDPOINT"].rsplit(":", 1)[1]
    allowed = [port["port"] for rule in one(traced, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
    assert int(port) in allowed
    assert {53, 443} <= set(allowed)
    names = [variable["name"] for variable in container["env"]]
    assert names.index("OTEL_POD_NAME") < names.index("OTEL_RESOURCE_ATTRIBUTES")
