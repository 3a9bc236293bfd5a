"""The pull-request policy end to end: PyGithub, emulate as GitHub's API, a real bare repository for the branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput, OverlayConflict
from rankops.forge.credentials import GitHubAppToken
from rankops.forge.github import GitHubForge
from rankops.forge.protocol import PullRequest
from rankops.overlays.deploy import DeployOutcome, DeployRequest
from rankops.overlays.history import current_pin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import WHEN, Deploy, git, human_edit, make_pin
from tests.support.emulate import TOKEN, Emulate

TARGET = Target("production", "retriever")


@pytest.fixture
def repository(github_api: Emulate, request: pytest.FixtureRequest) -> str:
    return github_api.new_repository(request.node.name[:90])


@pytest.fixture
def forge(github_api: Emulate, repository: str) -> GitHubForge:
    return GitHubForge(repository, TOKEN, api_url=github_api.url, pause=0)


Propose = Callable[..., DeployOutcome]


@pytest.fixture
def propose(run_deploy: Deploy, forge: GitHubForge) -> Propose:
    def run(release: str = "a", **more: Any) -> DeployOutcome:
        pin = make_pin(environment="production", model=more.pop("model", "retriever"), release=release * 64)
        return run_deploy(DeployRequest(pin, policy="pull-request"), **({"forge": forge} | more))

    return run


def merge_as_github_does(forge: GitHubForge, remote: GitRemote, pull: PullRequest) -> None:
    """The emulator keeps its own Git: the bare repository is merged as GitHub would."""
    assert forge.merge(pull.number).state == "merged"
    remote.merge_branch(pull.head, pull.base, f"Merge pull request #{pull.number}\n", when=WHEN)


def states(forge: GitHubForge) -> list[tuple[int, str]]:
    return [(p.number, p.state) for p in forge.all()]


def branches(bare: Path) -> set[str]:
    return set(git("for-each-ref", "--format=%(refname:short)", "refs/heads", cwd=bare).split())


def test_a_release_becomes_a_branch_and_one_labelled_pull_request(
    propose: Propose, forge: GitHubForge, bare: Path
) -> None:
    done = propose()
    opened = forge.get(done.pull_request.number)
    assert (opened.state, opened.head, opened.base) == ("open", done.branch, "main")
    assert opened.title == "deploy(production): retriever → release aaaaaaaaaaaa"
    assert "How to roll back" in opened.body and "a" * 64 in opened.body
    assert opened.labels == ("rankops", "production")
    assert git("rev-parse", done.branch, cwd=bare).strip() == done.commit


def test_the_same_release_again_adopts_it_and_brings_its_words_up_to_date(propose: Propose, forge: GitHubForge) -> None:
    first = propose()
    forge.update(first.pull_request.number, title="by hand", body="lost")
    again = propose()
    assert again.commit == first.commit and states(forge) == [(first.pull_request.number, "open")]
    assert forge.get(again.pull_request.number).title.startswith("deploy(production)")


def test_a_newer_release_replaces_the_proposal_and_closes_the_one_before(
    propose: Propose, forge: GitHubForge, bare: Path
) -> None:
    older, other, newer = propose("a"), propose("a", model="model-1"), propose("b")
    # comments and pull requests count in one series on GitHub, so numbers are compared, not spelled out
    assert forge.get(older.pull_request.number).state == "closed"
    assert forge.get(newer.pull_request.number).state == forge.get(other.pull_request.number).state == "open"
    (comment,) = forge.comments(older.pull_request.number)
    assert comment.endswith(f"deployer: Superseded by #{newer.pull_request.number}.")
    assert branches(bare) == {"main", newer.branch, other.branch}
    found = forge.find_open(base="main", head_prefix="rankops/production/retriever/")
    assert [p.head for p in found] == [newer.branch]


def test_a_merge_deploys_then_the_same_is_no_change_and_the_next_tidies_up(
    propose: Propose, forge: GitHubForge, remote: GitRemote, bare: Path
) -> None:
    first = propose("a")
    merge_as_github_does(forge, remote, first.pull_request)
    pin = current_pin(remote, TARGET)
    assert pin is not None and pin.release == "a" * 64
    assert propose("a").kind == "unchanged"
    second = propose("b")
    assert forge.get(second.pull_request.number).state == "open"
    assert branches(bare) == {"main", second.branch}  # the merged branch held nothing more


def test_what_is_live_already_closes_what_was_proposed(
    propose: Propose, run_deploy: Deploy, forge: GitHubForge, bare: Path
) -> None:
    done = propose("a")
    run_deploy(make_pin(environment="production", release="b" * 64))  # by another way
    assert propose("b").kind == "unchanged"
    assert forge.get(done.pull_request.number).state == "closed" and branches(bare) == {"main"}


def test_a_run_that_pushed_and_could_not_open_is_finished_by_the_next(
    propose: Propose, github_api: Emulate, forge: GitHubForge, bare: Path
) -> None:
    with pytest.raises(BadInput, match="404"):
        propose(forge=GitHubForge("acme/misspelled", TOKEN, api_url=github_api.url, pause=0))
    (pushed,) = branches(bare) - {"main"}
    tip = git("rev-parse", pushed, cwd=bare).strip()
    done = propose()
    assert (done.branch, done.commit) == (pushed, tip) and len(forge.all()) == 1


def test_two_that_were_opened_for_one_branch_become_one_and_keep_the_branch(
    propose: Propose, github_api: Emulate, repository: str, forge: GitHubForge, bare: Path
) -> None:
    done = propose()
    words = {"title": "twice", "head": done.branch, "base": "main", "body": ""}
    twice = github_api.call("POST", f"/repos/{repository}/pulls", words)["number"]  # GitHub itself answers 422
    again = propose()
    assert again.pull_request.number == twice and forge.get(done.pull_request.number).state == "closed"
    assert done.branch in branches(bare)


def test_a_merge_while_a_newer_release_is_proposed_is_not_overwritten(
    propose: Propose, forge: GitHubForge, remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    older = propose("a").pull_request

    def a_person_merges(step: str) -> None:
        if step == "proposed":
            real_find = forge.find_open
            forge.find_open = lambda **asked: [older, *real_find(**asked)]  # type: ignore[method-assign]  # just before
            merge_as_github_does(forge, remote, older)

    with pytest.raises(OverlayConflict, match="was changed while we deployed"):
        propose("b", checkpoint=a_person_merges)
    del forge.find_open  # type: ignore[method-assign]
    done = propose("b")
    assert done.supersedes == "a" * 64 and forge.get(done.pull_request.number).state == "open"
    open_ones = forge.find_open(base="main", head_prefix="rankops/production/retriever/")
    assert [p.number for p in open_ones] == [done.pull_request.number]


def test_a_branch_that_vanished_before_its_pull_request_is_made_again(
    propose: Propose, forge: GitHubForge, bare: Path
) -> None:
    real_open, calls = forge.open, []

    def open_too_late(**words: Any) -> PullRequest:
        calls.append(words["head"])
        if len(calls) == 1:  # another run proposed something else, closed ours and deleted its branch
            git("update-ref", "-d", f"refs/heads/{words['head']}", cwd=bare)
            raise BadInput("cannot open a pull request (422): Validation Failed; head invalid")
        return real_open(**words)

    forge.open = open_too_late  # type: ignore[method-assign]
    done = propose()
    assert done.attempts == 2 and done.branch in branches(bare) and states(forge)[0][1] == "open"


def test_a_branch_from_before_the_same_release_came_back_is_made_again(
    propose: Propose, run_deploy: Deploy, forge: GitHubForge, bare: Path, remote: GitRemote
) -> None:
    live = make_pin(environment="production", release="1" * 64)
    run_deploy(live)
    stale = propose("b")
    run_deploy(make_pin(environment="production", release="2" * 64))
    run_deploy(live.model_copy(update={"dagster_run": "run-9"}))  # the same release, by another commit
    again = propose("b")
    assert again.branch == stale.branch and again.commit != stale.commit
    remote.merge_branch(again.branch, "main", "Merge\n", when=WHEN)  # no conflict
    pin = current_pin(remote, TARGET)
    assert pin is not None and pin.release == "b" * 64


def test_other_pull_requests_of_the_repository_are_nobodys_business(
    propose: Propose, github_api: Emulate, repository: str, forge: GitHubForge, bare: Path, tmp_path: Path
) -> None:
    human_edit(bare, tmp_path / "clone", "README.md", "hello\n")
    words = {"title": "docs", "head": "docs/readme", "base": "main", "body": ""}
    theirs = github_api.call("POST", f"/repos/{repository}/pulls", words)["number"]
    propose("a")
    propose("b")
    assert github_api.call("GET", f"/repos/{repository}/pulls/{theirs}")["state"] == "open"
    assert theirs not in [p.number for p in forge.all()]


def test_a_github_app_proposes_and_merges_with_tokens_of_its_own(
    run_deploy: Deploy, github_api: Emulate, repository: str, app_key: str, tmp_path: Path
) -> None:
    key = tmp_path / "app.pem"
    key.write_text(app_key)
    token = GitHubAppToken(12345, 100, key, api_url=github_api.url)
    forge = GitHubForge(repository, token, api_url=github_api.url, pause=0)
    pin = make_pin(environment="production")
    done = run_deploy(DeployRequest(pin, policy="pull-request"), forge=forge)
    assert forge.merge(done.pull_request.number).state == "merged"
    minted = github_api.call("GET", "/_emulate/installation-tokens")
    assert token().startswith("ghs_") and token() not in str(minted)
