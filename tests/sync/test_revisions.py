"""Which commits count as ours: decided by real Git."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankops.deployment import DeployRecord
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.overlays.sync.revisions import CommitRelation
from rankops.overlays.sync.state import Transient
from rankops.specs import EnvironmentSpec
from rankops.stages.verification import commit_to_verify
from tests.overlays_deploy.conftest import human_edit, make_pin, write_overlays
from tests.sync.conftest import LANDED, TARGET, Repository
from tests.sync.support import OLD_RELEASE, RELEASE

MAIN = EnvironmentSpec(name="staging", policy="pull-request")


@pytest.fixture
def fresh(tmp_path: Path) -> Repository:
    overlays = write_overlays(tmp_path / "k8s-overlays", ["retriever", "other"])
    create_bare_remote(tmp_path / "remote.git", overlays, None)
    made = Repository(tmp_path / "remote.git", GitRemote((tmp_path / "remote.git").as_uri(), tmp_path / "state"))
    made.before = made.deploy(make_pin(release=OLD_RELEASE)).commit
    made.commit = made.deploy(make_pin(release=RELEASE)).commit
    return made


def test_commits_around_ours_are_told_apart(fresh, tmp_path):
    other = fresh.deploy(make_pin(model="other")).commit
    resized = human_edit(
        fresh.bare,
        tmp_path / "clone",
        "k8s-overlays/overlays/staging/retriever/kustomization.yaml",
        "components: [release]\n#\n",
    )
    replaced = fresh.deploy(make_pin(release="d" * 64)).commit
    aside = human_edit(fresh.bare, tmp_path / "aside", "k8s-overlays/base/server/x.yaml", "x\n", branch="main")
    relate = CommitRelation(fresh.remote, TARGET, fresh.commit, RELEASE)
    assert relate(fresh.commit) == "same"
    assert relate(other) == "contains"  # another model's deploy
    assert relate(resized) == "contains"  # people changed the size of our overlay; the release is the same
    assert relate(replaced) == "superseded"
    assert relate(aside) == "superseded"
    assert relate(fresh.before) == "older"
    assert relate("1" * 40) == "unknown"


def test_an_earlier_commit_with_the_very_same_overlay_is_as_good_as_ours(fresh):
    """Argo CD skips commits that change nothing below the Application's path."""
    standing = fresh.deploy(make_pin(model="other")).commit
    assert CommitRelation(fresh.remote, TARGET, standing, RELEASE)(fresh.commit) == "equivalent"


def test_a_commit_that_was_pushed_meanwhile_is_fetched(fresh, tmp_path):
    relate = CommitRelation(fresh.remote, TARGET, fresh.commit, RELEASE)
    later = human_edit(fresh.bare, tmp_path / "clone", "README.md", "hello\n")
    assert relate(later) == "contains"


def test_a_remote_that_does_not_answer_is_asked_again_later(fresh, tmp_path):
    relate = CommitRelation(fresh.remote, TARGET, fresh.commit, RELEASE)
    fresh.bare.rename(tmp_path / "gone.git")
    with pytest.raises(Transient):
        relate("1" * 40)


def proposal(fresh: Repository, branch: str) -> DeployRecord:
    """A release that waits on a branch, as `deploy` leaves it under the policy pull-request."""
    made = fresh.remote.commit(
        fresh.commit, {TARGET.component: _component("e" * 64)}, "deploy(staging): retriever", when=LANDED
    )
    fresh.remote.push(made, branch)
    return DeployRecord(
        kind="proposed",
        environment="staging",
        model="retriever",
        release="e" * 64,
        release_uri="file:///store/release/e",
        commit=made,
        branch=branch,
        overlay=TARGET.overlay,
        supersedes=RELEASE,
        pull_request="https://git.example.org/pull/1",
    )


def _component(release: str) -> str:
    from rankops.overlays.component import render_component

    return render_component(make_pin(release=release))


def test_a_proposal_is_verified_at_the_head_of_the_branch_once_it_is_merged(fresh):
    deployed = proposal(fresh, "rankops/staging/retriever/x")
    assert commit_to_verify(fresh.remote, MAIN, deployed) is None
    merged = fresh.remote.merge_branch("rankops/staging/retriever/x", "main", "Merge pull request #1", when=LANDED)
    assert merged != deployed.commit
    assert commit_to_verify(fresh.remote, MAIN, deployed) == merged
    fresh.deploy(make_pin(release="d" * 64))  # replaced since: nothing of the proposal is live any more
    assert commit_to_verify(fresh.remote, MAIN, deployed) is None


def test_a_commit_of_deploy_itself_is_verified_as_it_is(fresh):
    deployed = proposal(fresh, "rankops/staging/retriever/x").model_copy(update={"kind": "committed"})
    assert commit_to_verify(fresh.remote, MAIN, deployed) == deployed.commit
