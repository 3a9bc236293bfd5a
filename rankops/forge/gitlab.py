"""GitLab behind the Forge Protocol, through python-gitlab (imported when it is first used). REST API version 4."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput, ToolMissing
from rankops.forge.protocol import BRANCHES, LISTED, PullRequest, State, newest_open
from rankops.forge.server import refusal, server_address, silence

if TYPE_CHECKING:
    from gitlab.v4.objects import Project

SERVER = "https://gitlab.com"
_LOOKED_THROUGH = 500  # merge requests of a project of many teams, in search of ours
_PAGE = 100
# GitLab finds out whether a branch can be merged after it answered; until then a merge is refused (405).
_UNDECIDED = frozenset({"unchecked", "checking", "preparing", "approvals_syncing"})
_NO_WAITING = {"obey_rate_limit": False}
_DRAFT = "Draft: "


class GitLabForge:
    """Implements :class:`rankops.forge.protocol.Forge` for ``project`` (``group/subgroup/name``, or its number).

    Pull requests are merge requests; their number is GitLab's ``iid``. ``token`` is a project or group access token
    with the scope ``api`` and the role Developer (Maintainer to merge into a protected branch), or a function that
    returns one. ``url`` is the address of a self-managed server, with the path where it has one. ``patience`` is in
    seconds, for the server to find out whether a branch can be merged.
    """

    body_limit = 1_048_576
    mark = "!"

    def __init__(
        self,
        project: str,
        token: str | Callable[[], str],
        *,
        url: str = SERVER,
        timeout: float = 30.0,
        patience: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not project.isdigit() and ("/" not in project or not all(project.split("/"))):
            raise BadInput(f"{project!r} is not group/name", "give the project's path as GitLab spells it, or its id")
        self.project, self.url = project, server_address(url)
        self._timeout, self._patience, self._sleep = timeout, patience, sleep
        self._token = token if callable(token) else lambda: token

    def __repr__(self) -> str:
        return f"GitLabForge({self.project!r}, url={self.url!r})"

    def find_open(self, *, base: str, head_prefix: str) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`. Branches of forks are never ours."""
        with self._explained("list merge requests"):
            found = self._list(state="opened", target_branch=base, sort="asc")
            return [_convert(m) for m in found if m.source_branch.startswith(head_prefix) and _is_ours(m)]

    def all(self) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained("list merge requests"):
            seen = itertools.islice(self._list(state="all", sort="desc"), _LOOKED_THROUGH)
            ours = (m for m in seen if m.source_branch.startswith(BRANCHES) and _is_ours(m))
            return [_convert(m) for m in itertools.islice(ours, LISTED)][::-1]

    def open(self, *, head: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. GitLab answers 409 to a duplicate; then that one is adopted."""
        if standing := newest_open(self, head, base):
            return self._brought_up_to_date(standing, title, body)
        words = {"title": title, "description": body, "labels": ",".join(labels)}
        wanted: dict[str, Any] = {"source_branch": head, "target_branch": base, "squash": False, **words}
        with self._explained(f"open a merge request for {head}"):
            from gitlab.exceptions import GitlabError

            try:
                return _convert(self._project().mergerequests.create(wanted, **_NO_WAITING))
            except GitlabError as error:
                if error.response_code != 409 or (standing := newest_open(self, head, base)) is None:
                    raise
        return self._brought_up_to_date(standing, title, body)

    def update(self, number: int, *, title: str, body: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. A person's draft stays one."""
        with self._explained(f"update merge request !{number}"):
            found = self._get(number)
            draft = _DRAFT if getattr(found, "draft", False) and not title.startswith(_DRAFT) else ""
            return self._put(found, title=draft + title, description=body)

    def close(self, number: int, *, comment: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. Killed in between, the comment is there twice at worst."""
        with self._explained(f"close merge request !{number}"):
            found = self._get(number)
            if found.state != "opened":
                return _convert(found)
            found.notes.create({"body": comment}, **_NO_WAITING)
            return self._put(found, state_event="close")

    def merge(self, number: int) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. Approvals or pipelines may be missing; the error says which."""
        with self._explained(f"merge merge request !{number}"):
            from gitlab.exceptions import GitlabError

            found = self._decided(number)
            if found.state == "merged":
                return _convert(found)
            path = f"{found.manager.path}/{found.encoded_id}/merge"
            # The commits carry the trailers, so they must arrive as they are; sha: what was reviewed, or nothing.
            wanted = {"sha": found.sha, "squash": False}
            try:
                found.manager.gitlab.http_put(path, post_data=wanted, **_NO_WAITING)
            except GitlabError as error:
                if error.response_code in {405, 406, 422}:
                    error.error_message = f"{_message(error)}: {_obstacle(self._get(number))}"
                raise
            return _convert(self._get(number))

    def get(self, number: int) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained(f"read merge request !{number}"):
            return _convert(self._get(number))

    def comments(self, number: int) -> list[str]:
        """See :class:`~rankops.forge.protocol.Forge`. Without what GitLab itself wrote there."""
        with self._explained(f"read the comments of merge request !{number}"):
            notes = self._get(number).notes.list(iterator=True, sort="asc", order_by="created_at", **_NO_WAITING)
            return [f"{n.created_at} {n.author['username']}: {n.body}" for n in notes if not n.system]

    def _decided(self, number: int) -> Any:
        """The merge request once the server knows whether it can be merged, or as it is when patience ends."""
        wait, waited = 0.5, 0.0
        while True:
            found = self._get(number)
            status = getattr(found, "detailed_merge_status", None) or getattr(found, "merge_status", "")
            if found.state != "opened" or status not in _UNDECIDED or waited >= self._patience:
                return found
            self._sleep(wait)
            waited, wait = waited + wait, min(2 * wait, 5.0)

    def _project(self) -> Project:
        from gitlab import Gitlab

        # Behind a proxy the server may call itself by another name in its links: the address that was given holds.
        client = Gitlab(
            self.url, private_token=self._token(), timeout=self._timeout, per_page=_PAGE, keep_base_url=True
        )
        return client.projects.get(self.project, lazy=True)

    def _list(self, **wanted: str) -> Iterator[Any]:
        manager = self._project().mergerequests
        return iter(manager.list(iterator=True, order_by="created_at", scope="all", **wanted, **_NO_WAITING))

    def _get(self, number: int) -> Any:
        return self._project().mergerequests.get(number, **_NO_WAITING)

    @staticmethod
    def _put(found: Any, **changes: str) -> PullRequest:
        found.manager.update(found.iid, changes, **_NO_WAITING)
        return _convert(found.manager.get(found.iid, **_NO_WAITING))

    def _brought_up_to_date(self, standing: PullRequest, title: str, body: str) -> PullRequest:
        if (standing.title.removeprefix(_DRAFT), standing.body) == (title, body):
            return standing
        return self.update(standing.number, title=title, body=body)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what python-gitlab raises into our errors, without the request (its headers hold the token)."""
        try:
            import requests
            from gitlab.exceptions import GitlabError, RedirectError
        except ImportError as error:
            remedy = "install python-gitlab to open merge requests on GitLab"
            raise ToolMissing("python-gitlab is not installed", remedy) from error
        where = f"{self.url} {self.project}"
        try:
            yield
        except requests.RequestException as error:
            raise silence(where, what, error) from None
        except RedirectError:
            raise BadInput(
                f"{where}: cannot {what}: the server sends us to another address",
                "give the address that it redirects to (https:// instead of http://, or the project's new path)",
            ) from None
        except GitlabError as error:
            if error.response_code is None:  # an answer that is not GitLab's: a login page, a proxy
                raise BadInput(
                    f"{where}: cannot {what}: the answer is not that of a GitLab API", "check the forge's address"
                ) from None
            raise refusal(where, what, error.response_code, _message(error)) from None


def _message(error: Any) -> str:
    """GitLab's words: a text, a list, or lists by field."""
    said = error.error_message
    if isinstance(said, dict):
        return "; ".join(f"{key} {' '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in said.items())
    return "; ".join(map(str, said)) if isinstance(said, list) else str(said)


def _obstacle(found: Any) -> str:
    """Why a merge request cannot be merged, as GitLab names it (``not_approved``, ``conflict``, ``ci_must_pass``)."""
    status = getattr(found, "detailed_merge_status", None) or getattr(found, "merge_status", "unknown")
    return f"its state is {found.state}, its merge status {status}"


def _is_ours(found: Any) -> bool:
    return bool(found.source_project_id == found.target_project_id)


def _convert(found: Any) -> PullRequest:
    states: dict[str, State] = {"opened": "open", "locked": "open", "closed": "closed", "merged": "merged"}
    state = states[found.state]
    # A project that merges by fast-forward makes no merge commit: what is on the base is the squash or the head itself.
    on_base = getattr(found, "merge_commit_sha", None) or getattr(found, "squash_commit_sha", None) or found.sha
    return PullRequest(
        number=found.iid,
        url=found.web_url,
        head=found.source_branch,
        base=found.target_branch,
        title=found.title,
        body=found.description or "",
        state=state,
        merge_commit=on_base if state == "merged" else None,
        labels=tuple(found.labels),
    )
