"""Strict schemas of the custom resources that the components use, field by field as their published types have them.

What belongs here: kinds for which no schema comes with Kubernetes. An API server prunes a field that it does not know
without a word, so a misspelled one is refused here. Parts that no component uses and that are large in themselves
(credentials, TLS, the routing of particular meshes) are known by name only.

A bound that the controllers check when it is too late (``minReplicaCount`` above ``maxReplicaCount``, a fallback that
KEDA would ignore) is checked with the shape.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from rankops.overlays.custom.flagger import Canary, MetricTemplate
from rankops.overlays.custom.keda import ScaledObject
from rankops.overlays.custom.monitoring import PodMonitor, PrometheusRule
from rankops.overlays.custom.parts import Resource
from rankops.overlays.objects import Object

_KINDS: dict[tuple[str, str], type[Resource]] = {
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("flagger.app/v1beta1", "Canary"): Canary,
    ("flagger.app/v1beta1", "MetricTemplate"): MetricTemplate,
}


def is_known(api: str, kind: str) -> bool:
    """Is there a schema for this kind here?"""
    return (api, kind) in _KINDS


def departures(obj: Object) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """``(path, message)`` of everything that is wrong with an object of a known kind."""
    try:
        _KINDS[str(obj.get("apiVersion")), str(obj.get("kind"))].model_validate(obj)
    except ValidationError as error:
        for wrong in error.errors(include_url=False, include_input=False, include_context=False):
            message = "is not a field of this kind" if wrong["type"] == "extra_forbidden" else wrong["msg"]
            yield tuple(wrong["loc"]), message.removeprefix("Value error, ")
