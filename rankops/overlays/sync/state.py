"""What a GitOps controller, or a rollout, says about one commit: the same few words for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rankops.errors import RemoteUnavailable, VerificationFailed
from rankops.overlays.objects import Object, dig, items

Phase = Literal["progressing", "failed", "stalled", "wrong-revision", "suspended", "healthy"]
"""``failed`` is tried again by the controller, ``stalled`` is not; ``suspended`` was told to wait for a person."""

Relation = Literal["same", "contains", "equivalent", "older", "superseded", "unrelated", "unknown"]
"""How a commit that a controller reports relates to ours.

``contains``: a later commit that still pins our release. ``equivalent``: another commit in which all that our overlay
is built from is byte for byte the same. ``superseded``: a later commit that pins another release. ``unknown``: a
commit that the branch of the environment does not hold.
"""
OURS: frozenset[Relation] = frozenset({"same", "contains", "equivalent"})

MANUAL_SYNC = "ManualSync"
"""The reason of a suspension that ends when a person presses Sync: worth the whole wait."""

Relate = Callable[[str], Relation]
"""From a commit to its relation to ours."""

_COMMIT = re.compile(r"(?:^|[@:/])([0-9a-f]{40}|[0-9a-f]{64})$")


class Transient(RemoteUnavailable):
    """An answer that could not be had now; asking again a little later is the right thing to do."""


@dataclass(frozen=True)
class SyncState:
    """One look. ``revision`` is what the controller reports (a commit, or a release for a rollout).

    ``applied``: a controller that is not healthy has applied our commit all the same, and waits for the health of
    what it applied, which may be other models. ``about_release``: the failure is one of our release's pods, not of a
    controller, of its access to Git or of a person who stopped it; only then would a rollback help.
    """

    phase: Phase
    revision: str | None
    message: str
    reason: str = ""
    remedy: str | None = None
    applied: bool = False
    about_release: bool = False

    @property
    def is_final(self) -> bool:
        """True where waiting cannot help."""
        return self.phase == "stalled" or self.reason == "Superseded"

    def about(self, subject: str) -> SyncState:
        """The same, with the object's name before the message."""
        return replace(self, message=f"{subject}: {self.message}")


class NotLive(VerificationFailed):
    """The commit did not become live; ``state`` is the last that was seen, or the failure that decided."""

    def __init__(self, problem: str, remedy: str | None, state: SyncState | None) -> None:
        self.state = state
        self.about_release = state is not None and state.about_release
        super().__init__(problem, remedy)


def git_commit(revision: object) -> str | None:
    """The commit in a revision as controllers write it, or None.

    Flux writes ``main@sha1:<sha>``, ``sha1:<sha>`` or (before 2.0) ``main/<sha>``; Argo CD writes the bare commit.
    """
    match = _COMMIT.search(revision) if isinstance(revision, str) else None
    return match[1] if match else None


def short(commit: str | None) -> str:
    """A commit as people read it."""
    return commit[:12] if commit else "no commit"


def condition(obj: Object, kind: str) -> Object | None:
    """The status condition of this type, or None."""
    return next((c for c in items(obj, "status", "conditions") if c.get("type") == kind), None)


def text(value: object, *keys: str) -> str:
    """A string field, empty where it is absent."""
    found = dig(value, *keys)
    return found if isinstance(found, str) else ""


def number(value: object, *keys: str) -> int:
    """An integer field, 0 where it is absent (the API leaves zeros out)."""
    found = dig(value, *keys)
    return found if isinstance(found, int) else 0


def elsewhere(relation: Relation, revision: str | None, extra: str = "") -> SyncState:
    """The state of a controller that stands at a commit which is not ours."""
    tail = f"; {extra}" if extra else ""
    if relation == "superseded":
        return SyncState(
            "wrong-revision",
            revision,
            f"a later commit, {short(revision)}, pins another release{tail}",
            "Superseded",
            "verify the deploy that made that commit",
        )
    said = {
        "older": "is an earlier commit",
        "unrelated": "is a commit of another line of history",
        "unknown": "is a commit that the branch of this environment does not hold",
    }.get(relation, "is another commit")
    where = f"stands at {revision}, which {said}" if revision else "has applied nothing yet"
    remedy = (
        "let the controller follow the repository and branch that deploy pushes to" if relation == "unknown" else None
    )
    return SyncState("wrong-revision", revision, f"{where}{tail}", "WrongRevision", remedy)
