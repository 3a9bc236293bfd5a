"""What stands now and what stood before, read from Git alone.

A commit's message is what people and merges rewrite; the sealed release component is what a cluster runs. So a
commit is described by its trailers where they agree with the component, and by the component where they do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from rankops.errors import BadInput, OverlayConflict
from rankops.overlays.commits import FORMAT, CommitInfo, parse_commit
from rankops.overlays.component import ReleasePin, is_intact, is_seed, read_component
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.quarantine import read_quarantine
from rankops.overlays.trailers import FIELDS, CommitRecord, DeployTrailers, read_trailers
from rankops.overlays.transaction import Standing, Target, read_standing


@dataclass(frozen=True)
class PinnedAt:
    """One commit that pinned a release somewhere."""

    commit: str
    target: Target
    pin: ReleasePin


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
    """The last commit up to ``commit`` that changed the target's release component, or None.

    Where a merge brought the component, that is the commit on the merged branch, not the merge.
    """
    found = remote.log(commit, target.component)
    return record_of(remote, found[0], target) if found else None


def record_of(remote: GitRemote, info: CommitInfo, target: Target) -> CommitRecord:
    """What a commit that changed the target's release component says about itself.

    The message is believed where it agrees with the component; where it lost its trailers (a squash merge), or says
    anything else, they are rebuilt from the component, and ``problem`` names each contradiction.
    """
    pin, problem = _pin_at(remote, info.sha, target)
    try:
        said = read_trailers(info.message, target.environment, target.model)
    except BadInput as error:
        said, problem = None, error.problem
    if pin is None:
        return CommitRecord(info, said, problem=problem)
    wrong = contradictions(said, pin) if said is not None else []
    if said is not None and not wrong:
        return CommitRecord(info, said)
    problem = f"its message contradicts what it pins: {'; '.join(wrong)}" if wrong else problem
    return CommitRecord(info, _rebuilt(remote, info, target, pin), "component", problem)


def contradictions(said: DeployTrailers, pin: ReleasePin) -> list[str]:
    """Each trailer that says something else than the component, as a sentence."""
    pinned = pin.model_dump()
    return [
        f"{key} says {_shown(value)}, the component says {_shown(pinned[field])}"
        for key, field in FIELDS.items()
        if field in pinned and (value := getattr(said, field)) != pinned[field]
    ]


def earlier_pins(
    remote: GitRemote, commit: str, target: Target, limit: int = 200
) -> Iterator[tuple[CommitInfo, ReleasePin]]:
    """Every release that was pinned up to ``commit``, newest first; commits with a broken seal are passed over.

    First the line that led to what stands there, then what the other sides of merges pinned meanwhile: where a merge
    chose one side of a conflict, Git's own log of the file forgets the other.
    """
    seen: set[str] = set()
    for info in itertools.chain(remote.log(commit, target.component, limit), _all_sides(remote, commit, target, limit)):
        if info.sha in seen:
            continue
        seen.add(info.sha)
        (text,) = remote.read(info.sha, target.component)
        if text is not None and is_intact(text):
            yield info, read_component(text, name=target.component)


def merged_by(remote: GitRemote, commit: str, head: str) -> CommitInfo | None:
    """The merge that brought ``commit`` into the first-parent line of ``head``; None where it stands on that line.

    Raises :class:`BadInput` where ``head`` does not contain ``commit``.
    """
    line = _lines(remote, "rev-list", "--first-parent", head)
    if commit in line:
        return None
    if not remote.is_ancestor(commit, head):
        raise BadInput(f"commit {commit[:12]} is not part of {head[:12]}", "fetch its branch, or merge it first")
    after = set(_lines(remote, "rev-list", "--ancestry-path", f"{commit}..{head}"))
    return remote.info([sha for sha in line if sha in after][-1])


def commits_pinning(remote: GitRemote, head: str, release: str, layout: OverlayLayout) -> list[PinnedAt]:
    """Every commit up to ``head`` that pinned a release whose digest starts with ``release``, newest first.

    Messages are searched; a component is read only where the message names the release, or lost its trailers.
    """
    shown = ["--full-history", "--no-renames", "-c", "-z", "--name-only", "--no-show-signature"]
    out = _text(remote, "log", *shown, "--format=%x01%H%x02%B%x02", head, "--", f":(glob){layout.component('*', '*')}")
    found = []
    for record in filter(None, out.split("\x01")):
        sha, message, paths = record.split("\x02", 2)
        if release not in message and "Rankops-Release" in message:
            continue
        for path in filter(None, (part.strip("\n") for part in paths.split("\0"))):
            target = target_of(path, layout)
            pin, _ = _pin_at(remote, sha, target)
            if pin is not None and pin.release.startswith(release):
                found.append(PinnedAt(sha, target, pin))
    return found


def targets_changed(remote: GitRemote, info: CommitInfo, layout: OverlayLayout) -> list[Target]:
    """Every overlay whose release component a commit changed (a merge: against its first parent)."""
    pattern = f":(glob){layout.component('*', '*')}"
    shown = ["-z", "--name-only", "--no-renames", "--format=", "--diff-merges=first-parent", "--root"]
    paths = _text(remote, "show", *shown, info.sha, "--", pattern).split("\0")
    return [target_of(path.strip("\n"), layout) for path in paths if path.strip("\n")]


def target_of(component: str, layout: OverlayLayout) -> Target:
    """The overlay that a path of a release component belongs to."""
    environment, model = PurePosixPath(component).relative_to(layout.root).parts[1:3]
    return Target(environment, model, layout=layout)


def _pin_at(remote: GitRemote, sha: str, target: Target) -> tuple[ReleasePin | None, str | None]:
    """What a commit pins there, or None and why it cannot be read."""
    try:
        (text,) = remote.read(sha, target.component)
        return (None if is_seed(text) else read_component(text or "", name=target.component)), None
    except OverlayConflict as conflict:
        return None, conflict.problem


def _rebuilt(remote: GitRemote, info: CommitInfo, target: Target, pin: ReleasePin) -> DeployTrailers:
    """The trailers that deploy or rollback would have written for this component."""
    added = _quarantined(remote, info.sha, target)
    if info.parents:
        added -= _quarantined(remote, info.parents[0], target)
    fields = pin.model_dump(include=set(DeployTrailers.model_fields))
    return DeployTrailers(**fields, quarantined=pin.supersedes if pin.supersedes in added else None)


def _quarantined(remote: GitRemote, sha: str, target: Target) -> set[str]:
    (text,) = remote.read(sha, target.quarantine)
    return {entry.digest for entry in read_quarantine(text, name=target.quarantine).entries}


def _all_sides(remote: GitRemote, commit: str, target: Target, limit: int) -> Iterator[CommitInfo]:
    fields = ["--full-history", "--no-merges", f"-{limit}", "--no-show-signature", f"--format={FORMAT}%x01"]
    out = remote.git.run(["log", *fields, commit, "--", target.component], repository=remote.mirror)
    yield from (parse_commit(record) for record in out.split(b"\x01") if record.strip())


def _text(remote: GitRemote, *args: str) -> str:
    return remote.git.run(args, repository=remote.mirror).decode(errors="replace")


def _lines(remote: GitRemote, *args: str) -> list[str]:
    return _text(remote, *args).split()


def _shown(value: str | None) -> str:
    return "nothing" if value is None else value[:16]
