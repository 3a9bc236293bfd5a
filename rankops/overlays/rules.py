"""Our own rules for rendered overlays: mistakes that Kustomize is silent about and that schemas accept.

What belongs here: how objects refer to each other, their names, secrets, the release that is pinned, and the list of
all rules (``RULES``). Each rule is a pure function over all rendered objects that yields violations and never raises;
what concerns one pod template alone is in ``rules_pods.py``, autoscalers and canaries are in ``rules_scaling.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rankops.overlays import rules_pods, rules_scaling
from rankops.overlays.objects import (
    Object,
    Pods,
    Violation,
    dig,
    items,
    mapping,
    matches,
    namespace_of,
    of_kind,
    pods_of,
    strings,
    title,
)

Rule = Callable[[Sequence[Object]], Iterable[Violation]]

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_SERVICE = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
_PORT = re.compile(r"^(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$")
_LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_SECRET_NAME = re.compile(
    r"(PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SIGNING_?KEY)", re.IGNORECASE
)
_SECRET_TEXT = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s@]+@|\bAKIA[0-9A-Z]{16}\b")
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
_INSTEAD = "refer to a Secret that the cluster holds (External Secrets, SOPS), or use workload identity"
_SUBSTITUTE = "kustomize.toolkit.fluxcd.io/substitute"
_RELEASE_VARIABLES = {"RANKOPS_RELEASE_URI": "rankops.dev/release-uri", "RANKOPS_RELEASE_DIGEST": "rankops.dev/release"}
_RELEASE_CONTAINERS = {"initContainers": "fetch-release", "containers": "server"}


def selectors_match_templates(objects: Sequence[Object]) -> Iterator[Violation]:
    """The selector of a Deployment (StatefulSet, DaemonSet) is not empty and matches its own pods."""
    for pods in pods_of(objects):
        if pods.owner.get("kind") not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
            continue
        selector = mapping(pods.owner, "spec", "selector")
        if not selector or not matches(selector, pods.labels):
            message = f"{dict(mapping(selector, 'matchLabels'))} does not match the template's labels {pods.labels}"
            yield Violation("selector", title(pods.owner), "spec.selector", message)


def services_reach_pods(objects: Sequence[Object]) -> Iterator[Violation]:
    """A Service selects pods that are rendered here, and each port leads to a port that they open."""
    for service in of_kind(objects, "Service"):
        selector = mapping(service, "spec", "selector")
        if not selector:
            continue  # ExternalName and hand-made endpoints
        chosen = _selected(objects, service, {"matchLabels": selector})
        if not chosen:
            message = f"no pod of this overlay has the labels {dict(selector)}"
            yield Violation("service", title(service), "spec.selector", message)
        for port in items(service, "spec", "ports"):
            target = port.get("targetPort", port.get("port"))
            if chosen and target not in _ports(chosen):
                at = f"spec.ports[{port.get('name', port.get('port'))}].targetPort"
                yield Violation("service", title(service), at, f"the selected pods open no port {target!r}")


def policies_have_targets(objects: Sequence[Object]) -> Iterator[Violation]:
    """Disruption budgets, network policies and pod monitors select pods that are rendered here."""
    for obj in of_kind(objects, *rules_scaling.SELECTORS):
        field = rules_scaling.SELECTORS[str(obj["kind"])]
        selector = mapping(obj, "spec", field)
        chosen = _selected(objects, obj, selector)
        if not chosen:
            message = f"no pod of this overlay matches {dict(selector)}"
            yield Violation("target", title(obj), f"spec.{field}", message)
        for endpoint in items(obj, "spec", "podMetricsEndpoints"):
            if chosen and endpoint.get("port") not in _ports(chosen):
                message = f"the selected pods open no port {endpoint.get('port')!r}"
                yield Violation("target", title(obj), "spec.podMetricsEndpoints", message)


def references_exist(objects: Sequence[Object]) -> Iterator[Violation]:
    """Service accounts and config maps that pods name are rendered here (secrets never are, on purpose)."""
    there = {(str(o.get("kind")), namespace_of(o), dig(o, "metadata", "name")) for o in objects}
    for pods in pods_of(objects):
        account = pods.spec.get("serviceAccountName", "default")
        named = [] if account == "default" else [("ServiceAccount", account, "serviceAccountName")]
        for volume in items(pods.spec, "volumes"):
            source = mapping(volume, "configMap")
            if source and not source.get("optional"):
                named.append(("ConfigMap", source.get("name"), f"volumes[{volume.get('name')}]"))
        for kind, name, path in named:
            if (kind, namespace_of(pods.owner), name) not in there:
                message = f"{kind} {name!r} is not in this overlay (is a component missing?)"
                yield Violation("reference", title(pods.owner), f"{pods.path}spec.{path}", message)


def names_are_valid(objects: Sequence[Object]) -> Iterator[Violation]:
    """Names of objects and namespaces, and label values, are what the API server wants; nothing is rendered twice."""
    for obj in objects:
        kind, name = obj.get("kind"), str(dig(obj, "metadata", "name"))
        dotted = kind in ("ConfigMap", "Secret", "ServiceAccount", "PrometheusRule", "PodMonitor", "MetricTemplate")
        pattern = _SERVICE if kind == "Service" else _SUBDOMAIN if dotted else _LABEL
        if not pattern.match(name) or len(name) > 253:
            yield Violation("name", title(obj), "metadata.name", f"{name!r} is not a valid name for a {kind}")
        namespace = namespace_of(obj)
        if namespace and not _LABEL.match(namespace):
            yield Violation("name", title(obj), "metadata.namespace", f"{namespace!r} is not a DNS label")
        yield from _labels(obj, "metadata.labels", mapping(obj, "metadata", "labels"))
    for double, count in Counter(f"{o.get('apiVersion')} {title(o)}" for o in objects).items():
        if count > 1:
            yield Violation("name", double.split(" ", 1)[1], "metadata.name", f"rendered {count} times")


def pod_names_are_valid(objects: Sequence[Object]) -> Iterator[Violation]:
    """Names of containers and ports, and the pods' label values, are what the API server wants."""
    for pods in pods_of(objects):
        yield from _labels(pods.owner, f"{pods.path}metadata.labels", pods.labels)
        for path, container in pods.containers():
            if not _LABEL.match(str(container.get("name"))):
                yield Violation("name", title(pods.owner), path, "the container's name is not a DNS label")
            for port in items(container, "ports"):
                if "name" in port and not _PORT.match(str(port["name"])):
                    message = f"{port['name']!r} is not a port name (at most 15 of a-z, 0-9, -)"
                    yield Violation("name", title(pods.owner), f"{path}.ports", message)


