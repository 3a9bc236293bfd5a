from __future__ import annotations

import pytest

from rankops.overlays.sync.argocd import application_state
from rankops.overlays.sync.state import SyncState
from tests.sync.support import LATER, OLD, OURS, RECORDED, recorded, relate

OVERLAY = "k8s-overlays/overlays/staging/retriever"
CASES = [
    ("healthy", "healthy", "synced, health Healthy", OURS),
    ("healthy-later-commit", "healthy", "synced", LATER),
    ("healthy-several-sources", "healthy", "synced", OURS),
    ("healthy-hydrated", "healthy", "synced", OURS),
    ("new", "progressing", "not compared with Git yet", None),
    ("progressing-operation", "progressing", "waiting for healthy state of apps/Deployment/retriever", OURS),
    ("progressing-health", "progressing", "health Progressing", OURS),
    ("about-to-sync", "progressing", "Deployment/retriever", OURS),
    ("stale-comparison", "progressing", "not compared again yet", OURS),
    ("failed-sync-of-older-commit", "progressing", "about to be synced", OURS),
    ("failed-sync", "failed", "spec.selector: field is immutable", OURS),
    ("failed-comparison", "failed", "authentication required: Repository not found", OURS),
    ("failed-hydration", "failed", "`kustomize build` failed", OURS),
    ("degraded", "failed", "exceeded its progress deadline", OURS),
    ("drifted", "failed", "out of sync although its last sync succeeded (Deployment/retriever)", OURS),
    ("suspended", "suspended", "Deployment is paused", OURS),
    ("manual-sync", "suspended", "waits for a sync by hand", OURS),
    ("wrong-revision", "wrong-revision", f"stands at {OLD}, which is an earlier commit", OLD),
    ("hydrated-not-synced", "wrong-revision", "not the last one rendered", None),
    ("superseded", "wrong-revision", "pins another release", None),
    ("deleting", "stalled", "being deleted", None),
]


def state_of(name: str) -> SyncState:
    return application_state(recorded(f"argocd/{name}"), relate, OVERLAY)


@pytest.mark.parametrize(("name", "phase", "message", "revision"), CASES, ids=[c[0] for c in CASES])
def test_each_recorded_application_is_understood(name, phase, message, revision):
    state = state_of(name)
    assert (state.phase, message in state.message) == (phase, True), state
    assert revision is None or state.revision == revision


def test_no_recorded_application_is_left_out():
    assert {path.stem for path in (RECORDED / "argocd").glob("*.json")} == {name for name, *_ in CASES}


def test_a_sync_by_hand_is_waited_for_and_named():
    state = state_of("manual-sync")
    assert state.remedy == "argocd app sync retriever-staging"
    assert state.reason == "ManualSync"


def test_an_application_of_an_application_set_waits_for_its_turn():
    application = recorded("argocd/manual-sync")
    application["metadata"]["ownerReferences"] = [{"kind": "ApplicationSet", "name": "rankops-models"}]
    assert "waits for its ApplicationSet" in application_state(application, relate, OVERLAY).message


def test_a_second_source_counts_by_its_path_not_by_its_place():
    application = recorded("argocd/healthy-several-sources")
    for owner in (application["status"]["sync"], application["status"]["operationState"]["syncResult"]):
        owner["revisions"] = [OURS, OLD]  # the first source is another repository
    assert application_state(application, relate, OVERLAY).phase == "wrong-revision"
