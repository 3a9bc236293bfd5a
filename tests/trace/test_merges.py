"""Deploy commits reach the branch by every way that people merge; the lineage must survive each. Real git throughout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.forge.local import LocalForge
from rankops.overlays.component import ReleasePin
from rankops.overlays.deploy import DeployRequest
from rankops.overlays.history import commits_pinning, earlier_pins, last_commit_for, merged_by, targets_changed
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.rollback import RollbackRequest, rollback
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import WHEN, fake_render, git, make_pin, no_objection

TARGET = Target("production", "retriever")
LAYOUT = OverlayLayout()
A, B, C = "a" * 64, "b" * 64, "c" * 64
FAKES: dict[str, Any] = {
    "render": fake_render,
    "validate": no_objection,
    "verify": no_objection,
    "clock": lambda: WHEN,
}


class Repository:
    """A person's clone of the remote, and the ways to merge a proposal with it."""

    def __init__(self, bare: Path, folder: Path, forge: LocalForge) -> None:
        self.bare, self.folder, self.forge = bare, folder, forge
        git("clone", "--quiet", str(bare), str(folder))

    def run(self, *args: str) -> str:
        return git(*args, cwd=self.folder).strip()

    def fresh(self) -> None:
        self.run("fetch", "--quiet", "origin")
        self.run("checkout", "--quiet", "-B", "main", "origin/main")

    def push(self) -> str:
        self.run("push", "--quiet", "origin", "main")
        return self.run("rev-parse", "HEAD")

    def merge_commit(self, branch: str) -> str:
        self.fresh()
        message = f"Merge pull request #1 from {branch}\n\nThe title"
        self.run("merge", "--quiet", "--no-ff", "-m", message, f"origin/{branch}")
        return self.push()

    def rebase(self, branch: str) -> str:
        self.fresh()
        (self.folder / "README.md").write_text("main moved on\n")
        self.run("add", "-A")
        self.run("commit", "--quiet", "-m", "by hand")
        self.run("cherry-pick", f"origin/{branch}")
        return self.push()

    def squash(self, branch: str, message: str | None = None) -> str:
        """As a forge does; without a message, with the one that git itself writes."""
        self.fresh()
        self.run("merge", "--quiet", "--squash", f"origin/{branch}")
        self.run("commit", "--quiet", *(["--no-edit"] if message is None else ["-m", message]))
        return self.push()

    def message_of(self, branch: str) -> str:
        self.run("fetch", "--quiet", "origin")
        return self.run("log", "-1", "--format=%B", f"origin/{branch}")


@pytest.fixture
def forge(tmp_path: Path, remote: GitRemote) -> LocalForge:
    return LocalForge(tmp_path / "forge", remote, clock=lambda: WHEN)


@pytest.fixture
def people(bare: Path, tmp_path: Path, forge: LocalForge) -> Repository:
    return Repository(bare, tmp_path / "people", forge)


@pytest.fixture
def propose(run_deploy: Any, forge: LocalForge) -> Callable[[str], str]:
    """Propose a release by a pull request; returns its branch."""

    def run(release: str) -> str:
        pin = make_pin(environment="production", release=release)
        return run_deploy(DeployRequest(pin, policy="pull-request", why="Why: drift"), forge=forge).branch

    return run


def roll_back(remote: GitRemote, bad: str, *, automatic: bool = False, forge: LocalForge | None = None) -> Any:
    policy = "push" if forge is None else "pull-request"
    request = RollbackRequest(TARGET, bad, "p99 over the objective", policy=policy, automatic=automatic)
    return rollback(request, remote, objection=lambda _: None, forge=forge, **FAKES)


def record(remote: GitRemote) -> Any:
    found = last_commit_for(remote, remote.head("main"), TARGET)
    assert found is not None and found.trailers is not None
    return found


