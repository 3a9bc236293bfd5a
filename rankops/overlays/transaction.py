"""One change of one overlay, from the remote's head to the remote's new head, or not at all.

The order is the contract: fetch → evidence → write → build → validate → nothing changed? stop → commit → deliver.
Only a lost race is repeated, on the new head; a change of our own file by somebody else ends it. Where the new head
left everything alone that the build reads, the build is not repeated: the window in which a race can be lost is a few
git commands wide however long Kustomize takes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from rankops.errors import OverlayConflict, RemoteUnavailable
from rankops.overlays.component import ReleasePin, is_seed, read_component
from rankops.overlays.evidence import Verifier
from rankops.overlays.git import LostRace
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.quarantine import Quarantine, read_quarantine
from rankops.overlays.rendering import Rendering
from rankops.overlays.trailers import DeployTrailers, render_message

# Twenty machines that push at once over a second of latency need up to 16 attempts each, so simulations say.
ATTEMPTS = 25
_PAUSE_SECONDS = 5.0
_STUCK_ATTEMPTS = 8
_TURN_SECONDS = 20.0


class RenderedOverlay(Protocol):
    """What building an overlay gives: the objects, and the text that was parsed."""

    @property
    def objects(self) -> Sequence[Mapping[str, Any]]:
        """The Kubernetes objects, in the order of the text."""
        ...

    @property
    def text(self) -> str:
        """The YAML."""
        ...


Render = Callable[[Path], RenderedOverlay]
"""Build one overlay folder; raises InvalidOverlay or ToolMissing."""
Validate = Callable[[Sequence[Mapping[str, Any]]], object]
"""Check the objects of an overlay; raises InvalidOverlay. What it returns is not used."""


def now_utc() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Tools:
    """What a change needs besides the remote, all injectable.

    ``checkpoint`` is told each step by name as it is reached (tests kill the process there).
    """

    render: Render
    validate: Validate
    verify: Verifier
    progress: Callable[[str], None] = lambda _: None
    clock: Callable[[], datetime] = now_utc
    checkpoint: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep
    attempts: int = ATTEMPTS


@dataclass(frozen=True)
class Target:
    """Which overlay of which branch is changed."""

    environment: str
    model: str
    branch: str = "main"
    layout: OverlayLayout = field(default_factory=OverlayLayout)

    @property
    def overlay(self) -> str:
        """Folder of the overlay."""
        return self.layout.overlay(self.environment, self.model)

    @property
    def component(self) -> str:
        """Path of the file that pins the release."""
        return self.layout.component(self.environment, self.model)

    @property
    def quarantine(self) -> str:
        """Path of the list of refused releases."""
        return self.layout.quarantine(self.environment, self.model)


@dataclass(frozen=True)
class Standing:
    """What a commit says about a target now. ``pin`` is None before the first release."""

    head: str
    component: str | None
    pin: ReleasePin | None
    quarantine_text: str | None
    quarantine: Quarantine


@dataclass(frozen=True)
class Plan:
    """What should be so: the pin, the files by path, and the words of the commit."""

    pin: ReleasePin
    files: dict[str, str]
    subject: str
    body: str = ""
    quarantined: str | None = None
    emergency: str | None = None

    def message(self) -> str:
        """The commit message with its trailers."""
        pin = self.pin
        trailers = DeployTrailers(
            model=pin.model,
            release=pin.release,
            environment=pin.environment,
            dagster_run=pin.dagster_run,
            mlflow_run=pin.mlflow_run,
            dataset=pin.dataset,
            supersedes=pin.supersedes,
            quarantined=self.quarantined,
            emergency=self.emergency,
        )
        return render_message(self.subject, self.body, trailers)


@dataclass(frozen=True)
class Built:
    """A plan that was rendered, checked and (unless nothing changed) committed on ``standing.head``."""

    standing: Standing
    plan: Plan
    commit: str | None
    rendered_diff: str


@dataclass(frozen=True)
class Delivered:
    """Where a built commit went. ``pull_request`` is whatever the delivery opened or adopted."""

    kind: Literal["committed", "unchanged", "proposed"]
    commit: str
    branch: str
    pull_request: Any = None


@dataclass(frozen=True)
class Result:
    """What :func:`run` did, after ``attempts`` tries."""

    built: Built
    delivered: Delivered
    attempts: int


Planner = Callable[[Standing], Plan]
Deliver = Callable[[Built], Delivered]


def run(
    target: Target,
    remote: GitRemote,
    plan: Planner,
    deliver: Deliver,
    tools: Tools,
    *,
    trusted_key: str | None = None,
) -> Result:
    """Carry one change through; see the module's docstring for the order and the errors of each step.

    ``trusted_key`` is the public key (PEM) that the overlays must carry, where they carry one.

    Raises :class:`OverlayConflict` where somebody else changed our file while we worked,
    :class:`RemoteUnavailable` after ``tools.attempts`` lost races, and whatever a step raises.
    """
    work = _Work(target, remote, plan, tools, trusted_key)
    heads: list[str] = []
    reason = ""
    for attempt in range(1, tools.attempts + 1):
        # From the second try on, the processes of this machine queue up instead of racing each other.
        with nullcontext() if attempt == 1 else remote.turn(_TURN_SECONDS):
            built = work.build(first=attempt == 1)
            try:
                return Result(built, deliver(built), attempt)
            except LostRace as race:
                reason = race.problem
                tools.progress(f"attempt {attempt}: {reason.splitlines()[0]}; building on the new head")
        heads.append(built.standing.head)
        if heads[-_STUCK_ATTEMPTS:] == [built.standing.head] * _STUCK_ATTEMPTS:
            raise RemoteUnavailable(
                f"{target.branch} does not move, and yet our push is not taken: {reason}",
                "a git that was killed may have left a lock in that repository: remove it once no git runs there",
            )
        tools.sleep(random.uniform(0, min(_PAUSE_SECONDS, 0.05 * 2**attempt)))  # noqa: S311 - jitter, no secret
    raise RemoteUnavailable(
        f"{remote.url} {target.branch}: others pushed first {tools.attempts} times; the last time: {reason}",
        "run again when it is quieter",
    )


class _Work:
    """The state that survives a lost race: what we first saw, and a rendering that need not be repeated."""

    def __init__(self, target: Target, remote: GitRemote, plan: Planner, tools: Tools, trusted_key: str | None) -> None:
        self.target, self.remote, self.plan, self.tools = target, remote, plan, tools
        self._rendering = Rendering(remote, target, tools, trusted_key)
        self._first: Standing | None = None

    def build(self, *, first: bool) -> Built:
        """Fetch, verify, write, render, validate and commit, once."""
        tools, target = self.tools, self.target
        first_time = " for the first time; a large repository takes a while" if self.remote.is_new else ""
        tools.progress(f"fetching {target.branch} of {self.remote.url}{first_time}")
        standing = read_standing(self.remote, self.remote.head(target.branch), target)
        tools.checkpoint("fetched")
        plan = self.plan(standing)
        self._require_ours(standing, plan)
        if first or self._first is None or standing.quarantine != self._first.quarantine:
            tools.progress(f"verifying the evidence of release {plan.pin.release[:12]}")
            tools.verify(plan.pin, standing.quarantine)
        standing.quarantine.require_free(plan.pin.release, name=target.quarantine)
        tools.checkpoint("verified")
        self._first = self._first or standing
        changes = self._changes(standing, plan)
        rendered_diff = self._rendering.check(standing, plan, changes=changes)
        commit = None
        if changes:
            commit = self.remote.commit(standing.head, plan.files, plan.message(), when=tools.clock())
            tools.checkpoint("committed")
        return Built(standing, plan, commit, rendered_diff)

    def _require_ours(self, standing: Standing, plan: Plan) -> None:
        """Another change of our own file since we first looked is terminal, unless it did what we want."""
        if self._first is None or standing.component == self._first.component or not self._changes(standing, plan):
            return
        raise OverlayConflict(
            f"{self.target.component} was changed while we deployed: {_last(self.remote, standing.head, self.target)}",
            "look at that commit; deploy again if this release should replace it",
        )

    def _changes(self, standing: Standing, plan: Plan) -> bool:
        have = {self.target.component: standing.component, self.target.quarantine: standing.quarantine_text}
        return any(have.get(path) != text for path, text in plan.files.items())


def read_standing(remote: GitRemote, commit: str, target: Target) -> Standing:
    """What ``commit`` says about a target.

    Raises :class:`OverlayConflict` naming file and commit where somebody else wrote our file, and
    ``BadInput`` where the quarantine cannot be read.
    """
    component, quarantine = remote.read(commit, target.component, target.quarantine)
    try:
        pin = None if is_seed(component) else read_component(component or "", name=target.component)
    except OverlayConflict as conflict:
        who = _last(remote, commit, target)
        raise OverlayConflict(f"{conflict.problem}; last changed by {who}", conflict.remedy) from conflict
    if pin is not None and (pin.environment, pin.model) != (target.environment, target.model):
        raise OverlayConflict(
            f"{target.component} belongs to {pin.environment}/{pin.model}: it was copied from another overlay",
            "delete the copied release folder's content; deploy writes its own",
        )
    return Standing(commit, component, pin, quarantine, read_quarantine(quarantine, name=target.quarantine))


def _last(remote: GitRemote, commit: str, target: Target) -> str:
    found = remote.log(commit, target.component)
    return str(found[0]) if found else "an unknown commit"
