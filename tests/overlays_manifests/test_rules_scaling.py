"""Canary, KEDA and image volume in one overlay: each mistake in how they meet is refused by its rule."""

from __future__ import annotations

from typing import Any

import pytest

from rankops.overlays import rules
from tests.overlays_manifests.conftest import RELEASE, Mutation, Objects, one, pod

MATCH_TARGET_ONLY = {"matchLabels": {"app.kubernetes.io/name": "retriever"}}


def _spec(objects: Objects, kind: str) -> dict[str, Any]:
    return one(objects, kind)["spec"]


def _drop(objects: Objects, kind: str) -> None:
    objects[:] = [o for o in objects if o["kind"] != kind]


def _rename(objects: Objects, name: str) -> None:
    """Give the model another name everywhere, as if it had been called so from the start."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [renamed(inner) for inner in value]
        return value.replace("retriever", name) if isinstance(value, str) else value

    objects[:] = renamed(objects)


def _query(objects: Objects, number: int, old: str, new: str) -> None:
    metadata = _spec(objects, "ScaledObject")["triggers"][number]["metadata"]
    metadata["query"] = metadata["query"].replace(old, new)


BROKEN_DELIVERY: list[tuple[str, str, str, Mutation]] = [
    ("replicas beside KEDA and Flagger", "autoscaler", "spec.replicas",
     lambda o: _spec(o, "Deployment").update(replicas=2)),
    ("KEDA and Flagger start pods of an overlay without release", "autoscaler", "spec",
     lambda o: _spec(o, "Deployment").update(replicas=0)),
    ("ScaledObject without target", "target", "spec.scaleTargetRef",
     lambda o: (_drop(o, "Canary"), _spec(o, "ScaledObject")["scaleTargetRef"].update(name="other"))),
    ("canary without target", "target", "spec.targetRef",
     lambda o: _spec(o, "Canary")["targetRef"].update(name="other")),
    ("nothing scrapes what KEDA asks for", "autoscaler", "spec.triggers",
     lambda o: (_drop(o, "Canary"), _drop(o, "PodMonitor"))),
    ("KEDA asks for all namespaces", "autoscaler", "spec.triggers[in-flight].metadata.query",
     lambda o: (_drop(o, "Canary"), _query(o, 0, 'namespace="rankops-production",', ""))),
    ("KEDA asks for another namespace", "autoscaler", "spec.triggers[request-rate].metadata.query",
     lambda o: (_drop(o, "Canary"), _query(o, 1, "rankops-production", "set-by-the-overlay"))),
    ("the promoted pods have no budget", "canary", "spec.targetRef",
     lambda o: _spec(o, "PodDisruptionBudget").update(selector=MATCH_TARGET_ONLY)),
    ("the promoted pods have no network policy", "canary", "spec.targetRef",
     lambda o: _spec(o, "NetworkPolicy").update(podSelector=MATCH_TARGET_ONLY)),
    ("the promoted pods are not scraped", "canary", "spec.targetRef",
     lambda o: _spec(o, "PodMonitor").update(selector=MATCH_TARGET_ONLY)),
    ("nothing is scraped", "canary", "spec.analysis.metrics",
     lambda o: (_drop(o, "PodMonitor"), _drop(o, "ScaledObject"), o.append(AUTOSCALER), _follow(o))),
    ("the canary follows another autoscaler", "canary", "spec.autoscalerRef",
     lambda o: _spec(o, "Canary")["autoscalerRef"].update(kind="HorizontalPodAutoscaler")),
    ("no autoscaler", "canary", "spec.autoscalerRef", lambda o: _drop(o, "ScaledObject")),
    ("the copied query still asks for the canary", "canary", "spec.autoscalerRef.primaryScalerQueries",
     lambda o: _query(o, 0, 'workload="retriever"', 'model="retriever"')),
    ("Flagger spoils a namespace that holds the model's name", "canary", "spec.autoscalerRef.primaryScalerQueries",
     lambda o: _rename(o, "rankops")),
    ("a name like those that Flagger makes", "canary", "spec.targetRef.name", lambda o: _rename(o, "retriever-canary")),
    ("metric template missing", "canary", "spec.analysis.metrics[error share].templateRef",
     lambda o: _drop(o, "MetricTemplate")),
    ("Flux undoes the route", "canary", "spec.service", lambda o: one(o, "Service")["metadata"].pop("annotations")),
    ("another port than the Service's", "canary", "spec.service",
     lambda o: _spec(o, "Canary")["service"].update(port=8080)),
    ("image volume by any tag", "image-digest", "spec.template.spec.volumes[release].image.reference",
     lambda o: _volume(o).update(reference="registry.example.com/search/retriever:latest")),
    ("image volume of another release", "image-digest", "spec.template.spec.volumes[release].image.reference",
     lambda o: _volume(o).update(reference=f"registry.example.com/search/retriever:{'5' * 64}")),
]  # fmt: skip

AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "retriever", "namespace": "rankops-production"},
    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "retriever"}},
}


def _follow(objects: Objects) -> None:
    _spec(objects, "Canary")["autoscalerRef"].update(kind="HorizontalPodAutoscaler")


def _volume(objects: Objects) -> dict[str, Any]:
    (volume,) = [v for v in pod(objects)["spec"]["volumes"] if v["name"] == "release"]
    return volume["image"]


@pytest.mark.parametrize(
    ("rule", "path", "spoil"), [b[1:] for b in BROKEN_DELIVERY], ids=[b[0] for b in BROKEN_DELIVERY]
)
def test_a_mistake_is_refused_by_its_rule(canary: Objects, rule: str, path: str, spoil: Mutation) -> None:
    spoil(canary)
    found = rules.check(canary)
    assert (rule, path) in {(v.rule, v.path) for v in found}
    assert {v.rule for v in found} == {rule}, "one mistake must not set off other rules"


def test_own_queries_for_the_promoted_pods_are_taken(canary: Objects) -> None:
    _rename(canary, "rankops")
    wanted = 'sum(rankops_in_flight{namespace="rankops-production",workload="rankops-primary"})'
    queries = {"in-flight": wanted, "request-rate": wanted}
    _spec(canary, "Canary")["autoscalerRef"]["primaryScalerQueries"] = queries
    assert rules.check(canary) == []


def test_an_image_volume_may_be_pinned_by_digest_or_by_the_release_that_it_is_verified_against(canary: Objects) -> None:
    assert _volume(canary)["reference"] == f"registry.example.com/search/retriever:{RELEASE}"
    _volume(canary)["reference"] = "registry.example.com/search/retriever@sha256:" + "7" * 64
    assert rules.check(canary) == []
