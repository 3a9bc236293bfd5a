"""Reading rendered Kubernetes objects: small, total functions (a wrong type reads as absence, never as a crash).

What belongs here: navigation that ``schemas``, ``rules``, ``rules_pods`` and ``local_pod`` share. No judgement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Object = Mapping[str, Any]

TEMPLATES: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
"""Kinds that run pods, and where their pod template lies."""


class Violation(NamedTuple):
    """One broken rule: its name, the object (``Deployment staging/retriever``), the field and what is wrong."""

    rule: str
    object: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.object}: {self.path}: {self.message} [{self.rule}]"


class Pods(NamedTuple):
    """The pods that an object asks for: their template, and the dotted path at which it stands."""

    owner: Object
    template: Object
    path: str

    @property
    def labels(self) -> dict[str, Any]:
        """Labels that each pod carries."""
        return dict(mapping(self.template, "metadata", "labels"))

    @property
    def spec(self) -> Object:
        """The pod spec."""
        return mapping(self.template, "spec")

    def containers(self, *fields: str) -> Iterator[tuple[str, Object]]:
        """``(path, container)`` of init containers and containers (or of the given fields only)."""
        for field in fields or ("initContainers", "containers"):
            for index, container in enumerate(items(self.spec, field)):
                yield f"{self.path}spec.{field}[{container.get('name', index)}]", container


def dig(value: Any, *keys: str) -> Any:
    """``value[k1][k2]...`` or None where a key is missing or a value is not a mapping."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def mapping(value: Any, *keys: str) -> Object:
    """Like :func:`dig`; an empty mapping where there is none."""
    found = dig(value, *keys)
    return found if isinstance(found, Mapping) else {}


def items(value: Any, *keys: str) -> list[Object]:
    """Like :func:`dig`, for a list of mappings; anything else in the list is left out."""
    found = dig(value, *keys)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def strings(value: Any, *keys: str) -> list[str]:
    """Like :func:`dig`, for a list of strings."""
    found = dig(value, *keys)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def namespace_of(obj: Object) -> str:
    """The object's namespace; empty where the overlay sets none."""
    return str(dig(obj, "metadata", "namespace") or "")


def title(obj: Object) -> str:
    """``Deployment staging/retriever``: how messages call an object."""
    name = dig(obj, "metadata", "name") or "(no name)"
    namespace = namespace_of(obj)
    return f"{obj.get('kind', '(no kind)')} {namespace}/{name}" if namespace else f"{obj.get('kind')} {name}"


def of_kind(objects: Sequence[Object], *kinds: str) -> Iterator[Object]:
    """The objects of these kinds, in order."""
    return (obj for obj in objects if obj.get("kind") in kinds)


def pods_of(objects: Sequence[Object]) -> Iterator[Pods]:
    """Every pod template among the objects."""
    for obj in objects:
        keys = TEMPLATES.get(str(obj.get("kind")))
        if keys is not None:
            yield Pods(obj, mapping(obj, *keys), "".join(f"{key}." for key in keys))


def matches(selector: Object, labels: Mapping[str, Any]) -> bool:
    """Does a label selector (``matchLabels`` and ``matchExpressions``) match these labels?"""
    wanted = mapping(selector, "matchLabels")
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(expression, labels) for expression in items(selector, "matchExpressions"))


def _expression(expression: Object, labels: Mapping[str, Any]) -> bool:
    key, values = str(expression.get("key")), strings(expression, "values")
    operator = expression.get("operator")
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) == (operator == "Exists")
