"""Rollback: a forward commit that pins the last release that verified and quarantines the bad one.

Never a rollback of a rollback by a machine: what came back by one stays until a person decides, or two sensors could
swap two bad releases for ever. An emergency pushes past the review that the environment asks for, and says so in the
commit, in the quarantine and on the pull requests that it overtakes.
"""

from __future__ import annotations

import dataclasses
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rankops.errors import BadInput, GateFailed, RankopsError
from rankops.forge import pr_body
from rankops.forge.protocol import Forge
from rankops.overlays.commits import CommitInfo
from rankops.overlays.component import ReleasePin, render_component
from rankops.overlays.deploy import DeployOutcome, outcome, plain_facts
from rankops.overlays.evidence import Verifier
from rankops.overlays.history import earlier_pins, last_commit_for, record_of
from rankops.overlays.layout import branch_prefix
from rankops.overlays.mirror import GitRemote
from rankops.overlays.proposal import Describe, Proposal, pull_request_delivery, push_delivery, standing_delivery
from rankops.overlays.quarantine import QuarantineEntry, append_quarantine, read_quarantine
from rankops.overlays.transaction import (
    ATTEMPTS,
    Built,
    Deliver,
    Delivered,
    Plan,
    Render,
    Result,
    Standing,
    Target,
    Tools,
    Validate,
    now_utc,
    run,
)

Objection = Callable[[ReleasePin], str | None]
"""Why an earlier release must not come back, or None where it may; raises where that cannot be found out."""


@dataclass(frozen=True)
class RollbackRequest:
    """Take ``bad`` (a release digest) out of an environment, because of ``reason`` (one line).

    ``automatic`` requests stop at a release that came back by a rollback; a person's go on. ``emergency`` says who
    pushes although the policy asks for a pull request; where it does not, nothing is overtaken and nothing recorded.
    ``dagster_run`` is the run that asks, ``trusted_key`` (PEM) the key that releases are verified with. A ``dry_run``
    does everything but deliver.
    """

    target: Target
    bad: str
    reason: str
    policy: Literal["push", "pull-request"] = "push"
    automatic: bool = False
    emergency: str | None = None
    dagster_run: str | None = None
    trusted_key: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name, text in (("reason", self.reason), ("emergency", self.emergency)):
            if text is not None and (not text.strip() or not text.isprintable() or len(text) > 500):
                raise BadInput(
                    f"the {name} of a rollback is {text[:80]!r}: it must be one line of at most 500 characters",
                    "say in a few words what is wrong with the release (or who decides); it is kept in Git",
                )

    @property
    def overtakes(self) -> str | None:
        """``who: why``, where this pushes past a review."""
        return f"{self.emergency}: {self.reason}" if self.emergency and self.policy == "pull-request" else None


@dataclass(frozen=True)
class RollbackOutcome(DeployOutcome):
    """What a rollback did: as a deploy, and the entry that keeps the bad release out.

    ``pin`` is the release that came back. ``emergency`` says who pushed past a review, and why.
    """

    quarantined: QuarantineEntry | None
    emergency: str | None
    dry_run: bool


def rollback(
    request: RollbackRequest,
    remote: GitRemote,
    *,
    render: Render,
    validate: Validate,
    verify: Verifier,
    objection: Objection,
    forge: Forge | None = None,
    describe: Describe | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], datetime] = now_utc,
    checkpoint: Callable[[str], None] = lambda _: None,
    attempts: int = ATTEMPTS,
) -> RollbackOutcome:
    """Pin the newest earlier release against which there is no ``objection`` (it once verified in this environment).

    ``verify`` checks the evidence of the release that comes back. Asking again for a release that is no longer live
    and already quarantined makes no commit. Raises :class:`GateFailed` where no earlier release may come back or an
    automatic request would undo a rollback, :class:`BadInput` where ``bad`` is not what stands there, and what
    :func:`~rankops.overlays.deploy.deploy` raises.
    """
    started = time.monotonic()
    target = request.target
    tools = Tools(render, validate, verify, progress, clock, checkpoint, attempts=attempts)
    deliver = _delivery(request, remote, tools, forge, describe)

    def plan(standing: Standing) -> Plan:
        return _plan(request, remote, standing, objection, clock())

    result = run(target, remote, plan, deliver, tools, trusted_key=request.trusted_key)
    if request.overtakes and forge is not None and result.delivered.kind == "committed" and not request.dry_run:
        _close_overtaken(request, result, forge, remote, progress)
    done = outcome(result, target, remote, time.monotonic() - started)
    plain = {field.name: getattr(done, field.name) for field in dataclasses.fields(done)}
    entry = _entry_of(request, result)
    return RollbackOutcome(
        **plain, quarantined=entry, emergency=entry.emergency if entry else None, dry_run=request.dry_run
    )


def came_back_by(remote: GitRemote, standing: Standing, target: Target) -> CommitInfo | None:
    """The rollback that brought the live release back, or None where it was deployed.

    Whatever changed since without changing the release (its image, its address) is looked through, and so are merges
    that lost the trailers: see :func:`~rankops.overlays.history.record_of`.
    """
    live = standing.pin
    for info, pin in earlier_pins(remote, standing.head, target):
        if live is None or pin.release != live.release:
            return None
        if record_of(remote, info, target).is_rollback:
            return info
    return None


