"""Rollback: a forward commit that pins the last release that verified and quarantines the bad one.

Never a rollback of a rollback by a machine: where the standing commit is one already, a person must decide, or two
sensors could swap two bad releases for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rankops.errors import BadInput, GateFailed
from rankops.forge.protocol import Forge
from rankops.overlays.component import ReleasePin, render_component
from rankops.overlays.deploy import DeployOutcome, describe_plainly, outcome
from rankops.overlays.evidence import Verifier
from rankops.overlays.history import earlier_pins, last_commit_for
from rankops.overlays.mirror import GitRemote
from rankops.overlays.proposal import Describe, pull_request_delivery, push_delivery
from rankops.overlays.quarantine import Quarantine, QuarantineEntry, append_quarantine
from rankops.overlays.transaction import (
    ATTEMPTS,
    Deliver,
    Plan,
    Render,
    Standing,
    Target,
    Tools,
    Validate,
    now_utc,
    run,
)


@dataclass(frozen=True)
class RollbackRequest:
    """Take ``bad`` (a release digest) out of an environment, because of ``reason`` (one line).

    ``automatic`` requests stop where the standing commit is a rollback itself; a person's go on. ``dagster_run`` is
    the run that asks.
    """

    target: Target
    bad: str
    reason: str
    policy: Literal["push", "pull-request"] = "push"
    automatic: bool = False
    dagster_run: str | None = None


def rollback(
    request: RollbackRequest,
    remote: GitRemote,
    *,
    render: Render,
    validate: Validate,
    verify: Verifier,
    verified: Callable[[ReleasePin], bool],
    forge: Forge | None = None,
    describe: Describe | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], datetime] = now_utc,
    checkpoint: Callable[[str], None] = lambda _: None,
    attempts: int = ATTEMPTS,
) -> DeployOutcome:
    """Pin the newest earlier release for which ``verified`` holds (it once passed verification in this environment).

    ``verify`` checks the evidence of the release that comes back. Asking again for a release that is no longer live
    and already quarantined makes no commit. Raises :class:`GateFailed` where no earlier release may come back or an
    automatic request would undo a rollback, :class:`BadInput` where ``bad`` is not what stands there, and what
    :func:`~rankops.overlays.deploy.deploy` raises.
    """
    started = time.monotonic()
    target = request.target
    if request.policy == "pull-request" and forge is None:
        raise BadInput(f"{target.environment} takes changes by pull request, but no forge is configured")
    tools = Tools(render, validate, verify, progress, clock, checkpoint, attempts=attempts)
    deliver: Deliver = push_delivery(target, remote, tools)
    if request.policy == "pull-request" and forge is not None:
        deliver = pull_request_delivery(target, remote, tools, forge, describe or describe_plainly)

    def plan(standing: Standing) -> Plan:
        return _plan(request, remote, standing, verified, clock())

    return outcome(run(target, remote, plan, deliver, tools), target, remote, time.monotonic() - started)


def _plan(
    request: RollbackRequest,
    remote: GitRemote,
    standing: Standing,
    verified: Callable[[ReleasePin], bool],
    when: datetime,
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
    record = last_commit_for(remote, standing.head, target)
    if request.automatic and record is not None and record.is_rollback:
        raise GateFailed(
            f"{where}: {live.release[:12]} came back by rollback {record.commit}; a machine does not undo that",
            "a person must decide: deploy a release that is known to be good, or roll back by hand",
        )
    good = _last_good(remote, standing, target, verified, request.bad)
    pin = good.model_copy(update={"supersedes": live.release, "dagster_run": request.dagster_run or good.dagster_run})
    entry = QuarantineEntry(
        digest=request.bad,
        reason=request.reason,
        since=when.isoformat(timespec="seconds"),
        commit=record.commit.sha if record else None,
    )
    files = {
        target.component: render_component(pin),
        target.quarantine: append_quarantine(standing.quarantine_text, entry, name=target.quarantine),
    }
    subject = f"rollback({target.environment}): {target.model} to release {pin.release[:12]}"
    body = f"{live.release[:12]} is quarantined: {request.reason}"
    return Plan(pin, files, subject, body, quarantined=request.bad)


def _last_good(
    remote: GitRemote, standing: Standing, target: Target, verified: Callable[[ReleasePin], bool], bad: str
) -> ReleasePin:
    quarantine = Quarantine(entries=standing.quarantine.entries)
    seen: set[str] = {bad}
    for _, pin in earlier_pins(remote, standing.head, target):
        if pin.release in seen or quarantine.find(pin.release):
            continue
        seen.add(pin.release)
        if verified(pin):
            return pin
    raise GateFailed(
        f"{target.environment}/{target.model} has no earlier release that verified and is not quarantined",
        "deploy a new release, or scale the overlay to zero by a commit",
    )
