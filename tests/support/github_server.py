"""A stand-in for the part of GitHub's REST API that pull requests and GitHub Apps need.

It does what ``emulate`` does not: it answers 422 to a duplicate, protects branches, loses races and limits rates.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from tests.support.http_api import Answer, JsonApi, Request

TOKEN = "ghs_FreshAndSecret"
APP, INSTALLATION = 12345, 100


class GitHubServer(JsonApi):
    """One repository (``acme/gitops``).

    ``hide_once`` hides the pull requests from the next list, as if another process opened one in between;
    ``protected`` refuses to merge; ``limited`` answers everything as a used-up rate limit. With ``app_key`` (PEM, public)
    it hands out installation tokens that live for ``lifetime``, and takes no other.
    """

    def __init__(self, app_key: str | None = None, lifetime: timedelta = timedelta(hours=1)) -> None:
        super().__init__()
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: list[str] = []
        self.labels: list[str] = []
        self.protected = self.hide_once = self.limited = self.no_labels = False
        self.app_key, self.lifetime = app_key, lifetime
        self.tokens: list[str] = [] if app_key else [TOKEN]
        self.asked_permissions: list[dict[str, str]] = []

    def handle(self, request: Request) -> Answer:
        if self.limited:
            return Answer(403, {"message": "API rate limit exceeded for installation."}, {"X-RateLimit-Remaining": "0"})
        if "/info/refs" in request.path:  # Git asks without credentials first, as the real one makes it
            asked = {} if "Authorization" in request.headers else {"WWW-Authenticate": 'Basic realm="GitHub"'}
            return Answer(401 if asked else 403, {}, asked)
        if request.path.startswith("/app/installations/"):
            return self.installation_token(request)
        if request.headers.get("Authorization", "").split(" ")[-1] not in self.tokens:
            return Answer(401, {"message": "Bad credentials"})
        if not request.path.startswith("/repos/acme/gitops"):
            return Answer(404, {"message": "Not Found"})
        path = request.path.removeprefix("/repos/acme/gitops")
        if path == "/pulls":
            return self.list(request) if request.method == "GET" else self.create(request.body)
        number = int(re.findall(r"\d+", path)[0])
        if number not in self.pulls:
            return Answer(404, {"message": "Not Found"})
        return self.one(request, path, self.pulls[number])

    def one(self, request: Request, path: str, pull: dict[str, Any]) -> Answer:
        if path.endswith("/comments"):
            return self.discuss(request)
        if path.endswith("/labels"):
            if self.no_labels:
                return Answer(403, {"message": "Resource not accessible by integration"})
            self.labels += request.body["labels"] if isinstance(request.body, dict) else request.body
            return Answer(200, [{"name": name} for name in self.labels])
        if path.endswith("/merge"):
            return self.merge(pull)
        if request.method == "PATCH":
            pull |= request.body
        return Answer(200, pull)

    def list(self, request: Request) -> Answer:
        hidden, self.hide_once = self.hide_once, False
        found = [] if hidden else [p for p in self.pulls.values() if request.query["state"] in {"all", p["state"]}]
        found = found[::-1] if request.query["direction"] == "desc" else found
        page, size = int(request.query.get("page", 1)), int(request.query.get("per_page", 30))
        headers = {}
        if len(found) > page * size:
            rest = "&".join(f"{k}={v}" for k, v in request.query.items() if k != "page")
            headers["Link"] = f'<{self.url}{request.path}?{rest}&page={page + 1}>; rel="next"'
        # GitHub's list leaves out what only the single pull request has.
        shown = [{k: v for k, v in p.items() if k != "merged"} for p in found[(page - 1) * size : page * size]]
        return Answer(200, shown, headers)

    def create(self, sent: dict[str, Any]) -> Answer:
        if any(p["head"]["ref"] == sent["head"] and p["state"] == "open" for p in self.pulls.values()):
            said = {"message": f"A pull request already exists for acme:{sent['head']}."}
            return Answer(422, {"message": "Validation Failed", "errors": [said]})
        if sent["head"].endswith("absent"):
            said = {"resource": "PullRequest", "field": "head", "code": "invalid"}
            return Answer(422, {"message": "Validation Failed", "errors": [said]})
        return Answer(201, self.add(sent))

    def add(self, sent: dict[str, Any]) -> dict[str, Any]:
        number = len(self.pulls) + 1
        address = f"{self.url}/repos/acme/gitops"
        end = {"sha": "1" * 40, "repo": {"full_name": "acme/gitops", "url": address}}
        self.pulls[number] = {
            "number": number, "state": "open", "merged": False, "merged_at": None, "title": sent["title"],
            "body": sent["body"], "html_url": f"https://github.example/acme/gitops/pull/{number}",
            "url": f"{address}/pulls/{number}", "issue_url": f"{address}/issues/{number}", "merge_commit_sha": None,
            "labels": [], "head": end | {"ref": sent["head"]}, "base": end | {"ref": sent["base"]},
        }  # fmt: skip
        return self.pulls[number]

    def discuss(self, request: Request) -> Answer:
        if request.method == "POST":
            self.comments.append(request.body["body"])
        shown = [
            {"id": i, "body": text, "url": "http://x", "created_at": "2026-03-04T05:06:07Z", "user": {"login": "bot"}}
            for i, text in enumerate(self.comments)
        ]
        return Answer(201, shown[-1]) if request.method == "POST" else Answer(200, shown)

    def merge(self, pull: dict[str, Any]) -> Answer:
        if self.protected:
            return Answer(405, {"message": "At least 1 approving review is required."})
        pull |= {"merged": True, "merged_at": "2026-03-04T05:06:07Z", "state": "closed", "merge_commit_sha": "f" * 40}
        return Answer(200, {"merged": True, "sha": "f" * 40, "message": "merged"})

    def installation_token(self, request: Request) -> Answer:
        try:
            claims = jwt.decode(
                request.headers["Authorization"].split(" ")[1], self.app_key or "", algorithms=["RS256"]
            )
        except jwt.PyJWTError:
            return Answer(401, {"message": "A JSON web token could not be decoded"})
        if claims["iss"] != str(APP):
            return Answer(404, {"message": "Integration not found"})
        if request.path != f"/app/installations/{INSTALLATION}/access_tokens":
            return Answer(404, {"message": "Not Found"})
        self.asked_permissions.append(request.body["permissions"])
        token = f"ghs_Installation{len(self.tokens)}"
        self.tokens.append(token)
        expires = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Answer(201, {"token": token, "expires_at": expires, "permissions": request.body["permissions"]})