def objects_hold_no_secret(objects: Sequence[Object]) -> Iterator[Violation]:
    """No Secret with content, and no private key or password in a ConfigMap: Git remembers for ever."""
    for obj in objects:
        if obj.get("kind") == "Secret" and (obj.get("data") or obj.get("stringData")):
            yield Violation("plain-secret", title(obj), "data", f"a Secret with content in plain text; {_INSTEAD}")
        if obj.get("kind") == "ConfigMap":
            for key, value in mapping(obj, "data").items():
                if _SECRET_TEXT.search(str(value)):
                    yield Violation("plain-secret", title(obj), f"data.{key}", f"holds a credential; {_INSTEAD}")


def containers_hold_no_secret(objects: Sequence[Object]) -> Iterator[Violation]:
    """No literal password, token or key in a container's variables, command or arguments."""
    for pods in pods_of(objects):
        for path, container in pods.containers():
            mounted = [str(mount.get("mountPath")).rstrip("/") + "/" for mount in items(container, "volumeMounts")]
            for entry in items(container, "env"):
                if _is_literal_secret(entry, mounted):
                    at = f"{path}.env[{entry.get('name')}]"
                    yield Violation("plain-secret", title(pods.owner), at, f"looks like a literal secret; {_INSTEAD}")
            for field in ("command", "args"):
                if any(_SECRET_TEXT.search(text) for text in strings(container, field)):
                    at = f"{path}.{field}"
                    yield Violation("plain-secret", title(pods.owner), at, f"holds a credential; {_INSTEAD}")


def _is_literal_secret(entry: Object, mounted: Sequence[str]) -> bool:
    """Whether a variable holds a secret; where a mounted file lies (a path below ``mounted``) is none."""
    value = entry.get("value")
    if not isinstance(value, str) or not value or re.fullmatch(r"\$\([^)]+\)", value):
        return False
    if value.startswith(tuple(mounted)) and _PATH.fullmatch(value):
        return False
    return bool(_SECRET_NAME.search(str(entry.get("name"))) or _SECRET_TEXT.search(value))


def nothing_is_substituted(objects: Sequence[Object]) -> Iterator[Violation]:
    """No ``${NAME}`` where Flux would put a value of its own, or fail because it has none."""
    for obj in objects:
        if mapping(obj, "metadata", "annotations").get(_SUBSTITUTE) == "disabled":
            continue
        for path in _with_text("${", obj):
            message = f"holds ${{...}}, which Flux substitutes: annotate the object with {_SUBSTITUTE}: disabled"
            yield Violation("substitution", title(obj), path, message)


def servers_are_spread(objects: Sequence[Object]) -> Iterator[Violation]:
    """Pods behind a Service are spread over nodes, by constraints that count these very pods."""
    for service in of_kind(objects, "Service"):
        selector = mapping(service, "spec", "selector")
        for pods in _selected(objects, service, {"matchLabels": selector}) if selector else []:
            at = f"{pods.path}spec.topologySpreadConstraints"
            constraints = items(pods.spec, "topologySpreadConstraints")
            if not any(c.get("topologyKey") == "kubernetes.io/hostname" for c in constraints):
                message = "must spread over kubernetes.io/hostname, or one node takes all replicas with it"
                yield Violation("spread", title(pods.owner), at, message)
            for constraint in constraints:
                if not matches(mapping(constraint, "labelSelector"), pods.labels):
                    message = f"counts other pods than these: {dict(mapping(constraint, 'labelSelector'))}"
                    yield Violation("spread", title(pods.owner), at, message)