def test_a_merge_commit_leads_to_the_deploy_commit_on_its_second_parent(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    branch = propose(A)
    deployed = git("rev-parse", branch, cwd=people.bare).strip()
    merge = people.merge_commit(branch)
    found = record(remote)
    assert (found.commit.sha, found.trailers.release, found.source) == (deployed, A, "message")
    brought = merged_by(remote, deployed, merge)
    assert brought is not None and (brought.sha, brought.request) == (merge, "#1")
    assert targets_changed(remote, remote.info(merge), LAYOUT) == [TARGET]
    assert [(at.commit, at.target) for at in commits_pinning(remote, merge, "a" * 8, LAYOUT)] == [(deployed, TARGET)]


def test_a_rebase_keeps_the_message(people: Repository, propose: Any, remote: GitRemote) -> None:
    head = people.rebase(propose(A))
    found = record(remote)
    assert (found.commit.sha, found.trailers.release, found.source) == (head, A, "message")
    assert merged_by(remote, head, head) is None


def test_a_squash_by_git_itself_keeps_the_trailers_indented(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    people.squash(propose(A))
    found = record(remote)
    assert found.commit.message.startswith("Squashed commit of the following:")
    assert (found.trailers.release, found.trailers.dagster_run, found.source) == (A, "run-1", "message")


def test_a_squash_by_github_keeps_the_trailers_among_other_paragraphs(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    branch = propose(A)
    body = people.message_of(branch)
    people.squash(branch, f"Deploy (#12)\n\n* {body}\n\n---------\n\nCo-authored-by: Ada <a@b.c>")
    found = record(remote)
    assert (found.trailers.release, found.source, found.problem, found.commit.request) == (A, "message", None, "#12")


def test_where_the_squash_lost_the_trailers_the_sealed_component_tells_the_same(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    people.merge_commit(propose(A))
    branch = propose(B)
    told = people.message_of(branch)
    head = people.squash(branch, "Deploy production\n\nSee merge request shop/overlays!7")
    found = record(remote)
    assert (found.source, found.problem) == ("component", None)
    for line in told.split("\n\n")[-1].splitlines():
        assert line.split(": ")[1] in found.trailers.model_dump().values()
    assert (found.trailers.supersedes, found.is_rollback) == (A, False)
    assert [at.commit for at in commits_pinning(remote, head, B[:8], LAYOUT)] == [head]


def test_a_message_that_lies_is_not_believed_and_each_lie_is_named(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    branch = propose(A)
    people.squash(branch, people.message_of(branch).replace(A, C).replace("run-1", "run-2"))
    found = record(remote)
    assert (found.trailers.release, found.trailers.dagster_run, found.source) == (A, "run-1", "component")
    assert "Rankops-Release says cccccccccccccccc, the component says aaaa" in found.problem
    assert "Dagster-Run-Id says run-2, the component says run-1" in found.problem


def test_two_deploys_squashed_into_one_are_read_from_the_component(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    first = people.message_of(propose(A))
    branch = propose(B)
    people.squash(branch, f"Deploy (#3)\n\n* {first}\n\n* {people.message_of(branch)}")
    found = record(remote)
    assert (found.trailers.release, found.source) == (B, "component") and "trailers of 2 deploys" in found.problem


def test_a_rollback_is_known_as_one_after_a_squash_that_lost_its_trailers(
    people: Repository, propose: Any, remote: GitRemote, forge: LocalForge
) -> None:
    from rankops.errors import GateFailed

    people.squash(propose(A), "Deploy one")
    people.squash(propose(B), "Deploy two")
    proposed = roll_back(remote, B, forge=forge)
    people.squash(proposed.branch, "Roll back")
    found = record(remote)
    assert found.is_rollback and (found.trailers.release, found.trailers.quarantined) == (A, B)
    with pytest.raises(GateFailed, match="a machine does not undo that"):
        roll_back(remote, A, automatic=True)


@pytest.mark.parametrize("way", ["merge_commit", "squash", "lost"])
def test_rollback_finds_the_release_before_whichever_way_it_was_merged(
    people: Repository, propose: Any, remote: GitRemote, way: str
) -> None:
    for release in (A, B):
        branch = propose(release)
        if way == "lost":
            people.squash(branch, "Deploy")
        else:
            getattr(people, way)(branch)
    assert [pin.release for _, pin in earlier_pins(remote, remote.head("main"), TARGET)] == [B, A]
    done = roll_back(remote, B)
    assert done.kind == "committed" and done.pin.release == A


def test_the_side_of_a_conflict_that_lost_is_not_forgotten(
    people: Repository, propose: Any, remote: GitRemote, run_deploy: Any
) -> None:
    """Git's own log of the file follows the side that won and forgets what was live meanwhile."""
    branch = propose(B)
    run_deploy(make_pin(environment="production", release=A))
    people.fresh()
    people.run("merge", "--quiet", "--no-ff", "-X", "theirs", "-m", "Merge, ours is newer", f"origin/{branch}")
    head = people.push()
    fetched = remote.head("main")
    assert fetched == head
    assert [pin.release for _, pin in earlier_pins(remote, head, TARGET)] == [B, A]


def test_a_merge_of_main_into_a_branch_that_became_main_keeps_the_history(
    people: Repository, run_deploy: Any, remote: GitRemote
) -> None:
    people.fresh()
    (people.folder / "README.md").write_text("local work\n")
    people.run("add", "-A")
    people.run("commit", "--quiet", "-m", "by hand")
    for release in (A, B):
        run_deploy(make_pin(environment="production", release=release))
    people.run("pull", "--quiet", "--no-rebase", "--no-edit", "origin", "main")
    people.push()
    assert record(remote).trailers.release == B
    assert [pin.release for _, pin in earlier_pins(remote, remote.head("main"), TARGET)] == [B, A]


def test_a_change_by_hand_is_told_with_its_author_and_no_trailers(
    people: Repository, propose: Any, remote: GitRemote
) -> None:
    people.merge_commit(propose(A))
    people.fresh()
    file = people.folder / TARGET.component
    file.write_text(file.read_text().replace(A, B))
    people.run("commit", "--quiet", "-am", "faster")
    people.push()
    found = last_commit_for(remote, remote.head("main"), TARGET)
    assert found is not None and found.trailers is None and found.commit.author == "Ada"
    assert "seal is broken" in (found.problem or "")
    pins: list[ReleasePin] = [pin for _, pin in earlier_pins(remote, remote.head("main"), TARGET)]
    assert [pin.release for pin in pins] == [A]
