from __future__ import annotations

import pytest

from rankops.overlays.sync.flux import kustomization_state
from rankops.overlays.sync.state import git_commit
from tests.sync.support import LATER, OLD, OURS, RECORDED, recorded, relate

CASES = [
    ("healthy", "healthy", "Applied revision", OURS),
    ("healthy-later-commit", "healthy", "Applied revision", LATER),
    ("healthy-oci-origin", "healthy", "Applied revision", OURS),
    ("progressing-health-check", "progressing", "Running health checks for revision", OLD),
    ("progressing-build", "progressing", "Building manifests", OLD),
    ("new", "progressing", "not reconciled yet", None),
    ("generation-not-observed", "progressing", "generation 4", OURS),
    ("dependency-not-ready", "progressing", "dependency 'flux-system/rankops-platform' is not ready", OLD),
    ("failed-health-check", "failed", "Deployment/rankops-staging/retriever status: 'InProgress'", OURS),
    ("failed-build", "failed", "components/gpu': no such file or directory", OURS),
    ("failed-reconciliation", "failed", "field is immutable", OURS),
    ("failed-prune", "failed", "delete failed", OURS),
    ("failed-artifact-path", "failed", "kustomization path not found", OLD),
    ("failed-at-older-commit", "wrong-revision", "its last attempt failed: health check failed", OLD),
    ("stalled", "stalled", "cross-namespace references have been blocked", OLD),
    ("wrong-revision", "wrong-revision", f"stands at {OLD}, which is an earlier commit", OLD),
    ("wrong-repository", "wrong-revision", "a commit that the branch of this environment does not hold", None),
    ("superseded", "wrong-revision", "pins another release", None),
    ("suspended", "suspended", "is suspended", OLD),
]


@pytest.mark.parametrize(("name", "phase", "message", "revision"), CASES, ids=[c[0] for c in CASES])
def test_each_recorded_kustomization_is_understood(name, phase, message, revision):
    state = kustomization_state(recorded(f"flux/{name}"), None, relate)
    assert (state.phase, message in state.message) == (phase, True), state
    assert revision is None or state.revision == revision


def test_no_recorded_kustomization_is_left_out():
    files = {path.stem for path in (RECORDED / "flux").glob("*.json") if not path.stem.startswith("source-")}
    assert files == {name for name, *_ in CASES}


@pytest.mark.parametrize(
    ("source", "phase", "message"),
    [
        ("source-fetched-ours", "progressing", "is fetched"),
        ("source-older", "wrong-revision", "an earlier commit"),
        ("source-refused", "failed", "GitRepository rankops: failed to checkout"),
        ("source-suspended", "suspended", "GitRepository rankops: is suspended"),
    ],
)
def test_the_source_says_why_our_commit_does_not_arrive(source, phase, message):
    state = kustomization_state(recorded("flux/wrong-revision"), recorded(f"flux/{source}"), relate)
    assert (state.phase, message in state.message) == (phase, True), state
    assert not state.about_release
    assert source != "source-suspended" or state.remedy == "flux resume source git rankops"


def test_waiting_ends_at_once_only_where_it_cannot_help():
    final = {n for n, *_ in CASES if kustomization_state(recorded(f"flux/{n}"), None, relate).is_final}
    assert final == {"stalled", "superseded"}


def test_while_health_is_checked_our_commit_is_applied():
    states = {name: kustomization_state(recorded(f"flux/{name}"), None, relate) for name, *_ in CASES}
    assert {n for n, s in states.items() if s.applied} == {"progressing-health-check", "failed-health-check"}
    checking_older = recorded("flux/progressing-health-check")
    for condition in checking_older["status"]["conditions"]:
        condition["message"] = condition["message"].replace(OURS, OLD)
    assert not kustomization_state(checking_older, None, relate).applied


@pytest.mark.parametrize(
    ("revision", "commit"),
    [
        (f"main@sha1:{OURS}", OURS),
        (f"sha1:{OURS}", OURS),
        (f"feature/x/{OURS}", OURS),
        (OURS, OURS),
        ("v1.2.3", None),
        ("latest@sha256:abc", None),
        ("", None),
        (None, None),
    ],
)
def test_commits_are_read_from_revisions(revision, commit):
    assert git_commit(revision) == commit
