"""GitHub behind the Forge Protocol, through PyGithub (imported when it is first used)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput, ToolMissing
from rankops.forge.protocol import BRANCHES, LISTED, PullRequest, State, newest_open
from rankops.forge.server import refusal, server_address, silence

if TYPE_CHECKING:
    from github.PullRequest import PullRequest as GithubPullRequest
    from github.Repository import Repository

API = "https://api.github.com"
_LOOKED_THROUGH = 500  # pull requests of a repository of many teams, in search of ours
_PAGE = 100


class GitHubForge:
    """Implements :class:`rankops.forge.protocol.Forge` for ``repository`` (``owner/name``).

    ``token`` is a token, or a function that returns a fresh one (a GitHub App's expire within the hour); it needs
    ``pull_requests: write`` and ``contents: write``. ``api_url`` points to an Enterprise server or a stand-in.
    ``pause`` is in seconds, between two writes, as GitHub asks of its clients (a quarter of it between reads).
    """

    body_limit = 65_536
    mark = "#"

    def __init__(
        self,
        repository: str,
        token: str | Callable[[], str],
        *,
        api_url: str = API,
        timeout: int = 30,
        pause: float = 1.0,
    ) -> None:
        if repository.count("/") != 1 or not all(repository.split("/")):
            raise BadInput(f"{repository!r} is not owner/name", "give the repository as GitHub spells it")
        self.repository, self.api_url = repository, server_address(api_url)
        self._timeout, self._pause = timeout, pause
        self._token = token if callable(token) else lambda: token

    def __repr__(self) -> str:
        return f"GitHubForge({self.repository!r}, api_url={self.api_url!r})"

    def find_open(self, *, base: str, head_prefix: str) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`. Branches of forks are never ours."""
        with self._explained("list pull requests"):
            found = self._repo().get_pulls(state="open", base=base, sort="created", direction="asc")
            ours = [p for p in found if p.head.ref.startswith(head_prefix) and self._is_ours(p)]
            return [_convert(p) for p in ours]

    def all(self) -> list[PullRequest]:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained("list pull requests"):
            newest = self._repo().get_pulls(state="all", sort="created", direction="desc")
            seen = itertools.islice(newest, _LOOKED_THROUGH)
            ours = (p for p in seen if p.head.ref.startswith(BRANCHES) and self._is_ours(p))
            return [_convert(p) for p in itertools.islice(ours, LISTED)][::-1]

    def open(self, *, head: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. GitHub answers 422 to a duplicate; then that one is adopted."""
        if standing := newest_open(self, head, base):
            return self._brought_up_to_date(standing, title, body)
        from github import GithubException

        with self._explained(f"open a pull request for {head}"):
            try:
                made = self._repo().create_pull(base=base, head=head, title=title, body=body)
            except GithubException as error:
                if error.status != 422 or (standing := newest_open(self, head, base)) is None:
                    raise
            else:
                return _convert(made).model_copy(update={"labels": self._label(made, labels)})
        return self._brought_up_to_date(standing, title, body)

    def update(self, number: int, *, title: str, body: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained(f"update pull request #{number}"):
            pull = self._repo().get_pull(number)
            pull.edit(title=title, body=body)
            return _convert(pull)

    def close(self, number: int, *, comment: str) -> PullRequest:
        """See :class:`~rankops.forge.protocol.Forge`. Killed in between, the comment is there twice at worst."""
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

    def comments(self, number: int) -> list[str]:
        """See :class:`~rankops.forge.protocol.Forge`."""
        with self._explained(f"read the comments of pull request #{number}"):
            said = self._repo().get_pull(number).get_issue_comments()
            return [f"{c.created_at.isoformat(timespec='seconds')} {c.user.login}: {c.body}" for c in said]

    def _repo(self) -> Repository:
        from github import Auth, Github

        client = Github(
            auth=Auth.Token(self._token()),
            base_url=self.api_url,
            timeout=self._timeout,
            per_page=_PAGE,
            retry=None,
            seconds_between_requests=self._pause / 4,
            seconds_between_writes=self._pause,
        )
        return client.get_repo(self.repository, lazy=True)

    def _is_ours(self, pull: GithubPullRequest) -> bool:
        head = pull.head.repo
        return head is not None and head.full_name.lower() == self.repository.lower()

    def _brought_up_to_date(self, standing: PullRequest, title: str, body: str) -> PullRequest:
        if (standing.title, standing.body) == (title, body):
            return standing
        return self.update(standing.number, title=title, body=body)

    @staticmethod
    def _label(made: GithubPullRequest, labels: Sequence[str]) -> tuple[str, ...]:
        """Set labels (GitHub makes those that it does not know); a token that may not leaves it at that."""
        from github import GithubException

        try:
            if labels:
                made.add_to_labels(*labels)
        except GithubException:
            return ()
        return tuple(labels)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what PyGithub raises into our errors, without the request (its headers hold the token)."""
        try:
            import requests
            from github import GithubException, RateLimitExceededException
        except ImportError as error:
            remedy = "install PyGithub to open pull requests on GitHub"
            raise ToolMissing("PyGithub is not installed", remedy) from error
        where = f"{self.api_url} {self.repository}"
        try:
            yield
        except requests.RequestException as error:
            raise silence(where, what, error) from None
        except GithubException as error:
            limited = isinstance(error, RateLimitExceededException)
            raise refusal(where, what, error.status, _message(error), rate_limited=limited) from None


def _message(error: Any) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    details = [str(e.get("message", e)) if isinstance(e, dict) else str(e) for e in data.get("errors") or []]
    return "; ".join([str(data.get("message", "no message")), *details])


def _convert(pull: GithubPullRequest) -> PullRequest:
    # merged_at, not merged: a list has only the former, and PyGithub would ask again for each pull request.
    merged = pull.merged_at is not None
    state: State = "open" if pull.state == "open" else "merged" if merged else "closed"
    return PullRequest(
        number=pull.number,
        url=pull.html_url,
        head=pull.head.ref,
        base=pull.base.ref,
        title=pull.title,
        body=pull.body or "",
        state=state,
        merge_commit=pull.merge_commit_sha if merged else None,
        labels=tuple(label.name for label in pull.labels),
    )
