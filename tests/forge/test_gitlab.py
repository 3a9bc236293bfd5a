"""The GitLab forge through the real python-gitlab, against a server that speaks the endpoints that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rankops.errors import BadInput, RemoteUnavailable
from rankops.forge.gitlab import GitLabForge
from rankops.overlays.deploy import DeployOutcome, DeployRequest
from rankops.overlays.mirror import GitRemote
from tests.overlays_deploy.conftest import WHEN, Deploy, git, make_pin
from tests.support.gitlab_server import HEAD_SHA, MERGE_SHA, GitLabServer
from tests.support.http_api import Answer, Request

HEAD = "rankops/production/retriever/0123456789ab"
PREFIX = "rankops/production/retriever/"


@pytest.fixture
def gitlab() -> Iterator[GitLabServer]:
    server = GitLabServer()
    with server.serving():
        yield server


@pytest.fixture
def forge(gitlab: GitLabServer) -> GitLabForge:
    return GitLabForge(gitlab.PROJECT, lambda: gitlab.TOKEN, url=gitlab.url, sleep=lambda _: None)


def test_a_merge_request_is_opened_found_updated_and_closed(forge: GitLabForge, gitlab: GitLabServer) -> None:
    opened = forge.open(head=HEAD, base="main", title="t", body="b", labels=["rankops", "production"])
    assert (opened.number, opened.state, opened.head, opened.base, opened.body) == (1, "open", HEAD, "main", "b")
    assert opened.url.endswith("/acme/shop/gitops/-/merge_requests/1") and opened.labels == ("rankops", "production")
    assert gitlab.requests[1]["squash"] is False  # a squash would lose the trailers
    assert forge.find_open(base="main", head_prefix=PREFIX) == [opened]
    assert forge.find_open(base="main", head_prefix="rankops/production/other/") == []
    assert forge.find_open(base="release", head_prefix=PREFIX) == []
    assert forge.update(1, title="t2", body="b2").title == "t2" == forge.get(1).title
    assert forge.close(1, comment="Superseded by !2.").state == "closed"
    forge.close(1, comment="again")
    gitlab.note(1, "changed the description", system=True)
    assert forge.comments(1) == ["2026-03-04T05:06:07.000Z rankops-bot: Superseded by !2."]
    assert [p.state for p in forge.all()] == ["closed"]


def test_an_open_one_is_adopted_and_brought_up_to_date(forge: GitLabForge, gitlab: GitLabServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    again = forge.open(head=HEAD, base="main", title="new", body="words")
    assert (again.number, again.title, again.body) == (1, "new", "words") and len(gitlab.requests) == 1
    before = len(gitlab.asked)
    forge.open(head=HEAD, base="main", title="new", body="words")
    assert [r.method for r in gitlab.asked[before:]] == ["GET"]


def test_a_draft_that_a_person_made_of_it_stays_one(forge: GitLabForge, gitlab: GitLabServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    gitlab.requests[1] |= {"title": "Draft: t", "draft": True}
    assert forge.open(head=HEAD, base="main", title="t", body="b").title == "Draft: t"
    assert forge.open(head=HEAD, base="main", title="t", body="newer").title == "Draft: t"


def test_a_duplicate_that_gitlab_refuses_with_409_is_adopted(forge: GitLabForge, gitlab: GitLabServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    gitlab.hide_once = True  # another process opened it between our look and our call
    assert forge.open(head=HEAD, base="main", title="newer", body="b").title == "newer"
    assert len(gitlab.requests) == 1


def test_what_gitlab_says_about_a_field_is_told(forge: GitLabForge) -> None:
    with pytest.raises(BadInput, match=r"\(400\): source_branch does not exist"):
        forge.open(head="rankops/production/retriever/absent", base="main", title="t", body="b")


def test_a_fork_with_our_branch_name_is_not_ours(forge: GitLabForge, gitlab: GitLabServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    gitlab.requests[1]["source_project_id"] = 43
    assert forge.find_open(base="main", head_prefix="rankops/") == [] == forge.all()


def test_a_project_of_many_merge_requests_is_read_page_by_page_from_the_address_that_was_given(
    forge: GitLabForge, gitlab: GitLabServer
) -> None:
    for number in range(250):
        ours = number % 2 == 0
        branch = f"{'rankops' if ours else 'people'}/production/retriever/{number}"
        gitlab.add({"source_branch": branch, "target_branch": "main", "title": f"t{number}"})
    assert len(forge.find_open(base="main", head_prefix=PREFIX)) == 125
    assert [r.query["page"] for r in gitlab.asked if "page" in r.query] == ["2", "3"]
    newest = forge.all()
    assert len(newest) == 100 and [newest[0].number, newest[-1].number] == [51, 249]


def test_merging_sends_what_was_reviewed_and_never_squashes(forge: GitLabForge, gitlab: GitLabServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    merged = forge.merge(1)
    assert (merged.state, merged.merge_commit) == ("merged", MERGE_SHA)
    (sent,) = [r.body for r in gitlab.asked if r.path.endswith("/merge")]
    assert sent == {"sha": HEAD_SHA, "squash": False}
    assert forge.merge(1) == merged == forge.get(1)
    assert forge.close(1, comment="too late").state == "merged" and forge.comments(1) == []


def test_a_fast_forward_is_reported_as_the_commit_that_is_on_the_base(forge: GitLabForge, gitlab: GitLabServer) -> None:
    gitlab.fast_forward = True
    forge.open(head=HEAD, base="main", title="t", body="b")
    assert forge.merge(1).merge_commit == HEAD_SHA


def test_a_merge_waits_until_gitlab_knows_whether_it_can(gitlab: GitLabServer) -> None:
    waited: list[float] = []
    forge = GitLabForge(gitlab.PROJECT, gitlab.TOKEN, url=gitlab.url, sleep=waited.append)
    forge.open(head=HEAD, base="main", title="t", body="b")
    gitlab.undecided = 3
    assert forge.merge(1).state == "merged" and waited == [0.5, 1.0, 2.0]
    gitlab.undecided = 10_000
    forge.open(head=HEAD, base="main", title="t", body="b")
    with pytest.raises(BadInput, match=r"\(405\): 405 Method Not Allowed: .* merge status checking"):
        forge.merge(2)
    assert sum(waited) < 45


@pytest.mark.parametrize(
    ("status", "obstacle"), [(405, "not_approved"), (405, "ci_must_pass"), (406, "conflict"), (422, "conflict")]
)
def test_what_stands_in_the_way_of_a_merge_is_named(
    forge: GitLabForge, gitlab: GitLabServer, status: int, obstacle: str
) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    gitlab.refuse_merge = (status, obstacle)
    with pytest.raises(BadInput, match=rf"cannot merge merge request !1 \({status}\): .*merge status {obstacle}"):
        forge.merge(1)


def test_a_branch_that_moved_after_the_review_is_not_merged(forge: GitLabForge, gitlab: GitLabServer) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    real, gitlab.seen = gitlab.seen, lambda found: real(found) | {"sha": "2" * 40}  # type: ignore[method-assign]
    with pytest.raises(BadInput, match=r"\(409\): SHA does not match"):
        forge.merge(1)


def test_refusals_are_explained_without_the_token(gitlab: GitLabServer) -> None:
    def forge(project: str = gitlab.PROJECT, token: str = gitlab.TOKEN) -> GitLabForge:
        return GitLabForge(project, token, url=gitlab.url)

    with pytest.raises(RemoteUnavailable, match=r"refused to .*\(401\): 401 Unauthorized") as refused:
        forge(token="glpat-expired").find_open(base="main", head_prefix="x")
    assert "glpat" not in str(refused.value) + repr(forge()) and refused.value.__cause__ is None
    with pytest.raises(RemoteUnavailable, match=r"refused to .*\(403\): 403 Forbidden"):
        forge(token=gitlab.READER).open(head=HEAD, base="main", title="t", body="b")
    with pytest.raises(BadInput, match=r"\(404\): 404 Project Not Found"):
        forge("acme/other").get(1)
    with pytest.raises(BadInput, match=r"read merge request !9 \(404\)"):
        forge("42").get(9)
    gitlab.limited = True
    with pytest.raises(
        RemoteUnavailable, match=r"(?s)\(429\): .*Too Many Requests.*rate limit"
    ):  # at once, not in an hour
        forge().get(1)


def test_silence_and_strange_answers_are_explained(gitlab: GitLabServer, monkeypatch: pytest.MonkeyPatch) -> None:
    forge = GitLabForge(gitlab.PROJECT, gitlab.TOKEN, url=gitlab.url)
    monkeypatch.setattr(gitlab, "handle", lambda _: Answer(200, "<html>Sign in</html>"))
    with pytest.raises(BadInput, match="not that of a GitLab API"):
        forge.find_open(base="main", head_prefix="x")


def test_a_server_that_moved_is_not_followed_with_a_changed_request(gitlab: GitLabServer) -> None:
    forge = GitLabForge(gitlab.PROJECT, gitlab.TOKEN, url=gitlab.url)
    forge.open(head=HEAD, base="main", title="t", body="b")
    real = gitlab.handle

    def moved(request: Request) -> Answer:
        answer = real(request)
        return answer if request.method == "GET" else Answer(301, "", {"Location": f"{gitlab.url}{request.path}"})

    gitlab.handle = moved  # type: ignore[method-assign]
    with pytest.raises(BadInput, match=r"sends us to another address"):
        forge.open(head=HEAD + "0", base="main", title="t", body="b")


def test_an_address_that_nobody_answers_is_named(gitlab: GitLabServer) -> None:
    with pytest.raises(RemoteUnavailable, match=r"http://127\.0\.0\.1:1 .*ConnectionError"):
        GitLabForge(gitlab.PROJECT, gitlab.TOKEN, url="http://127.0.0.1:1").get(1)


def test_the_policy_on_gitlab_opens_adopts_supersedes_and_closes(
    forge: GitLabForge, gitlab: GitLabServer, run_deploy: Deploy, remote: GitRemote, bare: Path
) -> None:
    def propose(release: str) -> DeployOutcome:
        pin = make_pin(environment="production", release=release * 64)
        return run_deploy(DeployRequest(pin, policy="pull-request"), forge=forge)

    first, again, newer = propose("a"), propose("a"), propose("b")
    assert (first.pull_request.number, again.pull_request.number, newer.pull_request.number) == (1, 1, 2)
    assert [p.state for p in forge.all()] == ["closed", "open"]
    assert forge.comments(1)[0].endswith("Superseded by !2.")
    assert gitlab.requests[2]["labels"] == ["rankops", "production"]
    left = git("for-each-ref", "--format=%(refname:short)", "refs/heads", cwd=bare).split()
    assert left == ["main", newer.branch]
    forge.merge(2)
    remote.merge_branch(newer.branch, "main", "Merge branch\n", when=WHEN)  # as GitLab would
    assert propose("b").kind == "unchanged"


def test_projects_and_addresses_are_checked_before_anything_is_asked() -> None:
    for wrong in ("gitops", "/acme/gitops", "acme//gitops", ""):
        with pytest.raises(BadInput, match="is not group/name"):
            GitLabForge(wrong, "x")
    with pytest.raises(BadInput, match="is no address"):
        GitLabForge("acme/gitops", "x", url="gitlab.example.com")
    with pytest.raises(BadInput, match="carries credentials") as refused:
        GitLabForge("acme/gitops", "x", url="https://oauth2:secret@gitlab.example.com")
    assert "secret" not in str(refused.value)