def _last_good(
    remote: GitRemote, standing: Standing, target: Target, bad: str, objection: Objection
) -> tuple[ReleasePin | None, list[str]]:
    """The newest earlier release that may come back, and why those after it may not."""
    seen, refused = {bad}, list[str]()
    for _, pin in earlier_pins(remote, standing.head, target):
        if pin.release in seen:
            continue
        seen.add(pin.release)
        problem = standing.quarantine.problem(pin.release) or objection(pin)
        if problem is None:
            return pin, refused
        refused.append(f"{pin.release[:12]}: {problem}")
    return None, refused


def _plan(
    request: RollbackRequest, remote: GitRemote, standing: Standing, objection: Objection, when: datetime
) -> Plan:
    target, live = request.target, standing.pin
    where = f"{target.environment}/{target.model}"
    if live is None:
        raise BadInput(f"{where} runs no release, so there is nothing to roll back", "deploy one first")
    if live.release != request.bad:
        if standing.quarantine.find(request.bad):  # done before; report what stands
            return Plan(live, {target.component: render_component(live)}, "rollback: nothing to do")
        raise BadInput(
            f"{where} runs release {live.release[:12]}, not {request.bad[:12]}", "name the release that is live now"
        )
    if request.automatic and (back := came_back_by(remote, standing, target)) is not None:
        raise GateFailed(
            f"{where}: {live.release[:12]} came back by rollback {back}; a machine does not undo that",
            "a person must decide: deploy a release that is known to be good, or roll back by hand",
        )
    good, refused = _last_good(remote, standing, target, request.bad, objection)
    if good is None:
        why = f" ({'; '.join(refused)})" if refused else ""
        raise GateFailed(
            f"{where} has no earlier release that verified and is not quarantined{why}",
            "deploy a new release, or scale the overlay to zero by a commit",
        )
    pin = good.model_copy(update={"supersedes": live.release, "dagster_run": request.dagster_run or good.dagster_run})
    record = last_commit_for(remote, standing.head, target)
    entry = QuarantineEntry(
        digest=request.bad,
        reason=request.reason,
        since=when.isoformat(timespec="seconds"),
        commit=record.commit.sha if record else None,
        emergency=request.overtakes,
    )
    files = {
        target.component: render_component(pin),
        target.quarantine: append_quarantine(standing.quarantine_text, entry, name=target.quarantine),
    }
    subject = f"rollback({target.environment}): {target.model} to release {pin.release[:12]}"
    body = f"{live.release[:12]} is quarantined: {request.reason}"
    emergency = _ascii(request.overtakes) if request.overtakes else None
    return Plan(pin, files, subject, body, quarantined=request.bad, emergency=emergency)


def _delivery(
    request: RollbackRequest, remote: GitRemote, tools: Tools, forge: Forge | None, describe: Describe | None
) -> Deliver:
    target = request.target
    if request.dry_run:

        def keep(built: Built) -> Delivered:
            if built.commit is None:
                return standing_delivery(target, remote, built)
            return Delivered("committed", built.commit, target.branch)  # in our mirror only

        return keep
    if request.policy == "push" or request.overtakes:
        return push_delivery(target, remote, tools)
    if forge is None:
        raise BadInput(
            f"{target.environment} takes changes by pull request, but no forge is configured",
            "configure a forge, or roll back as an emergency, which is recorded",
        )
    return pull_request_delivery(target, remote, tools, forge, describe or _describer(request))


def _describer(request: RollbackRequest) -> Describe:
    def describe(proposal: Proposal) -> tuple[str, str]:
        facts = dataclasses.replace(plain_facts(proposal), why=[request.reason], rolls_back=request.bad)
        return pr_body.build_title(facts), pr_body.build_body(facts)

    return describe


def _close_overtaken(
    request: RollbackRequest, result: Result, forge: Forge, remote: GitRemote, progress: Callable[[str], None]
) -> None:
    """Close this overlay's open pull requests, which no longer apply. The rollback stands, whatever happens here."""
    target = request.target
    comment = (
        f"Overtaken by an emergency rollback, {result.delivered.commit}, pushed without review by "
        f"{pr_body.escape(str(request.overtakes))}. Deploy again to propose on the new head."
    )
    try:
        prefix = branch_prefix(target.environment, target.model)
        for old in forge.find_open(base=target.branch, head_prefix=prefix):
            forge.close(old.number, comment=comment)
            progress(f"closed pull request #{old.number}, overtaken by the emergency")
            remote.fetch(target.branch, prefix + "*")
            if (tip := remote.branches(old.head).get(old.head)) is not None:
                remote.delete_branch(old.head, tip)
    except RankopsError as error:
        progress(f"the rollback is pushed, but its pull requests could not be tidied up: {error.problem}")


def _entry_of(request: RollbackRequest, result: Result) -> QuarantineEntry | None:
    path, standing = request.target.quarantine, result.built.standing
    return read_quarantine(result.built.plan.files.get(path, standing.quarantine_text), name=path).find(request.bad)


def _ascii(text: str) -> str:
    """A trailer's value is printable ASCII; what is not has its whole form in the quarantine."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = "".join(letters).encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else "?" for c in plain).strip()[:500].strip()
