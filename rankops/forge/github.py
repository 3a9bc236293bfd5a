"""GitHub behind the Forge Protocol, through PyGithub (imported when it is first used)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput, RemoteUnavailable, ToolMissing
from rankops.forge.protocol import PullRequest, State

if TYPE_CHECKING:
    from github.PullRequest import PullRequest as GithubPullRequest
    from github.Repository import Repository


class GitHubForge:
    """Implements :class:`rankops.forge.protocol.Forge` for ``repository`` (``owner/name``).

    ``token`` is a token, or a function that returns a fresh one (a GitHub App's expire within the hour); it needs
    ``pull_requests: write`` and ``contents: write``. ``api_url`` points to an Enterprise server or a stand-in.
    """

    def __init__(
        self,
        repository: str,
        token: str | Callable[[], str],
        *,
        api_url: str = "https://api.github.com",
        timeout: int = 30,
    ) -> None:
        if repository.count("/") != 1:
            raise BadInput(f"{repository!r} is not owner/name", "give the repository as GitHub spells it")
        self.repository, self.api_url, self._timeout = repository, api_url, timeout
        self._token = token if callable(token) else lambda: token

    def __repr__(self) -> str:
        return f"GitHubForge({self.repository!r}, api_url={self.api_url!r})"

    def find_open(self, *, base: str, head_prefix: str) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`. Branches of forks are never ours."""
        with self._explained("list pull requests"):
            found = self._repo().get_pulls(state="open", base=base, sort="created", direction="asc")
            ours = [p for p in found if p.head.ref.startswith(head_prefix) and self._is_ours(p)]
            return [_convert(p) for p in ours]

    def open(self, *, head: str, base: str, title: str, body: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. GitHub answers 422 to a duplicate; then that one is adopted."""
        if standing := self._standing(head, base):
            return self._brought_up_to_date(standing, title, body)
        from github import GithubException

        with self._explained(f"open a pull request for {head}"):
            try:
                return _convert(self._repo().create_pull(base=base, head=head, title=title, body=body))
            except GithubException as error:
                if error.status != 422 or (standing := self._standing(head, base)) is None:
                    raise
        return self._brought_up_to_date(standing, title, body)

    def update(self, number: int, *, title: str, body: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained(f"update pull request #{number}"):
            pull = self._repo().get_pull(number)
            pull.edit(title=title, body=body)
            return _convert(pull)

    def close(self, number: int, *, comment: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained(f"close pull request #{number}"):
            pull = self._repo().get_pull(number)
            if pull.state == "open":
                pull.create_issue_comment(comment)
                pull.edit(state="closed")
            return _convert(pull)

    def merge(self, number: int) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. Branch protection may refuse; the reason is in the error."""
        with self._explained(f"merge pull request #{number}"):
            pull = self._repo().get_pull(number)
            if not pull.merged:
                pull.merge(merge_method="merge", sha=pull.head.sha)
                pull = self._repo().get_pull(number)
            return _convert(pull)

    def get(self, number: int) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained(f"read pull request #{number}"):
            return _convert(self._repo().get_pull(number))

    def _repo(self) -> Repository:
        try:
            from github import Auth, Github
        except ImportError as error:
            raise ToolMissing("PyGithub is not installed", "install PyGithub to open pull requests on GitHub") from (
                error
            )
        client = Github(auth=Auth.Token(self._token()), base_url=self.api_url, timeout=self._timeout, retry=None)
        return client.get_repo(self.repository, lazy=True)

    def _is_ours(self, pull: GithubPullRequest) -> bool:
        head = pull.head.repo
        return head is not None and head.full_name.lower() == self.repository.lower()

    def _standing(self, head: str, base: str) -> PullRequest | None:
        return next((p for p in self.find_open(base=base, head_prefix=head) if p.head == head), None)

    def _brought_up_to_date(self, standing: PullRequest, title: str, body: str) -> PullRequest:
        if (standing.title, standing.body) == (title, body):
            return standing
        return self.update(standing.number, title=title, body=body)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what PyGithub raises into our errors, without the request (its headers hold the token)."""
        import requests
        from github import GithubException

        where = f"{self.api_url} {self.repository}"
        try:
            yield
        except requests.RequestException as error:
            raise RemoteUnavailable(
                f"{where}: cannot {what}: {type(error).__name__}", "check the network and the forge's address"
            ) from None
        except GithubException as error:
            said = _message(error)
            if error.status in {401, 403}:
                remedy = "check that the token is set, has not expired and may write pull requests"
                raise RemoteUnavailable(f"{where}: refused to {what} ({error.status}): {said}", remedy) from None
            if error.status in {404, 405, 409, 422}:
                remedy = "check the repository's name, the branch, and what branch protection asks for"
                raise BadInput(f"{where}: cannot {what} ({error.status}): {said}", remedy) from None
            raise RemoteUnavailable(f"{where}: cannot {what} ({error.status}): {said}", "run again later") from None


def _message(error: Any) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    details = [str(e.get("message", e)) if isinstance(e, dict) else str(e) for e in data.get("errors") or []]
    return "; ".join([str(data.get("message", "no message")), *details])[:600]


def _convert(pull: GithubPullRequest) -> PullRequest:
    state: State = "merged" if pull.merged else "open" if pull.state == "open" else "closed"
    return PullRequest(
        number=pull.number,
        url=pull.html_url,
        head=pull.head.ref,
        base=pull.base.ref,
        title=pull.title,
        body=pull.body or "",
        state=state,
        merge_commit=pull.merge_commit_sha if pull.merged else None,
    )
