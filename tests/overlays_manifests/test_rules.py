"""Each rule refuses the mistake it is there for, and names object and field; the overlays as they are break none."""

from __future__ import annotations

from typing import Any

import pytest

from rankops.errors import BadInput, InvalidOverlay
from rankops.overlays import rules, schemas
from rankops.overlays.rules_pods import quantity
from rankops.overlays.validate import validate, violations
from tests.overlays_manifests.conftest import Mutation, Objects, dashboard, fetch, one, pod, server, trust
from tests.overlays_manifests.test_rules_scaling import BROKEN_DELIVERY


def _set(value: dict[str, Any], key: str, to: Any) -> None:
    value[key] = to


def _drop(objects: Objects, kind: str) -> None:
    objects.remove(one(objects, kind))


def _add(objects: Objects, kind: str, name: str = "extra", **fields: Any) -> None:
    objects.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields})


BROKEN: list[tuple[str, str, str, Mutation]] = [
    ("selector differs from template", "selector", "spec.selector",
     lambda o: _set(one(o, "Deployment")["spec"]["selector"]["matchLabels"], "app", "x")),
    ("empty selector", "selector", "spec.selector", lambda o: _set(one(o, "Deployment")["spec"], "selector", {})),
    ("service selects nothing", "service", "spec.selector",
     lambda o: _set(one(o, "Service")["spec"], "selector", {"app.kubernetes.io/name": "retreiver"})),
    ("service port leads nowhere", "service", "spec.ports[http].targetPort",
     lambda o: _set(one(o, "Service")["spec"]["ports"][0], "targetPort", "grpc")),
    ("service in another namespace", "service", "spec.selector",
     lambda o: _set(one(o, "Service")["metadata"], "namespace", "elsewhere")),
    ("budget selects nothing", "target", "spec.selector",
     lambda o: _set(one(o, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], "app", "x")),
    ("network policy selects nothing", "target", "spec.podSelector",
     lambda o: _set(one(o, "NetworkPolicy")["spec"], "podSelector",
                    {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["retriever"]}]})),
    ("monitor scrapes a port that is not there", "target", "spec.podMetricsEndpoints",
     lambda o: _set(one(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0], "port", "metrics")),
    ("autoscaler without target", "target", "spec.scaleTargetRef",
     lambda o: _set(one(o, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"], "name", "other")),
    ("replicas beside an autoscaler", "autoscaler", "spec.replicas",
     lambda o: _set(one(o, "Deployment")["spec"], "replicas", 3)),
    ("two autoscalers", "autoscaler", "spec.scaleTargetRef", lambda o: o.append(
        one(o, "HorizontalPodAutoscaler") | {"metadata": {"name": "second", "namespace": "rankops-production"}})),
    ("variable that Flux would substitute", "substitution", "spec.template.spec.containers[0].args[12]",
     lambda o: server(o)["args"].append("--greeting=${GREETING}")),
    ("dashboard without its annotation", "substitution", "data.rankops-serving.json",
     lambda o: dashboard(o)["metadata"]["annotations"].pop("kustomize.toolkit.fluxcd.io/substitute")),
    ("no preStop", "drain", "spec.template.spec.containers[server].lifecycle.preStop",
     lambda o: server(o).pop("lifecycle")),
    ("preStop takes all of the grace period", "drain", "spec.template.spec.terminationGracePeriodSeconds",
     lambda o: _set(pod(o)["spec"], "terminationGracePeriodSeconds", 10)),
    ("may start longer than its rollout waits", "probes", "spec.template.spec.containers[server].startupProbe",
     lambda o: _set(one(o, "Deployment")["spec"], "progressDeadlineSeconds", 300)),
    ("all on one node", "spread", "spec.template.spec.topologySpreadConstraints",
     lambda o: pod(o)["spec"]["topologySpreadConstraints"].pop(1)),
    ("spread counts other pods", "spread", "spec.template.spec.topologySpreadConstraints",
     lambda o: _set(pod(o)["spec"]["topologySpreadConstraints"][0]["labelSelector"], "matchLabels", {"app": "x"})),
    ("service account missing", "reference", "spec.template.spec.serviceAccountName",
     lambda o: _drop(o, "ServiceAccount")),
    ("config map missing", "reference", "spec.template.spec.volumes[trust]", lambda o: o.remove(trust(o))),
    ("gpu request without limit", "gpu-limits", "spec.template.spec.containers[server].resources.limits.nvidia.com/gpu",
     lambda o: _set(server(o)["resources"]["requests"], "nvidia.com/gpu", "1")),
    ("half a gpu", "gpu-limits", "spec.template.spec.containers[server].resources.limits.nvidia.com/gpu",
     lambda o: _set(server(o)["resources"]["limits"], "nvidia.com/gpu", "500m")),
    ("image by tag", "image-digest", "spec.template.spec.containers[server].image",
     lambda o: _set(server(o), "image", "rankops-server:latest")),
    ("digest cut short", "image-digest", "spec.template.spec.initContainers[fetch-release].image",
     lambda o: _set(fetch(o), "image", fetch(o)["image"][:-1])),
    ("object name in upper case", "name", "metadata.name",
     lambda o: _set(one(o, "NetworkPolicy")["metadata"], "name", "Retriever")),
    ("service name starts with a digit", "name", "metadata.name",
     lambda o: _set(one(o, "Service")["metadata"], "name", "1retriever")),
    ("namespace with a dot", "name", "metadata.namespace",
     lambda o: _set(one(o, "PrometheusRule")["metadata"], "namespace", "rankops.production")),
    ("label value too long", "name", "metadata.labels.team",
     lambda o: _set(one(o, "Service")["metadata"]["labels"], "team", "x" * 64)),
    ("rendered twice", "name", "metadata.name", lambda o: o.append(one(o, "Service"))),
    ("port name too long", "name", "spec.template.spec.containers[server].ports",
     lambda o: server(o)["ports"].append({"name": "a-name-of-16-char", "containerPort": 1})),
    ("secret with content", "plain-secret", "data", lambda o: _add(o, "Secret", data={"password": "aHVudGVyMg=="})),
    ("private key in a config map", "plain-secret", "data.key",
     lambda o: _set(trust(o)["data"], "key", "-----BEGIN EC PRIVATE KEY-----\n")),
    ("literal password", "plain-secret", "spec.template.spec.containers[server].env[AWS_SECRET_ACCESS_KEY]",
     lambda o: server(o)["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter2"})),
    ("literal password like a path that nothing mounts", "plain-secret",
     "spec.template.spec.containers[server].env[AWS_SECRET_ACCESS_KEY]",
     lambda o: server(o)["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "/hunter/2"})),
    ("password in a URL argument", "plain-secret", "spec.template.spec.containers[server].args",
     lambda o: server(o)["args"].append("https://user:hunter2@example.com/")),
    ("annotation and variable differ", "release",
     "spec.template.spec.containers[server].env[RANKOPS_RELEASE_DIGEST]",
     lambda o: _set(server(o)["env"][-1], "value", "5" * 64)),
    ("only one container is pinned", "release",
     "spec.template.spec.initContainers[fetch-release].env[RANKOPS_RELEASE_URI]",
     lambda o: _set(next(e for e in fetch(o)["env"] if e["name"] == "RANKOPS_RELEASE_URI"), "value", "")),
    ("nothing is pinned", "release", "spec.template.metadata.annotations",
     lambda o: pod(o)["metadata"].pop("annotations")),
    ("placeholder for a digest", "release", "spec.template.metadata.annotations.rankops.dev/dataset",
     lambda o: _set(pod(o)["metadata"]["annotations"], "rankops.dev/dataset", "REPLACE_ME")),
    ("release URI of another release", "release", "spec.template.metadata.annotations.rankops.dev/release-uri",
     lambda o: _set(pod(o)["metadata"]["annotations"], "rankops.dev/release-uri", "s3://b/release/" + "6" * 64)),
    ("the server does not check the digest", "release", "spec.template.spec.containers[server].args",
     lambda o: server(o)["args"].remove("$(RANKOPS_RELEASE_DIGEST)")),
    ("no fetcher", "release", "spec.template.spec.initContainers", lambda o: pod(o)["spec"].pop("initContainers")),
    ("no memory limit", "resources", "spec.template.spec.containers[server].resources",
     lambda o: server(o)["resources"].pop("limits")),
    ("request above the limit", "resources", "spec.template.spec.containers[server].resources.requests.memory",
     lambda o: _set(server(o)["resources"]["limits"], "memory", "100Mi")),
    ("no readiness probe", "probes", "spec.template.spec.containers[server].readinessProbe",
     lambda o: server(o).pop("readinessProbe")),
    ("probe on a closed port", "probes", "spec.template.spec.containers[server].livenessProbe.httpGet.port",
     lambda o: _set(server(o)["livenessProbe"]["httpGet"], "port", "admin")),
    ("mount without volume", "mounts", "spec.template.spec.containers[server].volumeMounts[data]",
     lambda o: server(o)["volumeMounts"].append({"name": "data", "mountPath": "/data"})),
    ("two mounts at one path", "mounts", "spec.template.spec.containers[server].volumeMounts[tmp]",
     lambda o: server(o)["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})),
    ("unknown variable in an argument", "variables", "spec.template.spec.containers[server].args",
     lambda o: server(o)["args"].append("$(RANKOPS_RELASE_DIGEST)")),
    ("variable defined twice", "variables", "spec.template.spec.containers[server].env[HOME]",
     lambda o: server(o)["env"].append({"name": "HOME", "value": "/root"})),
    ("writable root file system", "security",
     "spec.template.spec.containers[server].securityContext.readOnlyRootFilesystem",
     lambda o: server(o)["securityContext"].pop("readOnlyRootFilesystem")),
    ("privilege escalation", "security",
     "spec.template.spec.initContainers[fetch-release].securityContext.allowPrivilegeEscalation",
     lambda o: _set(fetch(o)["securityContext"], "allowPrivilegeEscalation", True)),
    ("root", "security", "spec.template.spec.containers[server].securityContext.runAsNonRoot",
     lambda o: _set(server(o)["securityContext"], "runAsUser", 0)),
    ("no seccomp profile", "security", "spec.template.spec.containers[server].securityContext.seccompProfile",
     lambda o: pod(o)["spec"]["securityContext"].pop("seccompProfile")),
    ("capabilities kept", "security", "spec.template.spec.containers[server].securityContext.capabilities.drop",
     lambda o: server(o)["securityContext"].pop("capabilities")),
    ("capability added", "security", "spec.template.spec.containers[server].securityContext.capabilities.add",
     lambda o: _set(server(o)["securityContext"]["capabilities"], "add", ["SYS_ADMIN"])),
    ("privileged", "security", "spec.template.spec.containers[server].securityContext.privileged",
     lambda o: _set(server(o)["securityContext"], "privileged", True)),
    ("host network", "security", "spec.template.spec.hostNetwork", lambda o: _set(pod(o)["spec"], "hostNetwork", True)),
    ("host port", "security", "spec.template.spec.containers[server].ports",
     lambda o: _set(server(o)["ports"][0], "hostPort", 8080)),
    ("host path", "security", "spec.template.spec.volumes[state]",
     lambda o: _set(pod(o)["spec"], "volumes", [{"name": "state", "hostPath": {"path": "/"}}, *pod(o)["spec"]["volumes"][1:]])),
    ("token mounted", "security", "spec.template.spec.automountServiceAccountToken",
     lambda o: pod(o)["spec"].pop("automountServiceAccountToken")),
]  # fmt: skip


def test_the_overlays_as_they_are_break_no_rule(production: Objects, gpu: Objects, canary: Objects) -> None:
    assert violations(production) == []
    assert violations(gpu) == []
    assert violations(canary) == []


@pytest.mark.parametrize(("rule", "path", "spoil"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_mistake_is_refused_by_its_rule(production: Objects, rule: str, path: str, spoil: Mutation) -> None:
    spoil(production)
    found = rules.check(production)
    assert (rule, path) in {(v.rule, v.path) for v in found}
    assert {v.rule for v in found} == {rule}, "one mistake must not set off other rules"


def test_every_rule_has_a_broken_example() -> None:
    import inspect
    import re

    declared = {
        name for rule in rules.RULES for name in re.findall(r'Violation\(\s*"([\w-]+)"', inspect.getsource(rule))
    }
    assert declared == {rule for _, rule, _, _ in [*BROKEN, *BROKEN_DELIVERY]}


def test_a_gpu_limit_alone_is_enough_because_the_request_defaults_to_it(gpu: Objects) -> None:
    del server(gpu)["resources"]["requests"]["nvidia.com/gpu"]
    assert violations(gpu) == []


def test_rules_survive_objects_of_any_shape() -> None:
    shapes: list[Any] = [{}, {"kind": "Deployment"}, {"kind": "Service", "metadata": None, "spec": []}]
    shapes += [
        {"kind": "Deployment", "metadata": {"name": 3}, "spec": {"template": {"spec": {"containers": [None, "x"]}}}}
    ]
    shapes += [
        {"kind": "PrometheusRule", "apiVersion": "monitoring.coreos.com/v1", "metadata": {"name": "x"}, "spec": 1}
    ]
    shapes += [
        {"kind": kind, "spec": {"scaleTargetRef": None, "targetRef": [], "triggers": [{"type": "prometheus"}]}}
        for kind in ("HorizontalPodAutoscaler", "ScaledObject", "Canary", "PodMonitor")
    ]
    assert violations(shapes)


def test_everything_that_is_wrong_is_listed_at_once(production: Objects) -> None:
    server(production)["image"] = "rankops-server"
    one(production, "Service")["spec"]["selector"] = {"app": "x"}
    one(production, "Deployment")["spec"]["replica"] = 2
    with pytest.raises(InvalidOverlay) as caught:
        validate(production)
    message = str(caught.value)
    assert "3 mistakes" in message
    assert "Deployment rankops-production/retriever: spec: Additional properties are not allowed ('replica'" in message
    for rule in ("[schema]", "[service]", "[image-digest]"):
        assert rule in message


@pytest.mark.parametrize(
    ("api", "kind"), [("apps.example.org/v1", "Deployment"), ("example.org/v1", "Widget"), ("v1", "../../secret")]
)
def test_what_has_no_schema_is_refused(production: Objects, api: str, kind: str) -> None:
    production.append({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}})
    assert [v.message for v in schemas.check(production, "1.34")] == [f"Kubernetes 1.34 knows no {api} {kind}"]


def test_an_unknown_kubernetes_version_is_refused_with_those_that_are_known(production: Objects) -> None:
    with pytest.raises(BadInput, match=r"use one of 1\.30, .*1\.37"):
        validate(production, kubernetes="1.12")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("500m", 0.5), ("1Gi", 2**30), ("1k", 1000), ("1.5M", 1.5e6), ("2e3", 2000), ("1E", 1e18), (2, 2)],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: Any, value: float) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "one", "1GB", "1.2.3", None, "Ki"])
def test_what_is_no_quantity_is_none(text: Any) -> None:
    assert quantity(text) is None