def releases_are_pinned(objects: Sequence[Object]) -> Iterator[Violation]:
    """Pods that fetch a release say which one, once: annotations and the variables of both containers agree."""
    for pods in pods_of(objects):
        there = {field: _named(pods, field, name) for field, name in _RELEASE_CONTAINERS.items()}
        if not any(there.values()):
            continue
        annotations = mapping(pods.template, "metadata", "annotations")
        if annotations.get("rankops.dev/release") in (None, "none"):
            message = "no release is pinned: materialize `deploy` for this environment"
            yield Violation("release", title(pods.owner), f"{pods.path}metadata.annotations", message)
            continue
        yield from _lineage(pods, annotations)
        for field, name in _RELEASE_CONTAINERS.items():
            container = there[field]
            if container is None:
                yield Violation("release", title(pods.owner), f"{pods.path}spec.{field}", f"no container {name!r}")
                continue
            values = {entry.get("name"): entry.get("value") for entry in items(container, "env")}
            for variable, annotation in _RELEASE_VARIABLES.items():
                if values.get(variable) != annotations.get(annotation):
                    at = f"{pods.path}spec.{field}[{name}].env[{variable}]"
                    message = f"{values.get(variable)!r} differs from {annotation} {annotations.get(annotation)!r}"
                    yield Violation("release", title(pods.owner), at, message)
            if "$(RANKOPS_RELEASE_DIGEST)" not in strings(container, "args"):
                at = f"{pods.path}spec.{field}[{name}].args"
                yield Violation("release", title(pods.owner), at, "do not check $(RANKOPS_RELEASE_DIGEST)")


RULES: tuple[Rule, ...] = (
    selectors_match_templates,
    services_reach_pods,
    policies_have_targets,
    rules_scaling.scalers_have_targets,
    rules_scaling.replicas_have_one_owner,
    rules_scaling.scaled_objects_are_fed,
    rules_scaling.canaries_fit_in,
    references_exist,
    names_are_valid,
    pod_names_are_valid,
    objects_hold_no_secret,
    containers_hold_no_secret,
    nothing_is_substituted,
    releases_are_pinned,
    rules_pods.images_are_pinned,
    rules_pods.resources_are_stated,
    rules_pods.gpus_are_limits,
    rules_pods.probes_are_present,
    rules_pods.servers_drain,
    servers_are_spread,
    rules_pods.mounts_have_volumes,
    rules_pods.variables_are_known,
    rules_pods.security_is_restricted,
)


def check(objects: Sequence[Object]) -> list[Violation]:
    """Every violation of every rule, in the order of ``RULES``."""
    return [violation for rule in RULES for violation in rule(objects)]


def _selected(objects: Sequence[Object], by: Object, selector: Object) -> list[Pods]:
    """The pods in the namespace of ``by`` that a selector matches."""
    return [
        pods
        for pods in pods_of(objects)
        if namespace_of(pods.owner) == namespace_of(by) and matches(selector, pods.labels)
    ]


def _ports(chosen: Iterable[Pods]) -> set[Any]:
    """Names and numbers of the ports that these pods open."""
    ports = [port for pods in chosen for _, container in pods.containers() for port in items(container, "ports")]
    return {port.get("name") for port in ports} | {port.get("containerPort") for port in ports}


def _labels(obj: Object, path: str, labels: Mapping[str, Any]) -> Iterator[Violation]:
    for key, value in labels.items():
        if not isinstance(value, str) or not _LABEL_VALUE.match(value):
            message = f"{value!r} is not a label value (at most 63 of A-Z, a-z, 0-9, -, _, .)"
            yield Violation("name", title(obj), f"{path}.{key}", message)


def _with_text(text: str, value: Any, path: str = "") -> Iterator[str]:
    """Paths of the strings that hold ``text``."""
    if isinstance(value, str):
        if text in value:
            yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _with_text(text, inner, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _with_text(text, inner, f"{path}[{index}]")


def _named(pods: Pods, field: str, name: str) -> Object | None:
    return next((c for c in items(pods.spec, field) if c.get("name") == name), None)


def _lineage(pods: Pods, annotations: Object) -> Iterator[Violation]:
    """The annotations themselves: digests are digests, and nothing is a placeholder."""
    path = f"{pods.path}metadata.annotations"
    for key in ("rankops.dev/release", "rankops.dev/dataset", "rankops.dev/checkpoint"):
        if not _SHA256.match(str(annotations.get(key))):
            message = f"{annotations.get(key)!r} is not 64 hex digits"
            yield Violation("release", title(pods.owner), f"{path}.{key}", message)
    uri = str(annotations.get("rankops.dev/release-uri", ""))
    tail = uri.rstrip("/").rsplit("/", 1)[-1]
    if "://" not in uri:
        yield Violation("release", title(pods.owner), f"{path}.rankops.dev/release-uri", f"{uri!r} is not a URL")
    elif _SHA256.match(tail) and tail != annotations.get("rankops.dev/release"):
        message = f"{uri!r} is the URL of another release than rankops.dev/release"
        yield Violation("release", title(pods.owner), f"{path}.rankops.dev/release-uri", message)
