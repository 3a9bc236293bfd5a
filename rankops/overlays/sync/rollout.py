"""Whether a Deployment has rolled a release out, and what its pods wait for.

Completeness follows ``kubectl rollout status``: the controller has seen the spec, every replica is updated, no old one
is left, all are available. On top, each pod must carry the release that the commit pins. The reasons of pods are those
of the kubelet and the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rankops.overlays.objects import Object, dig, items, mapping
from rankops.overlays.sync.state import SyncState, condition, number, short, text

RELEASE = "rankops.dev/release"

# What a kubelet repeats without an end; a wait alone rarely cures these.
_STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_STARTING = frozenset({"", "PodInitializing", "ContainerCreating"})
_MAX_MESSAGE = 600


@dataclass(frozen=True)
class PodTrouble:
    """Why one pod is not ready. ``stuck``: it will hardly get better by itself. ``wants_log``: no message was kept."""

    pod: str
    container: str
    reason: str
    message: str
    stuck: bool
    wants_log: bool = False

    def __str__(self) -> str:
        where = f"pod {self.pod}" + (f", container {self.container}" if self.container else "")
        return f"{where}: {self.reason}" + (f": {self.message}" if self.message else "")


def pod_troubles(pods: Sequence[Object], release: str) -> list[PodTrouble]:
    """What the pods of this release wait for; the same trouble of several pods is told once."""
    found: dict[tuple[str, str, str], PodTrouble] = {}
    for pod in pods:
        if _release_of(pod) == release and not dig(pod, "metadata", "deletionTimestamp"):
            for trouble in _of_pod(pod):
                found.setdefault((trouble.container, trouble.reason, trouble.message), trouble)
    return sorted(found.values(), key=lambda trouble: not trouble.stuck)


def rollout_state(
    deployment: Object, pods: Sequence[Object], release: str, troubles: Sequence[PodTrouble] = ()
) -> SyncState:
    """Is this release completely rolled out? ``pods`` are those that the Deployment's selector matches."""
    template = text(mapping(deployment, "spec", "template"), "metadata", "annotations", RELEASE)
    generation = number(deployment, "metadata", "generation")
    if number(deployment, "status", "observedGeneration") < generation:
        message = f"generation {generation} was not seen by the Deployment controller yet"
        return SyncState("progressing", template or None, message, "GenerationNotObserved")
    if template != release:
        message = f"its pods are told to run release {short(template) if template else 'none'}, not {release[:12]}"
        return SyncState("wrong-revision", template or None, message, "WrongRelease")
    if (ended := _ended(deployment)) is not None:
        return _with(ended, troubles)
    waiting = _waiting(deployment) or _old_pods(pods, release)
    if waiting is None:
        replicas = number(deployment, "status", "availableReplicas")
        return SyncState("healthy", release, f"{replicas} replicas serve release {release[:12]}", "Complete")
    stuck = any(trouble.stuck for trouble in troubles)
    reason = troubles[0].reason if stuck else "RollingOut"
    state = SyncState("failed" if stuck else "progressing", release, waiting, reason, about_release=stuck)
    return _with(state, troubles)


def _ended(deployment: Object) -> SyncState | None:
    """A Deployment that does not go on."""
    release = text(mapping(deployment, "spec", "template"), "metadata", "annotations", RELEASE)
    progressing, failure = condition(deployment, "Progressing"), condition(deployment, "ReplicaFailure")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        message = text(progressing, "message")
        return SyncState("stalled", release, message, "ProgressDeadlineExceeded", about_release=True)
    if dig(deployment, "spec", "paused") is True:
        name = text(deployment, "metadata", "name")
        return SyncState("suspended", release, "is paused", "Paused", f"kubectl rollout resume deployment/{name}")
    if failure and failure.get("status") == "True":  # quota, admission: no pod could even be made
        return SyncState("failed", release, text(failure, "message"), text(failure, "reason"))
    if dig(deployment, "spec", "replicas") == 0:
        return SyncState("failed", release, "is scaled to zero: nothing can answer", "ScaledToZero")
    return None


def _waiting(deployment: Object) -> str | None:
    """What ``kubectl rollout status`` would wait for, in its order."""
    status = mapping(deployment, "status")
    wanted = dig(deployment, "spec", "replicas")
    wanted = 1 if not isinstance(wanted, int) else wanted
    updated, available = number(status, "updatedReplicas"), number(status, "availableReplicas")
    if updated < wanted:
        return f"{updated} of {wanted} new replicas were made"
    if (old := number(status, "replicas") - updated) > 0:
        return f"{old} old replicas have yet to end"
    if available < updated:
        return f"{available} of {updated} new replicas are available"
    return None


def _old_pods(pods: Sequence[Object], release: str) -> str | None:
    """Pods of another release that still run; ``kubectl`` would not notice one that a person made."""
    other = [
        text(pod, "metadata", "name")
        for pod in pods
        if _release_of(pod) != release
        and not dig(pod, "metadata", "deletionTimestamp")
        and dig(pod, "status", "phase") in ("Pending", "Running")
    ]
    return f"pods of another release still run: {', '.join(other)}" if other else None


def _with(state: SyncState, troubles: Sequence[PodTrouble]) -> SyncState:
    """The state, with the first few troubles in its message."""
    told = "; ".join(str(trouble) for trouble in troubles[:3])
    return replace(state, message=f"{state.message}; {told}") if told else state


def _release_of(pod: Object) -> str:
    return text(mapping(pod, "metadata", "annotations"), RELEASE)


def _of_pod(pod: Object) -> Iterator[PodTrouble]:
    name = text(pod, "metadata", "name")
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":  # a new node may come: not stuck
        yield PodTrouble(name, "", text(scheduled, "reason") or "Unschedulable", text(scheduled, "message"), False)
    if dig(pod, "status", "phase") == "Failed":  # evicted, or refused by the kubelet
        yield PodTrouble(name, "", text(pod, "status", "reason") or "Failed", text(pod, "status", "message"), False)
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in items(pod, "status", field):
            yield from _of_container(name, pod, status)


def _of_container(name: str, pod: Object, status: Object) -> Iterator[PodTrouble]:
    container, waiting = text(status, "name"), mapping(status, "state", "waiting")
    reason = text(waiting, "reason")
    ended = mapping(status, "state", "terminated") or mapping(status, "lastState", "terminated")
    failed = bool(ended) and number(ended, "exitCode") != 0
    if not failed and reason in _STARTING:
        return
    message = _ended_because(pod, container, ended) if failed else text(waiting, "message")
    reason = reason if reason not in _STARTING else text(ended, "reason") or "Error"
    if failed and dig(status, "ready") is True:
        return  # it ended badly once, and is well now
    wants_log = failed and not text(ended, "message")
    yield PodTrouble(name, container, reason, message, reason in _STUCK, wants_log)


def _ended_because(pod: Object, container: str, ended: Object) -> str:
    """Exit code, reason and termination message of a container; for one that ran out of memory also its limit."""
    reason, words = text(ended, "reason"), text(ended, "message").strip()
    said = f"{reason or 'ended'} (exit code {number(ended, 'exitCode')})"
    if reason == "OOMKilled":
        spec = [*items(pod, "spec", "containers"), *items(pod, "spec", "initContainers")]
        limit = next((dig(c, "resources", "limits", "memory") for c in spec if c.get("name") == container), None)
        said += f", memory limit {limit or 'none'}"
    return f"{said}: {words[-_MAX_MESSAGE:]}" if words else said
