"""Rules about who decides how many pods there are and which release they serve: autoscalers and canaries.

What belongs here: HorizontalPodAutoscalers, KEDA's ScaledObjects and Flagger's Canaries, how they meet each other, and
how they meet what selects their pods. ``rules.py`` lists all rules. A rule never raises; it yields what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

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
    title,
)

PAUSED = ("autoscaling.keda.sh/paused-replicas", "autoscaling.keda.sh/paused")
CREATE_ONLY = "kustomize.toolkit.fluxcd.io/ssa"
SELECTORS = {"PodDisruptionBudget": "selector", "NetworkPolicy": "podSelector", "PodMonitor": "selector"}
"""Kinds that choose pods, and the field of their spec that does."""

_TARGETS = {"HorizontalPodAutoscaler": "scaleTargetRef", "ScaledObject": "scaleTargetRef", "Canary": "targetRef"}
_FLAGGER_LABELS = ("app", "name", "app.kubernetes.io/name")  # Flagger's default --selector-labels
_NAMESPACE = re.compile(r'\bnamespace="([^"]*)"')


def scalers_have_targets(objects: Sequence[Object]) -> Iterator[Violation]:
    """The target of an autoscaler or a canary is rendered here."""
    for scaler in of_kind(objects, *_TARGETS):
        if not _target(objects, scaler):
            field = _TARGETS[str(scaler["kind"])]
            wanted = mapping(scaler, "spec", field)
            message = f"{wanted.get('kind', 'Deployment')} {wanted.get('name')!r} is not in this overlay"
            yield Violation("target", title(scaler), f"spec.{field}", message)


def replicas_have_one_owner(objects: Sequence[Object]) -> Iterator[Violation]:
    """One autoscaler a target, which leaves ``replicas`` to it; where Git asks for 0, nothing else starts pods."""
    owners: dict[str, str] = {}
    for scaler in of_kind(objects, *_TARGETS):
        target = _target(objects, scaler)
        if target is None:
            continue
        replicas = dig(target, "spec", "replicas")
        if replicas not in (None, 0):
            message = f"must be absent: {title(scaler)} owns it, and each sync would undo its work"
            yield Violation("autoscaler", title(target), "spec.replicas", message)
        if replicas == 0 and _would_start_pods(scaler):
            message = f"starts pods although {title(target)} asks for none: pause or suspend it (components/unreleased)"
            yield Violation("autoscaler", title(scaler), "spec", message)
        if scaler["kind"] == "Canary":
            continue
        other = owners.setdefault(title(target), title(scaler))
        if other != title(scaler):
            message = f"{title(target)} has another autoscaler, {other}; each would undo the other's work"
            yield Violation("autoscaler", title(scaler), "spec.scaleTargetRef", message)


def scaled_objects_are_fed(objects: Sequence[Object]) -> Iterator[Violation]:
    """What a ScaledObject asks Prometheus for is scraped here, and is about its own namespace."""
    for scaler in of_kind(objects, "ScaledObject"):
        target = _target(objects, scaler)
        queries = _queries(scaler)
        if queries and target is not None and not _monitors(objects, target):
            message = "nothing scrapes these pods: list components/monitoring"
            yield Violation("autoscaler", title(scaler), "spec.triggers", message)
        for name, query in queries.items():
            if set(_NAMESPACE.findall(query)) != {namespace_of(scaler)}:
                message = f'must ask for namespace="{namespace_of(scaler)}", or other environments count: {query}'
                yield Violation("autoscaler", title(scaler), f"spec.triggers[{name}].metadata.query", message)


def canaries_fit_in(objects: Sequence[Object]) -> Iterator[Violation]:
    """What Flagger makes of a target (``<name>-primary``) is scaled, measured and protected as the target is."""
    for canary in of_kind(objects, "Canary"):
        target = _target(objects, canary)
        if target is None:
            continue
        checks = (
            *_names(target),
            *_references(objects, canary),
            *_autoscaler(objects, canary, target),
            *_selectors(objects, target),
            *_service(objects, canary),
        )
        for path, message in checks:
            yield Violation("canary", title(canary), path, message)


def _target(objects: Sequence[Object], scaler: Object) -> Object | None:
    wanted = mapping(scaler, "spec", _TARGETS[str(scaler["kind"])])
    return _find(objects, str(wanted.get("kind", "Deployment")), wanted.get("name"), namespace_of(scaler))


def _find(objects: Sequence[Object], kind: str, name: object, namespace: str) -> Object | None:
    same = (o for o in of_kind(objects, kind) if namespace_of(o) == namespace and dig(o, "metadata", "name") == name)
    return next(same, None)


def _would_start_pods(scaler: Object) -> bool:
    """KEDA and Flagger start pods of a target with 0 replicas; a HorizontalPodAutoscaler stands still."""
    if scaler["kind"] == "ScaledObject":
        return not any(key in mapping(scaler, "metadata", "annotations") for key in PAUSED)
    return scaler["kind"] == "Canary" and dig(scaler, "spec", "suspend") is not True


def _queries(scaler: Object) -> dict[str, str]:
    """Queries of the Prometheus triggers, by trigger."""
    triggers = [t for t in items(scaler, "spec", "triggers") if t.get("type") == "prometheus"]
    return {str(t.get("name", i)): str(dig(t, "metadata", "query")) for i, t in enumerate(triggers)}


def _pods(objects: Sequence[Object], target: Object) -> Pods | None:
    return next((pods for pods in pods_of(objects) if pods.owner is target), None)


def _monitors(objects: Sequence[Object], target: Object) -> list[Object]:
    pods = _pods(objects, target)
    return [
        monitor
        for monitor in of_kind(objects, "PodMonitor")
        if pods is not None
        and namespace_of(monitor) == namespace_of(target)
        and matches(mapping(monitor, "spec", "selector"), pods.labels)
    ]


def _names(target: Object) -> Iterator[tuple[str, str]]:
    name = str(dig(target, "metadata", "name"))
    if name.endswith(("-primary", "-canary")):
        yield "spec.targetRef.name", f"{name!r} ends as the names do that Flagger makes"
    if not any(label in mapping(target, "spec", "selector", "matchLabels") for label in _FLAGGER_LABELS):
        yield "spec.targetRef", f"the target's selector has none of {', '.join(_FLAGGER_LABELS)}, which Flagger needs"


def _references(objects: Sequence[Object], canary: Object) -> Iterator[tuple[str, str]]:
    for metric in items(canary, "spec", "analysis", "metrics"):
        wanted = mapping(metric, "templateRef")
        if "namespace" in wanted or not wanted:
            continue
        if _find(objects, "MetricTemplate", wanted.get("name"), namespace_of(canary)) is None:
            at = f"spec.analysis.metrics[{metric.get('name')}].templateRef"
            yield at, f"MetricTemplate {wanted.get('name')!r} is not in this overlay"


def _autoscaler(objects: Sequence[Object], canary: Object, target: Object) -> Iterator[tuple[str, str]]:
    named = mapping(canary, "spec", "autoscalerRef")
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        if _target(objects, scaler) is target:
            if (named.get("kind"), named.get("name")) != (scaler["kind"], dig(scaler, "metadata", "name")):
                yield "spec.autoscalerRef", f"must name {title(scaler)}: list canary before autoscale-keda"
            elif scaler["kind"] == "ScaledObject":
                yield from _copied_queries(scaler, str(dig(target, "metadata", "name")), named)
            return
    yield "spec.autoscalerRef", f"{title(target)} has no autoscaler: on a GPU list autoscale-keda"


def _copied_queries(scaler: Object, target: str, named: Object) -> Iterator[tuple[str, str]]:
    """Flagger copies queries with every ``<target>`` replaced by ``<target>-primary``, wherever it stands."""
    for name, query in _queries(scaler).items():
        copy = str(mapping(named, "primaryScalerQueries").get(name) or query.replace(target, f"{target}-primary"))
        for wanted in (f'workload="{target}-primary"', f'namespace="{namespace_of(scaler)}"'):
            if wanted not in copy:
                yield "spec.autoscalerRef.primaryScalerQueries", f"must give {name!r} a query with {wanted}, not {copy}"


def _selectors(objects: Sequence[Object], target: Object) -> Iterator[tuple[str, str]]:
    pods = _pods(objects, target)
    if pods is None:
        return
    if not _monitors(objects, target):
        yield "spec.analysis.metrics", "nothing scrapes these pods: list components/monitoring before canary"
    label = next(
        (label for label in _FLAGGER_LABELS if label in mapping(target, "spec", "selector", "matchLabels")), ""
    )
    primary = pods.labels | {label: f"{pods.labels.get(label)}-primary"}
    for chooser in of_kind(objects, *SELECTORS):
        selector = mapping(chooser, "spec", SELECTORS[str(chooser["kind"])])
        same = namespace_of(chooser) == namespace_of(target) and matches(selector, pods.labels)
        if same and not matches(selector, primary):
            yield "spec.targetRef", f"{title(chooser)} does not select the pods of {primary[label]}"


def _service(objects: Sequence[Object], canary: Object) -> Iterator[tuple[str, str]]:
    wanted = mapping(canary, "spec", "service")
    name = wanted.get("name") or dig(canary, "spec", "targetRef", "name")
    service = _find(objects, "Service", name, namespace_of(canary))
    if service is None:
        return
    if mapping(service, "metadata", "annotations").get(CREATE_ONLY) != "IfNotPresent":
        yield (
            "spec.service",
            f"{title(service)} needs the annotation {CREATE_ONLY}: IfNotPresent, or Flux undoes the route",
        )
    port = {"port": wanted.get("port"), "name": wanted.get("portName", "http"), "targetPort": wanted.get("targetPort")}
    if not any(all(there.get(k) == v for k, v in port.items()) for there in items(service, "spec", "ports")):
        yield "spec.service", f"{title(service)} has no such port: {port}"
