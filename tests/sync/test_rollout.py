from __future__ import annotations

import pytest

from rankops.overlays.sync.flagger import canary_state
from rankops.overlays.sync.rollout import pod_troubles, rollout_state
from rankops.overlays.sync.state import SyncState
from tests.sync.support import RELEASE, recorded


def state_of(deployment: str, pods: str = "pods-ready") -> SyncState:
    listed = recorded(f"rollout/{pods}")["items"]
    return rollout_state(recorded(f"rollout/{deployment}"), listed, RELEASE, pod_troubles(listed, RELEASE))


@pytest.mark.parametrize(
    ("deployment", "phase", "message"),
    [
        ("complete", "healthy", "2 replicas serve release 9b1f00000000"),
        ("few-updated", "progressing", "1 of 2 new replicas were made"),
        ("old-pending", "progressing", "1 old replicas have yet to end"),
        ("not-available", "progressing", "1 of 2 new replicas are available"),
        ("not-observed", "progressing", "generation 8"),
        ("old-release", "wrong-revision", "told to run release 5c2e00000000, not 9b1f00000000"),
        ("deadline", "stalled", "has timed out progressing"),
        ("quota", "failed", "exceeded quota: gpu"),
        ("paused", "suspended", "is paused"),
        ("zero", "failed", "scaled to zero"),
    ],
)
def test_a_rollout_is_judged_as_kubectl_rollout_status_does(deployment, phase, message):
    state = state_of(deployment)
    assert (state.phase, message in state.message) == (phase, True), state


@pytest.mark.parametrize(
    ("pods", "phase", "message"),
    [
        ("pods-starting", "progressing", "1 of 2 new replicas are available"),
        (
            "pods-signature-refused",
            "failed",
            "container fetch-release: CrashLoopBackOff: Error (exit code 1): rankops.errors.IntegrityError: "
            "file:///store/release/9b1f: the signature does not belong to the public key",
        ),
        ("pods-out-of-memory", "failed", "CrashLoopBackOff: OOMKilled (exit code 137), memory limit 1Gi"),
        ("pods-image-missing", "failed", "ImagePullBackOff: Back-off pulling image"),
        ("pods-unschedulable", "progressing", "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu"),
        ("pods-recovered", "progressing", "1 of 2 new replicas are available"),
    ],
)
def test_what_a_pod_waits_for_is_told(pods, phase, message):
    state = state_of("not-available", pods)
    assert (state.phase, message in state.message) == (phase, True), state
    assert state.about_release == (phase == "failed")


def test_a_pod_of_another_release_keeps_a_rollout_open():
    state = state_of("complete", "pods-one-old")
    assert (state.phase, "retriever-5b8f8d7b5d-zzzzz" in state.message) == ("progressing", True)


def test_troubles_of_another_release_and_a_container_that_recovered_are_none():
    crashing = recorded("rollout/pods-signature-refused")["items"]
    assert not pod_troubles(crashing, "f" * 64)
    assert not pod_troubles(recorded("rollout/pods-recovered")["items"], RELEASE)


def test_a_container_that_left_no_message_asks_for_its_log():
    (trouble,) = pod_troubles(recorded("rollout/pods-crash-without-message")["items"], RELEASE)
    assert trouble.wants_log


@pytest.mark.parametrize(
    ("canary", "phase", "message"),
    [
        ("canary-succeeded", "healthy", "promotion finished"),
        ("canary-progressing", "progressing", "canary Progressing, 20 % of the traffic"),
        ("canary-failed", "failed", "Canary analysis failed"),
    ],
)
def test_each_recorded_canary_is_understood(canary, phase, message):
    state = canary_state(recorded(f"rollout/{canary}"))
    assert (state.phase, message in state.message) == (phase, True), state
