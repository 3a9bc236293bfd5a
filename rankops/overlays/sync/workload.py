"""Which objects of a rendered overlay serve a model: what to look for in a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rankops.errors import InvalidOverlay
from rankops.overlays.objects import Object, dig, items, matches, namespace_of, of_kind, pods_of
from rankops.overlays.sync.state import number, text


@dataclass(frozen=True)
class Workload:
    """Names in the cluster. ``port`` is the Service's, by number.

    ``canary``: Flagger stands in front, and ``<deployment>-primary`` serves.
    """

    namespace: str
    deployment: str
    service: str
    port: int
    canary: str | None = None

    @property
    def serving_deployment(self) -> str:
        """The Deployment whose pods answer users."""
        return f"{self.deployment}-primary" if self.canary else self.deployment


def workload_of(objects: Sequence[Object], model: str) -> Workload:
    """The model's Deployment, its Service and its Canary as the overlay renders them.

    Raises :class:`InvalidOverlay` where there is no Deployment of that name, or no Service selects its pods.
    """
    pods = next((p for p in pods_of(objects) if _is(p.owner, "Deployment", model)), None)
    if pods is None:
        raise InvalidOverlay(f"the overlay renders no Deployment {model!r}", "name the base's Deployment so")
    namespace = namespace_of(pods.owner) or "default"
    canary = next((c for c in of_kind(objects, "Canary") if dig(c, "spec", "targetRef", "name") == model), None)
    if canary is not None:  # Flagger makes the Service, called after spec.service.name or the Deployment
        service = text(canary, "spec", "service", "name") or model
        port = number(canary, "spec", "service", "port") or 80
        return Workload(namespace, model, service, port, text(canary, "metadata", "name"))
    for service_object in of_kind(objects, "Service"):
        selector = dig(service_object, "spec", "selector")
        if selector and matches({"matchLabels": selector}, pods.labels):
            ports = items(service_object, "spec", "ports")
            port = number(ports[0], "port") if ports else 80
            return Workload(namespace, model, text(service_object, "metadata", "name"), port)
    raise InvalidOverlay(f"no Service of the overlay selects the pods of Deployment {model!r}", "add one")


def _is(obj: Object, kind: str, name: str) -> bool:
    return obj.get("kind") == kind and dig(obj, "metadata", "name") == name
