from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput, OverlayConflict
from rankops.forge.local import LocalForge
from rankops.overlays.component import ReleasePin
from rankops.overlays.deploy import DeployOutcome, DeployRequest
from rankops.overlays.history import current_pin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import WHEN, Deploy, git, human_edit, make_pin

TARGET = Target("production", "retriever")
COMPONENT = "k8s-overlays/overlays/production/retriever/release/kustomization.yaml"


@pytest.fixture
def forge(tmp_path: Path, remote: GitRemote) -> LocalForge:
    return LocalForge(tmp_path / "forge", remote, clock=lambda: WHEN)


@pytest.fixture
def propose(run_deploy: Deploy, forge: LocalForge) -> Any:
    def run(release: str = "a", **more: Any) -> DeployOutcome:
        pin: ReleasePin = make_pin(environment="production", release=release * 64)
        return run_deploy(DeployRequest(pin, policy="pull-request", **more), forge=forge)

    return run


def branches(bare: Path) -> list[str]:
    return git("for-each-ref", "--format=%(refname:short)", "refs/heads", cwd=bare).split()


def test_a_proposal_is_a_branch_and_one_pull_request_and_leaves_the_base_alone(propose: Any, bare: Path) -> None:
    before = git("rev-parse", "main", cwd=bare)
    done = propose()
    assert done.kind == "proposed" and done.branch.startswith("rankops/production/retriever/")
    assert len(done.branch.rsplit("/", 1)[1]) == 12
    assert git("rev-parse", "main", cwd=bare) == before
    assert git("rev-parse", done.branch, cwd=bare).strip() == done.commit
    pull = done.pull_request
    assert (pull.number, pull.state, pull.head, pull.base) == (1, "open", done.branch, "main")
    assert pull.title == "deploy(production): retriever → release aaaaaaaaaaaa"
    for part in ("a" * 64, f"+++ b/{COMPONENT}", "+image: rankops-server@sha256:", "How to roll back", "run-1"):
        assert part in pull.body


def test_proposing_again_adopts_branch_and_pull_request(propose: Any, forge: LocalForge, bare: Path) -> None:
    first, second = propose(), propose()
    assert (second.commit, second.branch, second.pull_request.number) == (first.commit, first.branch, 1)
    assert second.diff == first.diff != ""
    assert len(forge.all()) == 1 and len(branches(bare)) == 2


def test_a_proposal_is_adopted_even_after_the_base_moved_on(propose: Any, bare: Path, tmp_path: Path) -> None:
    first = propose()
    human_edit(bare, tmp_path / "clone", "README.md", "hello\n")
    second = propose()
    assert second.commit == first.commit and "README" not in second.diff


def test_a_newer_release_replaces_the_proposal_and_the_old_one_is_closed(
    propose: Any, forge: LocalForge, bare: Path
) -> None:
    first, second = propose("a"), propose("b")
    assert [(p.number, p.state) for p in forge.all()] == [(1, "closed"), (2, "open")]
    assert "Superseded by #2" in forge.comments(1)[0]
    assert sorted(branches(bare)) == sorted(["main", second.branch])
    assert first.branch != second.branch


def test_an_older_proposal_never_closes_a_newer_one(propose: Any, forge: LocalForge, remote: GitRemote) -> None:
    first = propose("a")
    newer = forge.open(head="rankops/production/retriever/newer", base="main", title="t", body="b")
    assert propose("a").pull_request.number == first.pull_request.number
    assert forge.get(newer.number).state == "open"


def test_other_models_and_environments_keep_their_proposals(
    propose: Any, run_deploy: Deploy, forge: LocalForge
) -> None:
    other = make_pin(environment="production", model="model-1")
    run_deploy(DeployRequest(other, policy="pull-request"), forge=forge)
    propose("a")
    propose("b")
    assert [(p.number, p.state) for p in forge.all()] == [(1, "open"), (2, "closed"), (3, "open")]


def test_merging_deploys_and_then_the_same_proposal_is_no_change(
    propose: Any, forge: LocalForge, remote: GitRemote, bare: Path
) -> None:
    first = propose()
    merged = forge.merge(1)
    assert merged.state == "merged"
    assert git("rev-parse", "main", cwd=bare).strip() == merged.merge_commit
    pin = current_pin(remote, TARGET)
    assert pin is not None and pin.release == "a" * 64
    again = propose()
    assert (again.kind, again.commit, again.pull_request) == ("unchanged", first.commit, None)
    assert forge.merge(1) == merged


def test_a_change_that_was_merged_once_can_be_proposed_again_over_its_old_branch(
    propose: Any, forge: LocalForge, bare: Path, tmp_path: Path
) -> None:
    first = propose("a")
    forge.merge(1)
    propose("b")
    forge.merge(2)
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(bare), str(clone))
    git("revert", "--no-edit", "-m", "1", "HEAD", cwd=clone)
    git("revert", "--no-edit", "-m", "1", "HEAD~2", cwd=clone)
    git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    again = propose("a")
    assert again.branch == first.branch and again.commit != first.commit
    assert again.pull_request.number == 3 and forge.merge(3).state == "merged"


def test_a_branch_that_somebody_else_changed_is_a_conflict(propose: Any, bare: Path, tmp_path: Path) -> None:
    first = propose()
    git("clone", "--quiet", "--branch", first.branch, str(bare), str(tmp_path / "clone"))
    human_edit(bare, tmp_path / "clone", COMPONENT, "kind: Component\n", branch=first.branch)
    with pytest.raises(OverlayConflict, match=rf"on branch {first.branch} was changed by somebody else: .*Ada"):
        propose()


def test_obsolete_proposals_are_closed_where_the_base_already_pins_the_release(
    propose: Any, run_deploy: Deploy, forge: LocalForge
) -> None:
    propose("a")
    run_deploy(make_pin(environment="production", release="b" * 64))  # by another way
    assert propose("b").kind == "unchanged"
    assert forge.get(1).state == "closed"


def test_without_a_forge_the_policy_cannot_be_followed_and_nothing_is_pushed(run_deploy: Deploy, bare: Path) -> None:
    with pytest.raises(BadInput, match="no forge is configured"):
        run_deploy(DeployRequest(make_pin(environment="production"), policy="pull-request"))
    assert branches(bare) == ["main"]


def test_the_words_can_be_given_from_outside(run_deploy: Deploy, forge: LocalForge) -> None:
    request = DeployRequest(make_pin(environment="production"), policy="pull-request")
    done = run_deploy(request, forge=forge, describe=lambda p: (f"T {p.pin.model}", f"B {p.commit} {len(p.diff) > 0}"))
    assert (done.pull_request.title, done.pull_request.body) == ("T retriever", f"B {done.commit} True")


def test_the_local_forge_names_what_it_does_not_know(forge: LocalForge, propose: Any) -> None:
    with pytest.raises(BadInput, match="no pull request #7"):
        forge.get(7)
    propose()
    assert forge.update(1, title="new", body="words").title == "new"
    forge.close(1, comment="not now")
    assert forge.close(1, comment="again").state == "closed" and len(forge.comments(1)) == 1
    with pytest.raises(BadInput, match="#1 is closed"):
        forge.merge(1)
    (forge.folder / "1.json").write_text("{")
    with pytest.raises(BadInput, match="is damaged"):
        forge.get(1)


def test_a_merge_that_was_recorded_nowhere_is_found_again(propose: Any, forge: LocalForge, remote: GitRemote) -> None:
    done = propose()
    commit = remote.merge_branch(done.branch, "main", "Merge pull request #1\n", when=WHEN)  # and killed here
    assert forge.merge(1).merge_commit == commit
