"""The GitHub forge through the real PyGithub, against a small stand-in that speaks GitHub's REST API."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rankops.errors import BadInput, RemoteUnavailable
from rankops.forge.github import GitHubForge

TOKEN = "ghs_FreshAndSecret"
HEAD = "rankops/production/retriever/0123456789ab"


class _Github(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        self.answer(self.body())

    do_PATCH = do_PUT = do_POST  # noqa: N815 - the names that http.server calls

    def body(self) -> dict[str, Any]:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def answer(self, sent: dict[str, Any]) -> None:
        path, _, query = self.path.partition("?")
        if self.headers.get("Authorization") not in {f"token {TOKEN}", f"Bearer {TOKEN}"}:
            return self.reply(401, {"message": "Bad credentials"})
        if not path.startswith("/repos/acme/gitops"):
            return self.reply(404, {"message": "Not Found"})
        status, found = self.route(self.command, path.removeprefix("/repos/acme/gitops"), query, sent)
        return self.reply(status, found)

    def route(self, method: str, path: str, query: str, sent: dict[str, Any]) -> tuple[int, Any]:
        pulls = self.server.pulls
        if path == "/pulls" and method == "GET":
            hidden, self.server.hide_once = self.server.hide_once, False
            return 200, [] if hidden else [p for p in pulls.values() if p["state"] == "open"]
        if path == "/pulls":
            if any(p["head"]["ref"] == sent["head"] and p["state"] == "open" for p in pulls.values()):
                said = {"message": f"A pull request already exists for acme:{sent['head']}."}
                return 422, {"message": "Validation Failed", "errors": [said]}
            return 201, self.add(sent)
        number = int(re.findall(r"\d+", path)[0])
        if number not in pulls:
            return 404, {"message": "Not Found"}
        pull = pulls[number]
        if path.endswith("/comments"):
            self.server.comments.append(sent["body"])
            return 201, {"id": 1, "body": sent["body"], "url": "http://x"}
        if path.endswith("/merge"):
            if self.server.protected:
                return 405, {"message": "At least 1 approving review is required."}
            pull |= {"merged": True, "state": "closed", "merge_commit_sha": "f" * 40}
            return 200, {"merged": True, "sha": "f" * 40, "message": "merged"}
        pull |= sent
        return 200, pull

    def add(self, sent: dict[str, Any]) -> dict[str, Any]:
        number = len(self.server.pulls) + 1
        address = f"http://127.0.0.1:{self.server.server_address[1]}/repos/acme/gitops"
        end = {"sha": "1" * 40, "repo": {"full_name": "acme/gitops", "url": address}}
        self.server.pulls[number] = {
            "number": number, "state": "open", "merged": False, "title": sent["title"], "body": sent["body"],
            "html_url": f"https://github.example/acme/gitops/pull/{number}", "url": f"{address}/pulls/{number}",
            "issue_url": f"{address}/issues/{number}", "merge_commit_sha": None,
            "head": end | {"ref": sent["head"]}, "base": end | {"ref": sent["base"]},
        }  # fmt: skip
        return self.server.pulls[number]

    def reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def github() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Github)
    server.pulls, server.comments, server.protected, server.hide_once = {}, [], False, False
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def forge(github: Any) -> GitHubForge:
    return GitHubForge("acme/gitops", lambda: TOKEN, api_url=github.url)


def test_a_pull_request_is_opened_found_updated_and_closed(forge: GitHubForge, github: Any) -> None:
    opened = forge.open(head=HEAD, base="main", title="t", body="b")
    assert (opened.number, opened.state, opened.head, opened.base) == (1, "open", HEAD, "main")
    assert forge.find_open(base="main", head_prefix="rankops/production/retriever/") == [opened]
    assert forge.find_open(base="main", head_prefix="rankops/production/other/") == []
    assert forge.update(1, title="t2", body="b2").title == "t2"
    assert forge.close(1, comment="Superseded by #2.").state == "closed"
    assert github.comments == ["Superseded by #2."]
    forge.close(1, comment="again")
    assert len(github.comments) == 1


def test_an_open_one_is_adopted_and_brought_up_to_date(forge: GitHubForge, github: Any) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    again = forge.open(head=HEAD, base="main", title="new", body="words")
    assert (again.number, again.title, again.body) == (1, "new", "words") and len(github.pulls) == 1


def test_a_duplicate_that_github_refuses_with_422_is_adopted(forge: GitHubForge, github: Any) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    github.hide_once = True  # another process opened it between our look and our call
    assert forge.open(head=HEAD, base="main", title="t", body="b").number == 1
    assert len(github.pulls) == 1


def test_a_fork_with_our_branch_name_is_not_ours(forge: GitHubForge, github: Any) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    github.pulls[1]["head"]["repo"] = {"full_name": "mallory/gitops", "url": f"{github.url}/repos/mallory/gitops"}
    assert forge.find_open(base="main", head_prefix="rankops/") == []
    github.pulls[1]["head"]["repo"] = None  # the fork was deleted
    assert forge.find_open(base="main", head_prefix="rankops/") == []


def test_merging_reports_the_commit_and_branch_protection_is_explained(forge: GitHubForge, github: Any) -> None:
    forge.open(head=HEAD, base="main", title="t", body="b")
    github.protected = True
    with pytest.raises(BadInput, match="approving review is required"):
        forge.merge(1)
    github.protected = False
    merged = forge.merge(1)
    assert (merged.state, merged.merge_commit) == ("merged", "f" * 40)
    assert forge.merge(1) == merged == forge.get(1)


def test_refused_credentials_unknown_things_and_silence_are_explained_without_the_token(github: Any) -> None:
    with pytest.raises(RemoteUnavailable, match=r"refused to .*401.*Bad credentials") as refused:
        GitHubForge("acme/gitops", "expired-token", api_url=github.url).find_open(base="main", head_prefix="x")
    assert "expired-token" not in str(refused.value) and refused.value.__cause__ is None
    with pytest.raises(BadInput, match="404"):
        GitHubForge("acme/other", TOKEN, api_url=github.url).get(1)
    with pytest.raises(BadInput, match="not owner/name"):
        GitHubForge("gitops", TOKEN)
    github.shutdown()
    github.server_close()
    with pytest.raises(RemoteUnavailable, match="ConnectionError"):
        GitHubForge("acme/gitops", TOKEN, api_url=github.url).get(1)
