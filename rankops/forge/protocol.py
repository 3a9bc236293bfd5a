"""What rankops needs of a forge, whichever it is."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

State = Literal["open", "closed", "merged"]


class PullRequest(BaseModel):
    """One pull (or merge) request. ``merge_commit`` is set once it is merged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    url: str
    head: str
    base: str
    title: str
    body: str
    state: State
    merge_commit: str | None = None


class Forge(Protocol):
    """Opens and keeps pull requests.

    Every method raises :class:`rankops.errors.RemoteUnavailable` where the forge does not answer or refuses the
    credentials, and :class:`rankops.errors.BadInput` for a number or branch that it does not know.
    """

    def find_open(self, *, base: str, head_prefix: str) -> list[PullRequest]:
        """Open pull requests into ``base`` from branches of this repository that start so, oldest first."""
        ...

    def open(self, *, head: str, base: str, title: str, body: str) -> PullRequest:
        """Open one; where an open one for ``head`` exists, that one is adopted and brought up to date."""
        ...

    def update(self, number: int, *, title: str, body: str) -> PullRequest:
        """Replace title and body."""
        ...

    def close(self, number: int, *, comment: str) -> PullRequest:
        """Close without merging, saying why. Closing a closed one changes nothing."""
        ...

    def merge(self, number: int) -> PullRequest:
        """Merge by a merge commit. Merging a merged one changes nothing."""
        ...

    def get(self, number: int) -> PullRequest:
        """One pull request in any state."""
        ...


class Branches(Protocol):
    """What a forge without a server of its own needs of the Git remote to merge."""

    def merge_branch(self, head: str, into: str, message: str, *, when: datetime) -> str:
        """Merge branch ``head`` into branch ``into`` on the remote; returns the commit."""
        ...
