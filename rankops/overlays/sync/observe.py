"""One look at a cluster: the controller's word, the rollout's, and both in one state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from rankops.errors import RemoteUnavailable
from rankops.overlays.objects import Object, dig, items, strings
from rankops.overlays.sync import argocd, flagger, flux
from rankops.overlays.sync.api import KubernetesApi, NotFound
from rankops.overlays.sync.rollout import PodTrouble, pod_troubles, rollout_state
from rankops.overlays.sync.state import Relate, SyncState, Transient, condition, text
from rankops.overlays.sync.workload import Workload

Controller = Literal["flux", "argocd"]


@dataclass(frozen=True)
class ControllerObject:
    """The Kustomization or Application that applies one overlay."""

    kind: Controller
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{'Kustomization' if self.kind == 'flux' else 'Application'} {self.namespace}/{self.name}"


class ClusterView:
    """Reads all that says whether ``release`` is live; see :meth:`look`."""

    def __init__(
        self,
        api: KubernetesApi,
        controller: ControllerObject,
        workload: Workload,
        *,
        overlay: str,
        release: str,
        relate: Relate,
    ) -> None:
        self._api, self._controller, self._workload = api, controller, workload
        self._overlay, self._release, self._relate = overlay, release, relate
        self._logs: dict[tuple[str, str, str], str] = {}

    def look(self) -> SyncState:
        """The state now: healthy when the controller reports our commit *and* its pods have rolled out.

        Raises :class:`NotFound` where the Kustomization or Application does not exist, and what the API raises.
        """
        return combine(self._sync().about(str(self._controller)), self._serving())

    def completed_at(self) -> datetime | None:
        """When the rollout that stands now was complete, by the Deployment's own record (UTC, whole seconds)."""
        found = condition(self._deployment(self._workload.serving_deployment), "Progressing")
        stamp = text(found, "lastUpdateTime") if text(found, "reason") == "NewReplicaSetAvailable" else ""
        return datetime.fromisoformat(stamp) if stamp else None

    def _sync(self) -> SyncState:
        if self._controller.kind == "argocd":
            application = self._custom(argocd, self._controller.namespace, self._controller.name)
            return argocd.application_state(application, self._relate, self._overlay)
        kustomization = self._custom(flux, self._controller.namespace, self._controller.name)
        state = flux.kustomization_state(kustomization, None, self._relate)
        if state.phase in ("wrong-revision", "failed") and not state.is_final:
            return flux.kustomization_state(kustomization, self._source(kustomization), self._relate)
        return state

    def _custom(self, kind: object, namespace: str, name: str) -> Object:
        group, version, plural = (getattr(kind, field) for field in ("GROUP", "VERSION", "PLURAL"))
        path = f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}"
        return self._api.get(path, f"{plural}.{group} {namespace}/{name}")

    def _source(self, kustomization: Object) -> Object | None:
        """What feeds the Kustomization; it only explains, so that one that we may not read is no error."""
        reference = dig(kustomization, "spec", "sourceRef")
        plural = flux.SOURCES.get(text(reference, "kind"))
        if plural is None:
            return None
        namespace = text(reference, "namespace") or self._controller.namespace
        path = f"/apis/{flux.SOURCE_GROUP}/v1/namespaces/{namespace}/{plural}/{text(reference, 'name')}"
        try:
            return {"kind": text(reference, "kind"), **self._api.get(path, f"{plural} {text(reference, 'name')}")}
        except Transient:
            raise
        except NotFound:
            missing = {"type": "Ready", "status": "False", "reason": "NotFound", "message": "does not exist"}
            name = {"name": text(reference, "name")}
            return {"kind": text(reference, "kind"), "metadata": name, "status": {"conditions": [missing]}}
        except RemoteUnavailable:
            return None

    def _serving(self) -> SyncState:
        """The candidate's analysis (where Flagger stands in front), then the Deployment that serves."""
        workload = self._workload
        try:
            if workload.canary:
                canary = flagger.canary_state(self._custom(flagger, workload.namespace, workload.canary))
                if canary.phase != "healthy":
                    return self._analysed(canary.about(f"Canary {workload.namespace}/{workload.canary}"))
            return self._rollout(workload.serving_deployment)
        except NotFound as missing:
            return SyncState("progressing", None, missing.problem, "NotFound")

    def _analysed(self, canary: SyncState) -> SyncState:
        """An open or lost analysis; a candidate whose pods are in trouble says more than one that waits for them.

        Flagger holds the candidate at 0 replicas before and after the analysis: that alone is no trouble.
        """
        candidate = self._rollout(self._workload.deployment)
        return canary if candidate.reason == "ScaledToZero" else combine(canary, candidate)

    def _rollout(self, name: str) -> SyncState:
        deployment = self._deployment(name)
        pods = self._pods(deployment)
        troubles = [self._with_log(trouble) for trouble in pod_troubles(pods, self._release)]
        state = rollout_state(deployment, pods, self._release, troubles)
        return state.about(f"Deployment {self._workload.namespace}/{name}")

    def _deployment(self, name: str) -> Object:
        namespace = self._workload.namespace
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        return self._api.get(path, f"Deployment {namespace}/{name}")

    def _pods(self, deployment: Object) -> list[Object]:
        selector = _selector(dig(deployment, "spec", "selector"))
        namespace = self._workload.namespace
        listed = self._api.get(f"/api/v1/namespaces/{namespace}/pods", f"pods of {namespace}", selector)
        return items(listed, "items")

    def _with_log(self, trouble: PodTrouble) -> PodTrouble:
        """The trouble with the end of the container's log, where the container left no termination message."""
        if not trouble.wants_log:
            return trouble
        key = (trouble.pod, trouble.container, trouble.message)
        if key not in self._logs:
            namespace = self._workload.namespace
            tail = self._api.log_tail(namespace, trouble.pod, trouble.container, previous=False)
            self._logs[key] = tail or self._api.log_tail(namespace, trouble.pod, trouble.container, previous=True)
        tail = self._logs[key]
        return replace(trouble, message=f"{trouble.message}: {tail[-600:]}") if tail else trouble


def combine(controller: SyncState, rollout: SyncState) -> SyncState:
    """One state of both.

    Once our commit is applied, our own pods decide: what the controller still waits for, or complains about, may be
    other models of the environment. Before that the controller decides; but pods of our release that are in trouble
    say more than its "in progress", and are told beside its message.
    """
    if controller.phase == "healthy" or (controller.applied and rollout.phase == "healthy"):
        return rollout
    both = f"{controller.message}; {rollout.message}"
    if controller.applied:
        return replace(rollout, message=both)
    if controller.phase not in ("progressing", "failed"):
        return controller
    if rollout.phase in ("failed", "stalled"):
        return replace(rollout, revision=controller.revision, message=both)
    return replace(controller, message=both) if rollout.reason == "RollingOut" else controller


def _selector(selector: Object | None) -> Mapping[str, str]:
    """A label selector as the list call's query."""
    labels = dig(selector, "matchLabels") or {}
    parts: list[str] = [f"{key}={value}" for key, value in labels.items()]
    for expression in items(selector, "matchExpressions"):
        parts.append(
            _expression(str(expression.get("key")), str(expression.get("operator")), strings(expression, "values"))
        )
    return {"labelSelector": ",".join(parts)}


def _expression(key: str, operator: str, values: Sequence[str]) -> str:
    if operator in ("In", "NotIn"):
        return f"{key} {operator.lower()} ({','.join(values)})"
    return key if operator == "Exists" else f"!{key}"
