"""The GitHub forge through the real PyGithub, against a small stand-in that speaks GitHub's REST API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rankops.errors import BadInput, RemoteUnavailable
from rankops.forge.github import GitHubForge
from tests.support.github_server import TOKEN, GitHubServer

HEAD = "rankops/production/retriever/0123456789ab"


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    server = GitHubServer()
    with server.serving():
        yield server


@pytest.fixture
def forge(github: GitHubServer) -> GitHubForge:
    return GitHubForge("acme/gitops", lambda: TOKEN, api_url=github.url, pause=0)


def test_a_pull_request_is_opened_found_updated_and_closed(forge: GitHubForge, github: GitHubServer) -> None:
    opened = forge.open(head=HEAD, base="main", title="t", body="b")
    assert (opened.number, opened.state, opened.head, opened.base) == (1, "open", HEAD, "main")
    assert forge.find_open(base="main", head_prefix="rankops/production/retriever/") == [opened]
    assert forge.find_open(base="main", head_prefix="rankops/production/other/") == []
    assert forge.update(1, title="t2", body="b2").title == "t2"
    assert forge.close(1, comment="Superseded by #2.").state == "closed"
    assert github.comments == ["Superseded by #2."]
    assert forge.comments(1) == ["2026-03-04T05:06:07+00:00 bot: Superseded by #2."]
    forge.close(1, comment="again")
    assert len(github.comments) == 1


def test_an_open_one_is_adopted_and_brought_up_to_date(forge: GitHubForge, github: GitHubServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    again = forge.open(head=HEAD, base="main", title="new", body="words")
    assert (again.number, again.title, again.body) == (1, "new", "words") and len(github.pulls) == 1


def test_labels_are_set_and_a_token_that_may_not_opens_the_pull_request_all_the_same(
    forge: GitHubForge, github: GitHubServer
) -> None:
    assert forge.open(head=HEAD, base="main", title="t", body="b", labels=["rankops"]).labels == ("rankops",)
    assert github.labels == ["rankops"]
    github.no_labels = True
    assert forge.open(head=HEAD + "2", base="main", title="t", body="b", labels=["rankops"]).labels == ()


def test_a_duplicate_that_github_refuses_with_422_is_adopted(forge: GitHubForge, github: GitHubServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    github.hide_once = True  # another process opened it between our look and our call
    assert forge.open(head=HEAD, base="main", title="t", body="b").number == 1
    assert len(github.pulls) == 1


def test_another_422_is_told_with_its_field(forge: GitHubForge) -> None:
    with pytest.raises(BadInput, match=r"\(422\): Validation Failed; .*'field': 'head'"):
        forge.open(head="rankops/production/retriever/absent", base="main", title="t", body="b")


def test_a_list_of_many_pull_requests_takes_one_request_a_page(forge: GitHubForge, github: GitHubServer) -> None:
    for number in range(130):
        github.add({"head": f"rankops/production/retriever/{number}", "base": "main", "title": "t", "body": "b"})
    assert len(forge.find_open(base="main", head_prefix="rankops/production/retriever/")) == 130
    assert len(github.asked) == 2
    newest = forge.all()
    assert [newest[0].number, newest[-1].number, len(newest)] == [31, 130, 100]


def test_a_fork_with_our_branch_name_is_not_ours(forge: GitHubForge, github: GitHubServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    github.pulls[1]["head"]["repo"] = {"full_name": "mallory/gitops", "url": f"{github.url}/repos/mallory/gitops"}
    assert forge.find_open(base="main", head_prefix="rankops/") == [] == forge.all()
    github.pulls[1]["head"]["repo"] = None  # the fork was deleted
    assert forge.find_open(base="main", head_prefix="rankops/") == []


def test_merging_reports_the_commit_and_branch_protection_is_explained(
    forge: GitHubForge, github: GitHubServer
) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    github.protected = True
    with pytest.raises(BadInput, match="approving review is required"):
        forge.merge(1)
    github.protected = False
    merged = forge.merge(1)
    assert (merged.state, merged.merge_commit) == ("merged", "f" * 40)
    assert forge.merge(1) == merged == forge.get(1) == forge.all()[0]
    assert forge.close(1, comment="too late").state == "merged" and github.comments == []


def test_refused_credentials_unknown_things_and_silence_are_explained_without_the_token(github: GitHubServer) -> None:
    with pytest.raises(RemoteUnavailable, match=r"refused to .*401.*Bad credentials") as refused:
        GitHubForge("acme/gitops", "expired-token", api_url=github.url).find_open(base="main", head_prefix="x")
    assert "expired-token" not in str(refused.value) and refused.value.__cause__ is None
    with pytest.raises(BadInput, match="404"):
        GitHubForge("acme/other", TOKEN, api_url=github.url).get(1)
    for wrong in ("gitops", "/gitops", "a/b/c"):
        with pytest.raises(BadInput, match="not owner/name"):
            GitHubForge(wrong, TOKEN)
    with pytest.raises(BadInput, match="carries credentials"):
        GitHubForge("acme/gitops", TOKEN, api_url="https://me:secret@github.example")
    with pytest.raises(RemoteUnavailable, match="ConnectionError"):
        GitHubForge("acme/gitops", TOKEN, api_url="http://127.0.0.1:1").get(1)


def test_a_used_up_rate_limit_is_no_question_of_credentials(forge: GitHubForge, github: GitHubServer) -> None:
    github.limited = True
    with pytest.raises(RemoteUnavailable, match=r"(?s)rate limit exceeded.*run again in a few minutes"):
        forge.find_open(base="main", head_prefix="x")
