"""deploy: the commit that pins a release in an environment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from rankops.errors import BadInput
from rankops.forge import pr_body
from rankops.forge.protocol import Forge, PullRequest
from rankops.overlays.component import ReleasePin, render_component
from rankops.overlays.evidence import Verifier
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.proposal import Describe, Proposal, pull_request_delivery, push_delivery
from rankops.overlays.quarantine import Quarantine
from rankops.overlays.transaction import (
    ATTEMPTS,
    Deliver,
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


@dataclass(frozen=True)
class DeployRequest:
    """Which release should run where. The pin's ``supersedes`` is filled in from what stands there.

    ``why`` goes into the commit message. ``trusted_key`` (PEM) is the key that the release was verified with: where
    the overlays carry another one, the pods would refuse the release, so deploy does.
    """

    pin: ReleasePin
    policy: Literal["push", "pull-request"] = "push"
    branch: str = "main"
    layout: OverlayLayout = field(default_factory=OverlayLayout)
    why: str = ""
    trusted_key: str | None = None

    @property
    def target(self) -> Target:
        """The overlay that the request is about."""
        return Target(self.pin.environment, self.pin.model, self.branch, self.layout)


@dataclass(frozen=True)
class DeployOutcome:
    """What deploy did.

    ``commit`` is the new commit, or the one that stands (``unchanged``). ``diff`` is the change of the files,
    ``rendered_diff`` of what a cluster is told; both are empty where nothing changed. ``seconds`` is wall time.
    """

    kind: Literal["committed", "unchanged", "proposed"]
    commit: str
    branch: str
    overlay_path: str
    pin: ReleasePin
    diff: str
    rendered_diff: str
    supersedes: str | None
    pull_request: PullRequest | None
    attempts: int
    seconds: float


def deploy(
    request: DeployRequest,
    remote: GitRemote,
    *,
    render: Render,
    validate: Validate,
    verify: Verifier,
    forge: Forge | None = None,
    describe: Describe | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], datetime] = now_utc,
    checkpoint: Callable[[str], None] = lambda _: None,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> DeployOutcome:
    """Pin a release by a commit on the remote (or a pull request, by the request's policy).

    The same release again makes no commit, whichever run asks. Killed anywhere, the remote is as before or as after,
    and running again finishes the job. Raises what ``verify``, ``render`` and ``validate`` raise;
    :class:`GateFailed` for a quarantined release; :class:`OverlayConflict` where somebody else wrote our file;
    :class:`InvalidOverlay` where the overlay is missing or does not take the pin; :class:`PushRefused` where a rule
    of the remote forbids the push; and :class:`RemoteUnavailable`.
    """
    started = time.monotonic()
    if request.policy == "pull-request" and forge is None:
        raise BadInput(
            f"{request.pin.environment} takes changes by pull request, but no forge is configured",
            "configure a forge (GitHub, or the local one), or set the environment's policy to push",
        )

    def check(_: ReleasePin, quarantine: Quarantine) -> None:
        verify(request.pin, quarantine)  # what is asked for, not the standing pin that a repetition keeps

    tools = Tools(render, validate, check, progress, clock, checkpoint, sleep, attempts)
    target = request.target
    deliver: Deliver = push_delivery(target, remote, tools)
    if request.policy == "pull-request" and forge is not None:
        deliver = pull_request_delivery(target, remote, tools, forge, describe or describe_plainly)
    result = run(target, remote, _planner(request), deliver, tools, trusted_key=request.trusted_key)
    return outcome(result, target, remote, time.monotonic() - started)


def outcome(result: Result, target: Target, remote: GitRemote, seconds: float) -> DeployOutcome:
    """A result in the words of the outside."""
    delivered, built = result.delivered, result.built
    base = remote.merge_base(built.standing.head, delivered.commit)
    changed = delivered.kind != "unchanged"
    return DeployOutcome(
        kind=delivered.kind,
        commit=delivered.commit,
        branch=delivered.branch,
        overlay_path=target.overlay,
        pin=built.plan.pin,
        diff=remote.diff(base, delivered.commit) if changed else "",
        rendered_diff=built.rendered_diff,
        supersedes=built.plan.pin.supersedes,
        pull_request=delivered.pull_request,
        attempts=result.attempts,
        seconds=seconds,
    )


def describe_plainly(proposal: Proposal) -> tuple[str, str]:
    """Title and body from the pin and the diffs alone; callers with evidence at hand add to :func:`plain_facts`."""
    facts = plain_facts(proposal)
    return pr_body.build_title(facts), pr_body.build_body(facts, proposal.body_limit)


def plain_facts(proposal: Proposal) -> pr_body.PullRequestFacts:
    """What deploy knows by itself; ``dataclasses.replace`` adds metrics, slices, worst queries, causes."""
    pin = proposal.pin
    lineage = {"release": pin.release, "address": pin.uri, "image": f"{pin.image}@{pin.image_digest}"}
    lineage |= {"dataset": pin.dataset, "checkpoint": pin.checkpoint}
    runs = {"Dagster run": pin.dagster_run, "MLflow run": pin.mlflow_run}
    lineage |= {name: run_id for name, run_id in runs.items() if run_id}
    return pr_body.PullRequestFacts(
        model=pin.model,
        environment=pin.environment,
        release=pin.release,
        commit=proposal.commit,
        supersedes=pin.supersedes,
        lineage=lineage,
        diff=proposal.diff,
        rendered_diff=proposal.rendered_diff,
    )


def _planner(request: DeployRequest) -> Callable[[Standing], Plan]:
    def plan(standing: Standing) -> Plan:
        pin = settle(request.pin, standing.pin)
        before = f"replaces {pin.supersedes[:12]}" if pin.supersedes else "the first release here"
        body = f"{pin.environment}/{pin.model} gets release {pin.release[:12]} ({before}).\n{request.why}".strip()
        subject = f"deploy({pin.environment}): {pin.model} to release {pin.release[:12]}"
        return Plan(pin, {request.target.component: render_component(pin)}, subject, body)

    return plan


def settle(pin: ReleasePin, standing: ReleasePin | None) -> ReleasePin:
    """The pin to write over ``standing``: the standing one where a cluster would see no difference."""
    if standing is None:
        return pin.model_copy(update={"supersedes": None})
    if pin.same_effect(standing):
        return standing
    same_release = pin.release == standing.release  # another image or address: it supersedes what it did before
    return pin.model_copy(update={"supersedes": standing.supersedes if same_release else standing.release})
