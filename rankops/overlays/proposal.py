"""Delivering a commit: straight to the branch, or as one pull request for each environment and model.

A branch is named after its change (from which release to which), so whoever was killed half-way is continued by the
next run: the branch is found, then the pull request. A newer release is another change and gets a pull request of its
own, which closes the one before: an approval was given to one model, and must not carry over to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rankops.errors import BadInput, OverlayConflict
from rankops.files import digest_of
from rankops.forge.protocol import Forge, PullRequest
from rankops.overlays.component import ReleasePin, is_intact, read_component
from rankops.overlays.git import LostRace, PushRefused
from rankops.overlays.history import last_commit_for
from rankops.overlays.layout import branch_prefix
from rankops.overlays.mirror import GitRemote
from rankops.overlays.transaction import Built, Deliver, Delivered, Target, Tools


@dataclass(frozen=True)
class Proposal:
    """What the words of a pull request are made from, and how many characters the forge takes."""

    pin: ReleasePin
    commit: str
    diff: str
    rendered_diff: str
    body_limit: int


Describe = Callable[[Proposal], tuple[str, str]]
"""Title and body of a pull request."""


def push_delivery(target: Target, remote: GitRemote, tools: Tools) -> Deliver:
    """Deliver by moving the branch itself."""

    def deliver(built: Built) -> Delivered:
        if built.commit is None:
            return standing_delivery(target, remote, built)
        tools.progress(f"pushing {built.commit[:12]} to {target.branch}")
        remote.push(built.commit, target.branch)
        tools.checkpoint("pushed")
        return Delivered("committed", built.commit, target.branch)

    return deliver


def pull_request_delivery(target: Target, remote: GitRemote, tools: Tools, forge: Forge, describe: Describe) -> Deliver:
    """Deliver by a branch that is named after the change, and one pull request; older ones are closed."""
    prefix = branch_prefix(target.environment, target.model)

    def deliver(built: Built) -> Delivered:
        if built.commit is None:
            _close_obsolete(forge, remote, target, tools, newest=None)
            return standing_delivery(target, remote, built)
        branch = prefix + _change_hash(built)
        commit = _push_or_adopt(built, commit=built.commit, branch=branch, remote=remote, target=target, tools=tools)
        tools.checkpoint("pushed")
        base = remote.merge_base(built.standing.head, commit)
        diff = remote.diff(base, commit)
        title, body = describe(Proposal(built.plan.pin, commit, diff, built.rendered_diff, forge.body_limit))
        try:
            opened = forge.open(head=branch, base=target.branch, title=title, body=body, labels=_labels(target))
        except BadInput as error:
            _require_branch(remote, branch, commit, error)
            raise
        tools.progress(f"pull request #{opened.number}: {opened.url}")
        tools.checkpoint("proposed")
        _close_obsolete(forge, remote, target, tools, newest=opened)
        _delete_merged(remote, built, prefix, tools)
        return Delivered("proposed", commit, branch, opened)

    return deliver


def standing_delivery(target: Target, remote: GitRemote, built: Built) -> Delivered:
    """Nothing to deliver: report the commit that stands."""
    record = last_commit_for(remote, built.standing.head, target)
    return Delivered("unchanged", record.commit.sha if record else built.standing.head, target.branch)


def _change_hash(built: Built) -> str:
    """Names the change by its effect, from what to what, so that another run of the same deploy finds the branch."""
    before = built.standing.pin.effect if built.standing.pin else None
    return digest_of([before, built.plan.pin.effect, built.plan.quarantined])[:12]


def _labels(target: Target) -> tuple[str, ...]:
    return ("rankops", target.environment)


def _push_or_adopt(built: Built, *, commit: str, branch: str, remote: GitRemote, target: Target, tools: Tools) -> str:
    remote.fetch(target.branch, branch_prefix(target.environment, target.model) + "*")
    tip = remote.tip(branch)
    # A branch that the base already contains was merged before; our commit, a child of the base, moves it forward.
    if tip is None or remote.is_ancestor(tip, built.standing.head):
        tools.progress(f"pushing {commit[:12]} to {branch}")
        remote.push(commit, branch)
        return commit
    (text,) = remote.read(tip, target.component)
    if text is None or not is_intact(text) or not built.plan.pin.same_effect(read_component(text)):
        raise OverlayConflict(
            f"{target.component} on branch {branch} was changed by somebody else: {remote.info(tip)}",
            "close that pull request and delete its branch, then deploy again",
        )
    (before,) = remote.read(remote.merge_base(built.standing.head, tip), target.component)
    if before != built.standing.component:  # the same release stands there again by another commit: a merge conflict
        tools.progress(f"branch {branch} was made on an older {target.component}; making it again")
        remote.delete_branch(branch, tip)
        remote.push(commit, branch)
        return commit
    tools.progress(f"branch {branch} exists with this change")
    return tip


def _require_branch(remote: GitRemote, branch: str, commit: str, error: BadInput) -> None:
    """Another run may have closed our proposal and deleted its branch before we opened it; then all is done again."""
    remote.fetch(branch + "*")
    if remote.tip(branch) != commit:
        raise LostRace(f"branch {branch} moved before its pull request was opened: {error.problem}", "run again")


def _close_obsolete(
    forge: Forge, remote: GitRemote, target: Target, tools: Tools, *, newest: PullRequest | None
) -> None:
    """Close what ``newest`` (or, with None, the branch itself) supersedes.

    Only *older* pull requests are closed, so two processes that propose at once cannot close each other's. Raises
    :class:`LostRace` where an older one was merged before it could be closed: ours then stands on a past state.
    """
    prefix = branch_prefix(target.environment, target.model)
    for old in forge.find_open(base=target.branch, head_prefix=prefix):
        if newest is not None and old.number >= newest.number:
            continue
        by = f"{forge.mark}{newest.number}" if newest else f"what {target.branch} already pins"
        closed = forge.close(old.number, comment=f"Superseded by {by}.")
        if closed.state == "merged":
            raise LostRace(f"pull request #{old.number} was merged while {by} was proposed", "run again")
        tools.progress(f"closed pull request #{old.number}, superseded by {by}")
        if newest is None or old.head != newest.head:
            remote.fetch(old.head + "*")
            _delete_branch(remote, old.head, tools)


def _delete_merged(remote: GitRemote, built: Built, prefix: str, tools: Tools) -> None:
    """Tidy up: branches of this overlay that hold nothing which the base does not."""
    for branch, tip in remote.branches(prefix).items():
        if remote.is_ancestor(tip, built.standing.head):
            _delete_branch(remote, branch, tools)


def _delete_branch(remote: GitRemote, branch: str, tools: Tools) -> None:
    tip = remote.branches(branch).get(branch)
    if tip is None:
        return
    try:
        remote.delete_branch(branch, tip)
    except (LostRace, PushRefused) as error:  # somebody works on it, or may not be deleted: it does no harm
        tools.progress(f"branch {branch} stays: {error.problem}")
