"""What rankops needs of a forge, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

State = Literal["open", "closed", "merged"]

BRANCHES = "rankops/"
"""What the name of every branch that rankops makes starts with."""
LISTED = 100
"""How many pull requests ``all`` returns at most."""


class PullRequest(BaseModel):
    """One pull (or merge) request. ``merge_commit`` is set once it is merged, to the commit that is on the base."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    url: str
    head: str
    base: str
    title: str
    body: str
    state: State
    merge_commit: str | None = None
    labels: tuple[str, ...] = ()


class Forge(Protocol):
    """Opens and keeps pull requests.

    Every method raises :class:`rankops.errors.RemoteUnavailable` where the forge does not answer or refuses the
    credentials, and :class:`rankops.errors.BadInput` for a number or branch that it does not know.
    """

    body_limit: int
    """Characters that a body may have."""
    mark: str
    """What a pull request's number is written with, so that the forge makes a link of it: ``#`` or ``!``."""

    def find_open(self, *, base: str, head_prefix: str) -> list[PullRequest]:
        """Open pull requests into ``base`` from branches of this repository that start so, oldest first."""
        ...

    def all(self) -> list[PullRequest]:
        """The newest :data:`LISTED` pull requests from branches that rankops made, in any state, oldest first."""
        ...

    def open(self, *, head: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> PullRequest:
        """Open one; where an open one for ``head`` exists, that one is adopted and brought up to date.

        ``labels`` help people to filter: a forge that refuses them still opens the pull request.
        """
        ...

    def update(self, number: int, *, title: str, body: str) -> PullRequest:
        """Replace title and body."""
        ...

    def close(self, number: int, *, comment: str) -> PullRequest:
        """Close without merging, saying why. A closed or merged one stays as it is; the returned state tells."""
        ...

    def merge(self, number: int) -> PullRequest:
        """Merge by a merge commit. Merging a merged one changes nothing."""
        ...

    def get(self, number: int) -> PullRequest:
        """One pull request in any state."""
        ...

    def comments(self, number: int) -> list[str]:
        """What was said about it, oldest first: one text with time and author each."""
        ...


def newest_open(forge: Forge, head: str, base: str) -> PullRequest | None:
    """The newest open pull request from exactly ``head`` into ``base``, or None."""
    same = [p for p in forge.find_open(base=base, head_prefix=head) if p.head == head]
    return same[-1] if same else None


class Branches(Protocol):
    """What a forge without a server of its own needs of the Git remote to merge."""

    def merge_branch(self, head: str, into: str, message: str, *, when: datetime) -> str:
        """Merge branch ``head`` into branch ``into`` on the remote; returns the commit."""
        ...
