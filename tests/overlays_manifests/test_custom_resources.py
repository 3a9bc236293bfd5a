"""Custom resources are checked as strictly as Kubernetes' own kinds: one misspelled or senseless field is named."""

from __future__ import annotations

from typing import Any

import pytest

from rankops.overlays import schemas
from tests.overlays_manifests.conftest import Mutation, Objects, one


def _spec(objects: Objects, kind: str) -> dict[str, Any]:
    return next(o for o in objects if o["kind"] == kind)["spec"]


WRONG: list[tuple[str, str, str, Mutation]] = [
    ("spec.podMetricsEndpoints", "at least 1 item", "PodMonitor",
     lambda o: _spec(o, "PodMonitor").update(podMetricsEndpoints=[])),
    ("spec.selector", "takes in the whole namespace", "PodMonitor", lambda o: _spec(o, "PodMonitor").update(selector={})),
    ("spec.podMetricsEndpoints[0].port", "valid string", "PodMonitor",
     lambda o: _spec(o, "PodMonitor")["podMetricsEndpoints"][0].update(port=8080)),
    ("spec.podMetricsEndpoints[0].intervall", "not a field", "PodMonitor",
     lambda o: _spec(o, "PodMonitor")["podMetricsEndpoints"][0].update(intervall="15s")),
    ("spec.podMetricsEndpoints[0].interval", "match pattern", "PodMonitor",
     lambda o: _spec(o, "PodMonitor")["podMetricsEndpoints"][0].update(interval="15 s")),
    ("spec.groups[0].rules[0]", "either `alert` or `record`", "PrometheusRule",
     lambda o: _spec(o, "PrometheusRule")["groups"][0]["rules"][0].pop("alert")),
    ("spec.groups[0].rules[0].expr", "valid string", "PrometheusRule",
     lambda o: _spec(o, "PrometheusRule")["groups"][0]["rules"][0].update(expr=1)),
    ("spec.groups[0].rules[0].for", "match pattern", "PrometheusRule",
     lambda o: _spec(o, "PrometheusRule")["groups"][0]["rules"][0].update({"for": "5 min"})),
    ("spec", "two groups have the same name", "PrometheusRule",
     lambda o: _spec(o, "PrometheusRule")["groups"].append(_spec(o, "PrometheusRule")["groups"][0])),
    ("spec.maxReplicas", "not a field", "ScaledObject", lambda o: _spec(o, "ScaledObject").update(maxReplicas=3)),
    ("spec.minReplicaCount", "valid integer", "ScaledObject",
     lambda o: _spec(o, "ScaledObject").update(minReplicaCount="2")),
    ("spec", "minReplicaCount is above", "ScaledObject", lambda o: _spec(o, "ScaledObject").update(minReplicaCount=9)),
    ("spec", "fallback.replicas is not between", "ScaledObject",
     lambda o: _spec(o, "ScaledObject")["fallback"].update(replicas=1)),
    ("spec", "fallback needs a trigger", "ScaledObject",
     lambda o: [t.update(metricType="Value") for t in _spec(o, "ScaledObject")["triggers"]]),
    ("spec.triggers[0].metadata.threshold", "valid string", "ScaledObject",
     lambda o: _spec(o, "ScaledObject")["triggers"][0]["metadata"].update(threshold=1)),
    ("spec.triggers[0]", "needs serverAddress", "ScaledObject",
     lambda o: _spec(o, "ScaledObject")["triggers"][0]["metadata"].pop("serverAddress")),
    ("spec.analysis", "exactly one of iterations, stepWeight", "Canary",
     lambda o: _spec(o, "Canary")["analysis"].update(iterations=5)),
    ("spec.analysis.metrics[0]", "can never fail", "Canary",
     lambda o: _spec(o, "Canary")["analysis"]["metrics"][0].pop("thresholdRange")),
    ("spec.analysis.interval", "match pattern", "Canary",
     lambda o: _spec(o, "Canary")["analysis"].update(interval="1 minute")),
    ("spec.provider", "gatewayapi:v1", "Canary", lambda o: _spec(o, "Canary").update(provider="gateway")),
    ("spec.autoscalerRef.kind", "HorizontalPodAutoscaler", "Canary",
     lambda o: _spec(o, "Canary")["autoscalerRef"].update(kind="HPA")),
    ("spec.service.target_port", "not a field", "Canary",
     lambda o: _spec(o, "Canary")["service"].update(target_port=8080)),
    ("spec.provider.type", "prometheus", "MetricTemplate",
     lambda o: _spec(o, "MetricTemplate")["provider"].update(type="prom")),
    ("spec.query", "required", "MetricTemplate", lambda o: _spec(o, "MetricTemplate").pop("query")),
]  # fmt: skip


@pytest.mark.parametrize(("path", "message", "kind", "spoil"), WRONG, ids=[f"{w[2]}: {w[1]}" for w in WRONG])
def test_a_wrong_field_is_named(canary: Objects, path: str, message: str, kind: str, spoil: Mutation) -> None:
    spoil(canary)
    found = schemas.check(canary, "1.34")
    assert {v.object.split(" ")[0] for v in found} == {kind}
    assert any(v.path == path and message in v.message for v in found), found


def test_other_versions_of_a_custom_kind_are_not_known(canary: Objects) -> None:
    one(canary, "ScaledObject")["apiVersion"] = "keda.sh/v2"
    assert [v.message for v in schemas.check(canary, "1.34")] == ["Kubernetes 1.34 knows no keda.sh/v2 ScaledObject"]
