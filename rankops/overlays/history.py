"""What stands now and what stood before, read from Git alone."""

from __future__ import annotations

from collections.abc import Iterator

from rankops.overlays.commits import CommitInfo
from rankops.overlays.component import ReleasePin, is_intact, read_component
from rankops.overlays.mirror import GitRemote
from rankops.overlays.trailers import CommitRecord, read_commit
from rankops.overlays.transaction import Standing, Target, read_standing


def current(remote: GitRemote, target: Target) -> Standing:
    """Fetch, and read what the target's branch says now."""
    return read_standing(remote, remote.head(target.branch), target)


def current_pin(remote: GitRemote, target: Target) -> ReleasePin | None:
    """The release that an environment is told to run, or None before the first one.

    Raises :class:`OverlayConflict` where somebody else wrote the release component, and
    :class:`RemoteUnavailable` where the remote does not answer.
    """
    return current(remote, target).pin


def last_commit_for(remote: GitRemote, commit: str, target: Target) -> CommitRecord | None:
    """The last commit up to ``commit`` that changed the target's release component, or None."""
    found = remote.log(commit, target.component)
    return read_commit(remote, found[0].sha) if found else None


def earlier_pins(
    remote: GitRemote, commit: str, target: Target, limit: int = 200
) -> Iterator[tuple[CommitInfo, ReleasePin]]:
    """Every release that was pinned up to ``commit``, newest first; commits with a broken seal are passed over."""
    for info in remote.log(commit, target.component, limit):
        (text,) = remote.read(info.sha, target.component)
        if text is not None and is_intact(text):
            yield info, read_component(text, name=target.component)
