from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat

import pytest

from rankops.overlays.sync.observe import combine
from rankops.overlays.sync.state import NotLive, SyncState, Transient
from rankops.overlays.sync.wait import Clock, Patience, wait_until_live
from tests.sync.support import OLD, OURS

PROGRESSING = SyncState("progressing", OLD, "building")
FAILED = SyncState("failed", OURS, "no such component", "BuildFailed", about_release=True)
BEHIND = SyncState("wrong-revision", OLD, f"stands at {OLD}")
BY_HAND = SyncState("suspended", OURS, "waits for a sync by hand", "ManualSync", "argocd app sync x")
SUSPENDED = SyncState("suspended", OLD, "is suspended", "Suspended", "flux resume kustomization x")
HEALTHY = SyncState("healthy", OURS, "applied")
BUSY = Transient("503")
PATIENCE = Patience(timeout=600, poll=10, failure=60)


@dataclass
class Time:
    """A clock that moves only by sleeping."""

    now: float = 0.0
    told: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, looks: Iterable[SyncState | Exception]) -> float:
        states = iter(looks)

        def look() -> SyncState:
            state = next(states)
            if isinstance(state, Exception):
                raise state
            return state

        clock = Clock(lambda: self.now, self.sleep)
        return wait_until_live(look, expected=OURS, patience=PATIENCE, clock=clock, progress=self.told.append)


def test_progress_then_health_ends_the_wait():
    time = Time()
    assert time.wait([PROGRESSING] * 3 + [HEALTHY]) == 30
    assert time.told == ["progressing: building", "live: applied"]


def test_what_was_live_before_the_first_look_took_no_time():
    assert Time().wait([HEALTHY]) == 0


def test_a_failure_that_lasts_is_told_with_the_controllers_message():
    time = Time()
    with pytest.raises(NotLive, match=r"failed for 60 s \(BuildFailed\): no such component") as caught:
        time.wait(chain([PROGRESSING], repeat(FAILED)))
    assert time.now == 70
    assert caught.value.about_release


def test_a_failure_that_the_controller_cures_by_trying_again_is_none():
    assert Time().wait([FAILED] * 5 + [PROGRESSING] * 20 + [HEALTHY]) == 250


def test_a_controller_that_fails_and_tries_again_is_not_waited_for_until_the_end():
    time = Time()
    with pytest.raises(NotLive, match="no such component"):
        time.wait(chain.from_iterable(repeat([FAILED, FAILED, FAILED, PROGRESSING])))
    assert time.now < 150


def test_the_wrong_revision_for_ever_names_both_revisions():
    with pytest.raises(NotLive, match=f"commit {OURS} is not live after 600 s: stands at {OLD}") as caught:
        Time().wait(repeat(BEHIND))
    assert not caught.value.about_release


def test_a_timeout_also_tells_the_failure_before():
    with pytest.raises(NotLive, match="building; before that: no such component"):
        Time().wait(chain([FAILED], repeat(PROGRESSING)))


def test_a_stalled_controller_and_a_superseded_commit_end_the_wait_at_once():
    for state in (
        SyncState("stalled", OLD, "no access", "AccessDenied"),
        SyncState("wrong-revision", OLD, "x", "Superseded"),
    ):
        time = Time()
        with pytest.raises(NotLive):
            time.wait([state])
        assert time.now == 0


def test_a_suspended_controller_is_given_up_early_and_the_remedy_is_its_command():
    time = Time()
    with pytest.raises(NotLive, match="flux resume kustomization x"):
        time.wait(repeat(SUSPENDED))
    assert time.now == 60


def test_a_sync_by_hand_is_waited_for_until_somebody_does_it():
    assert Time().wait([BY_HAND] * 40 + [HEALTHY]) == 400


def test_an_api_server_that_stops_answering_is_asked_again_and_one_that_never_did_is_not():
    assert Time().wait([PROGRESSING, *[BUSY] * 5, HEALTHY]) == 60
    with pytest.raises(Transient):
        Time().wait([BUSY])
    time = Time()
    with pytest.raises(Transient):
        time.wait(chain([PROGRESSING], repeat(BUSY)))
    assert time.now == 70


def test_the_pods_reason_is_told_beside_the_controllers_word():
    crash = SyncState("failed", "r", "pod x: CrashLoopBackOff", "CrashLoopBackOff", about_release=True)
    both = combine(PROGRESSING, crash)
    assert (both.phase, both.message, both.revision) == ("failed", "building; pod x: CrashLoopBackOff", OLD)
    assert combine(HEALTHY, crash) == crash
    assert combine(BEHIND, crash) == BEHIND  # these pods are not of our commit's making
    assert combine(SUSPENDED, crash) == SUSPENDED


def test_another_models_bad_health_does_not_hold_up_ours():
    """One Kustomization covers an environment, and waits for the health of all its models."""
    other = SyncState("failed", OURS, "Deployment/rankops-staging/other: InProgress", "HealthCheckFailed", applied=True)
    rolled_out = SyncState("healthy", "r", "2 replicas")
    assert combine(other, rolled_out) == rolled_out
    assert combine(FAILED, rolled_out) == FAILED  # nothing was applied
    assert combine(other, SyncState("progressing", "r", "1 of 2", "RollingOut")).phase == "progressing"
