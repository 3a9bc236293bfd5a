"""What somebody wants traced: a commit, a release digest, a pod (or its annotations), or environment/model.

Everything is turned into commits of the overlays' repository that pinned a release.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rankops.errors import BadInput
from rankops.overlays.git import GitFailed
from rankops.overlays.history import PinnedAt, commits_pinning, last_commit_for, targets_changed
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.objects import dig, items, mapping
from rankops.overlays.transaction import Target, read_standing

_HEX = re.compile(r"^[0-9a-f]{8,64}$")
_NAMES = re.compile(r"^[a-z][-a-z0-9]*/[a-z][-a-z0-9]*$")
_ANNOTATION = re.compile(r"^rankops\.dev/release[=:]\s*\"?([0-9a-f]{64})\"?$")
_PREFIX = "rankops.dev/"
_HELP = "give a commit, a release digest (8 characters or more of either), environment/model, or a pod's JSON"


@dataclass(frozen=True)
class Claims:
    """What a live pod says about itself: annotations (without prefix), containers' images and variables."""

    name: str
    annotations: Mapping[str, str]
    images: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Found:
    """Commits that pinned what was asked for, one for each overlay, and what a pod claimed (or None)."""

    pinned: list[PinnedAt]
    claims: Claims | None = None


def resolve(remote: GitRemote, subject: str, *, branch: str, layout: OverlayLayout) -> Found:
    """Fetch, and find what ``subject`` means.

    Raises :class:`BadInput` where it means nothing or several things, ``OverlayConflict`` where somebody else wrote
    the release component that it leads to.
    """
    head = remote.head(branch)
    subject = subject.strip()
    if subject.startswith("{"):
        claims = read_pod(subject)
        return Found(_of_claims(remote, head, claims, layout), claims)
    if match := _ANNOTATION.match(subject):
        return Found(_of_release(remote, head, match[1], layout))
    if _NAMES.match(subject):
        environment, model = subject.split("/")
        return Found([_standing(remote, head, Target(environment, model, branch, layout))])
    if not _HEX.match(subject):
        raise BadInput(f"{subject[:80]!r} is neither commit, release, pod nor environment/model", _HELP)
    return Found(_of_hex(remote, head, subject, branch, layout))


def read_pod(text: str) -> Claims:
    """The claims of a pod (or of a Deployment, for the pods that it makes), from its JSON.

    Raises :class:`BadInput` for anything else, and where no release is annotated.
    """
    try:
        loaded = json.loads(text)
    except ValueError as error:
        raise BadInput(f"this is no JSON: {error}", "kubectl get pod NAME -o json | rankops trace -") from error
    listed = items(loaded, "items")
    obj: Mapping[str, Any] = listed[0] if listed else loaded
    pod = mapping(obj, "spec", "template") or obj
    found = mapping(pod, "metadata", "annotations")
    ours = {key.removeprefix(_PREFIX): str(value) for key, value in found.items() if key.startswith(_PREFIX)}
    if not re.fullmatch(r"[0-9a-f]{64}", ours.get("release", "")):
        name = dig(obj, "metadata", "name")
        raise BadInput(f"{name!r} carries no annotation rankops.dev/release", "give a pod that rankops deployed")
    containers = [*items(pod, "spec", "initContainers"), *items(pod, "spec", "containers")]
    variables = {
        str(c.get("name")): {str(e.get("name")): str(e.get("value")) for e in items(c, "env")} for c in containers
    }
    return Claims(
        name=str(dig(obj, "metadata", "name")),
        annotations=ours,
        images={str(c.get("name")): str(c.get("image")) for c in containers},
        variables=variables,
        environment=dig(pod, "metadata", "labels", "rankops.dev/environment"),
        model=dig(pod, "metadata", "labels", "app.kubernetes.io/name"),
    )


def _of_claims(remote: GitRemote, head: str, claims: Claims, layout: OverlayLayout) -> list[PinnedAt]:
    found = _of_release(remote, head, claims.annotations["release"], layout)
    wanted = (claims.environment, claims.model)
    here = [at for at in found if wanted == (at.target.environment, at.target.model)]
    if not here and all(wanted):
        where = ", ".join(sorted(f"{at.target.environment}/{at.target.model}" for at in found))
        raise BadInput(
            f"pod {claims.name} says it belongs to {'/'.join(map(str, wanted))}, but its release "
            f"{claims.annotations['release'][:12]} was only ever pinned in {where}",
            "find out who started that pod: no commit did",
        )
    return here or found


def _of_release(remote: GitRemote, head: str, digest: str, layout: OverlayLayout) -> list[PinnedAt]:
    found = commits_pinning(remote, head, digest, layout)
    releases = {at.pin.release for at in found}
    if len(releases) > 1:
        listed = ", ".join(sorted(release[:16] for release in releases))
        raise BadInput(f"{digest} is the beginning of {len(releases)} releases: {listed}", "give more characters")
    if not found:
        raise BadInput(f"no commit up to {head[:12]} ever pinned release {digest[:16]}", "check the digest and branch")
    newest: dict[Target, PinnedAt] = {}
    for at in found:
        newest.setdefault(at.target, at)
    return list(newest.values())


def _of_hex(remote: GitRemote, head: str, text: str, branch: str, layout: OverlayLayout) -> list[PinnedAt]:
    """A commit or a release, by a prefix; refused where it could be both or several."""
    commits = _commits(remote, text) if len(text) <= 40 else []
    if not commits:
        remote.fetch(branch, "rankops/*")  # a proposal that nobody merged yet
        commits = _commits(remote, text) if len(text) <= 40 else []
    released = commits_pinning(remote, head, text, layout)
    if len(commits) > 1 or (commits and released):
        what = [f"commit {sha[:16]}" for sha in commits]
        what += sorted({f"release {at.pin.release[:16]}" for at in released})
        raise BadInput(f"{text} is the beginning of {' and '.join(what)}", "give more characters")
    if not commits:
        if len(text) == 40:
            raise BadInput(f"{remote.url} has no commit {text}", "check the commit, and that it was pushed")
        return _of_release(remote, head, text, layout)
    info = remote.info(commits[0])
    found = []
    for target in targets_changed(remote, info, layout):
        standing = read_standing(remote, info.sha, target)
        if standing.pin is not None:
            found.append(PinnedAt(info.sha, target, standing.pin))
    if not found:
        raise BadInput(f"commit {info} pins no release", "give a deploy commit, or environment/model for what is live")
    return found


def _standing(remote: GitRemote, head: str, target: Target) -> PinnedAt:
    standing = read_standing(remote, head, target)
    record = last_commit_for(remote, head, target)
    if standing.pin is None or record is None:
        raise BadInput(f"{target.environment}/{target.model} runs no release", "deploy one first")
    return PinnedAt(record.commit.sha, target, standing.pin)


def _commits(remote: GitRemote, prefix: str) -> list[str]:
    """The commits of the mirror whose id starts with ``prefix``."""
    try:
        out = remote.git.run(["rev-parse", f"--disambiguate={prefix}"], repository=remote.mirror)
        kinds = remote.git.run(["cat-file", "--batch-check"], repository=remote.mirror, stdin=out).decode()
    except GitFailed:
        return []
    return [line.split()[0] for line in kinds.splitlines() if line.split()[1:2] == ["commit"]]
