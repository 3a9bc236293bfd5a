"""A stand-in for the part of GitLab's REST API (v4) that merge requests need.

Shapes and refusals are those of GitLab's published documentation of the merge requests and notes APIs: ``iid`` counts
in a project, a duplicate is a 409 with a list of sentences, a merge that is not possible a 405 or (with conflicts) a
406, later versions 422, and what stands in the way is ``detailed_merge_status``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from tests.support.http_api import Answer, JsonApi, Request

HEAD_SHA, MERGE_SHA = "1" * 40, "f" * 40


class GitLabServer(JsonApi):
    """One project, one token that may do everything, one that may only read.

    ``hide_once`` hides the merge requests from the next list, as if another process opened one in between;
    ``refuse_merge`` is a status and what is then the ``detailed_merge_status``; ``undecided`` is for how many reads
    the server has not made up its mind; ``limited`` answers everything with 429; ``fast_forward`` merges without a
    merge commit.
    """

    PROJECT, TOKEN, READER = "acme/shop/gitops", "glpat-FreshAndSecret", "glpat-ReadOnly"

    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[int, dict[str, Any]] = {}
        self.notes: dict[int, list[dict[str, Any]]] = {}
        self.hide_once = self.limited = self.fast_forward = False
        self.refuse_merge: tuple[int, str] | None = None
        self.undecided = 0

    def handle(self, request: Request) -> Answer:
        token = request.headers.get("PRIVATE-TOKEN")
        if self.limited:
            said = {"message": {"error": "Too Many Requests. Retry later."}}
            return Answer(429, said, {"Retry-After": "3600"})
        if token not in {self.TOKEN, self.READER}:
            return Answer(401, {"message": "401 Unauthorized"})
        if token == self.READER and request.method != "GET":
            return Answer(403, {"message": "403 Forbidden"})
        # the project's path must travel as one segment: acme%2Fshop%2Fgitops
        _, prefix, version, projects, project, *rest = request.path.split("/")
        assert (prefix, version, projects) == ("api", "v4", "projects"), request.path
        if unquote(project) not in {self.PROJECT, "42"}:
            return Answer(404, {"message": "404 Project Not Found"})
        return self.route(request, rest)

    def route(self, request: Request, rest: list[str]) -> Answer:
        match request.method, rest:
            case "GET", ["merge_requests"]:
                return self.list(request)
            case "POST", ["merge_requests"]:
                return self.create(request.body)
        number = int(rest[1])
        if number not in self.requests:
            return Answer(404, {"message": "404 Not found"})
        found = self.requests[number]
        match request.method, rest[2:]:
            case "GET", []:
                return Answer(200, self.seen(found))
            case "PUT", []:
                return self.update(found, request.body)
            case "PUT", ["merge"]:
                return self.merge(found, request.body)
            case "GET", ["notes"]:
                return Answer(200, self.notes[number])
            case "POST", ["notes"]:
                return Answer(201, self.note(number, request.body["body"]))
        return Answer(404, {"error": "404 Not Found"})

    def list(self, request: Request) -> Answer:
        hidden, self.hide_once = self.hide_once, False
        asked = request.query
        found = (
            [] if hidden else sorted(self.requests.values(), key=lambda m: m["iid"], reverse=asked.get("sort") != "asc")
        )
        found = [m for m in found if asked.get("state", "all") in {"all", m["state"]}]
        found = [m for m in found if asked.get("target_branch", m["target_branch"]) == m["target_branch"]]
        page, size = int(asked.get("page", 1)), int(asked.get("per_page", 20))
        shown, headers = found[(page - 1) * size : page * size], {"X-Page": str(page), "X-Per-Page": str(size)}
        if len(found) > page * size:
            # A proxied server knows itself by another name.
            headers["Link"] = f"<http://gitlab.internal{request.path}?page={page + 1}&per_page={size}"
            headers["Link"] += "".join(f"&{k}={v}" for k, v in asked.items() if k not in {"page", "per_page"})
            headers["Link"] += '>; rel="next"'
        return Answer(200, shown, headers)

    def create(self, sent: dict[str, Any]) -> Answer:
        for old in self.requests.values():
            same = (old["source_branch"], old["target_branch"]) == (sent["source_branch"], sent["target_branch"])
            if same and old["state"] == "opened":
                said = f"Another open merge request already exists for this source branch: !{old['iid']}"
                return Answer(409, {"message": [said]})
        if sent["source_branch"].endswith("absent"):
            return Answer(400, {"message": {"source_branch": ["does not exist"]}})
        return Answer(201, self.add(sent))

    def add(self, sent: dict[str, Any]) -> dict[str, Any]:
        number = len(self.requests) + 1
        self.notes[number] = []
        self.requests[number] = {
            "id": 1000 + number, "iid": number, "project_id": 42, "title": sent["title"],
            "description": sent.get("description"), "state": "opened", "created_at": "2026-03-04T05:06:07.000Z",
            "updated_at": "2026-03-04T05:06:07.000Z", "target_branch": sent["target_branch"],
            "source_branch": sent["source_branch"], "source_project_id": 42, "target_project_id": 42,
            "labels": [label for label in (sent.get("labels") or "").split(",") if label], "draft": False,
            "work_in_progress": False, "merge_status": "can_be_merged", "detailed_merge_status": "mergeable",
            "merge_error": None, "sha": HEAD_SHA, "merge_commit_sha": None, "squash_commit_sha": None,
            "squash": sent.get("squash", True), "web_url": f"{self.url}/{self.PROJECT}/-/merge_requests/{number}",
            "references": {"short": f"!{number}", "relative": f"!{number}", "full": f"{self.PROJECT}!{number}"},
        }  # fmt: skip
        return self.requests[number]

    def seen(self, found: dict[str, Any]) -> dict[str, Any]:
        if self.undecided > 0 and found["state"] == "opened":
            self.undecided -= 1
            return found | {"detailed_merge_status": "checking", "merge_status": "checking"}
        return found

    def update(self, found: dict[str, Any], sent: dict[str, Any]) -> Answer:
        if not sent:
            return Answer(400, {"error": "title, description, state_event are missing, at least one must be provided"})
        event = sent.pop("state_event", None)
        found |= sent | ({"state": "closed", "detailed_merge_status": "not_open"} if event == "close" else {})
        return Answer(200, found)

    def merge(self, found: dict[str, Any], sent: dict[str, Any]) -> Answer:
        if self.refuse_merge:
            status, found["detailed_merge_status"] = self.refuse_merge
            said = {405: "405 Method Not Allowed", 406: "Branch cannot be merged", 422: "Branch cannot be merged"}
            return Answer(status, {"message": said[status]})
        if found["state"] != "opened" or self.undecided > 0:
            return Answer(405, {"message": "405 Method Not Allowed"})
        if sent.get("sha") != found["sha"]:
            return Answer(409, {"message": "SHA does not match HEAD of source branch: " + found["sha"]})
        assert sent["squash"] is False
        found |= {"state": "merged", "detailed_merge_status": "not_open"}
        found["merge_commit_sha"] = None if self.fast_forward else MERGE_SHA
        return Answer(200, found)

    def note(self, number: int, text: str, *, system: bool = False) -> dict[str, Any]:
        made = {
            "id": 300 + len(self.notes[number]), "body": text, "author": {"id": 1, "username": "rankops-bot"},
            "created_at": "2026-03-04T05:06:07.000Z", "system": system, "noteable_iid": number,
        }  # fmt: skip
        self.notes[number].append(made)
        return made
