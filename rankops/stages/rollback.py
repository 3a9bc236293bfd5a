"""Rollback: from "this release is bad" to the commit that takes it out, for job, sensors and command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.deployment import DeployRecord
from rankops.errors import BadInput, GateFailed, IntegrityError
from rankops.overlays.component import ReleasePin
from rankops.overlays.evidence import verify_evidence
from rankops.overlays.history import current, earlier_pins, record_of
from rankops.overlays.mirror import GitRemote
from rankops.overlays.quarantine import Quarantine
from rankops.overlays.rollback import RollbackOutcome, RollbackRequest, came_back_by, rollback
from rankops.overlays.rollback_decision import NAMED, RollbackAttempt, Situation, names
from rankops.overlays.transaction import Render, Standing, Target, Validate
from rankops.specs import EnvironmentSpec
from rankops.stages.fetched import fetched
from rankops.stages.verified import was_verified
from rankops.state import LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.forge.protocol import Forge

Progress = Callable[[str], None]

AUTOMATIC = "rankops, because the environment allows it (emergency_rollback)"
_LOOKED_BACK = 10  # commits of one overlay in which earlier rollbacks are looked for
_CANDIDATES = 50  # commits of one overlay in which a sensor looks for a release that could come back
_NEVER = "it never passed verification here"


@dataclass(frozen=True)
class RollbackOrder:
    """What people and sensors ask for.

    ``bad`` is the digest to take out, or at least its first twelve digits; empty means what is live. ``emergency``
    pushes although the environment takes pull requests, and ``by`` says who decides that.
    """

    reason: str
    bad: str = ""
    emergency: bool = False
    by: str = ""
    automatic: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Means:
    """What a rollback works with."""

    store: ArtifactStore
    remote: GitRemote
    render: Render
    validate: Validate
    forge: Forge | None


def roll_back(
    means: Means,
    model: str,
    environment: EnvironmentSpec,
    order: RollbackOrder,
    *,
    dagster_run: str | None,
    progress: Progress,
) -> RollbackOutcome:
    """Take a release out of an environment; see :func:`rankops.overlays.rollback.rollback` for the errors."""
    target = Target(environment.name, model, environment.branch)
    state = LocalState.current()
    evidence = _Evidence(means.store, progress)
    request = RollbackRequest(
        target=target,
        bad=_resolve(order.bad, current(means.remote, target), target),
        reason=order.reason.strip(),
        policy=environment.policy,
        automatic=order.automatic,
        emergency=_who(order, environment),
        dagster_run=dagster_run,
        trusted_key=state.public_key.read_text() if state.public_key.is_file() else None,
        dry_run=order.dry_run,
    )
    return rollback(
        request,
        means.remote,
        render=means.render,
        validate=means.validate,
        verify=evidence.check,
        objection=evidence.objection,
        forge=means.forge,
        progress=progress,
    )


def situation(
    store: ArtifactStore, remote: GitRemote, target: Target, attempts: Sequence[RollbackAttempt] = ()
) -> Situation:
    """What stands in an environment, for :func:`rankops.overlays.rollback_decision.decide`.

    Raises :class:`RemoteUnavailable` where Git or the store does not answer: then nothing is known.
    """
    standing = current(remote, target)
    if standing.pin is None:
        return Situation(environment=target.environment, model=target.model)
    at = _At(remote.mirror, standing.head, target.component, remote, standing, target)
    told = _told_by_git(at)
    return Situation(
        environment=target.environment,
        model=target.model,
        live=standing.pin.release,
        live_since=told.live_since,
        live_commit=told.live_commit,
        came_back_by=told.came_back_by,
        candidate=_candidate(store, at),
        quarantined=tuple(entry.digest for entry in standing.quarantine.entries),
        rollbacks=told.rollbacks,
        attempts=tuple(attempts),
    )


@dataclass(frozen=True)
class _At:
    """One overlay at one commit: what Git tells about that never changes, and sensors ask twice a minute."""

    mirror: Path
    head: str
    component: str
    remote: GitRemote = field(compare=False)
    standing: Standing = field(compare=False)
    target: Target = field(compare=False)


@dataclass(frozen=True)
class _Told:
    live_since: datetime | None
    live_commit: str | None
    came_back_by: str | None
    rollbacks: tuple[datetime, ...]


@lru_cache(maxsize=256)
def _told_by_git(at: _At) -> _Told:
    landed = at.remote.landed(at.head, at.component)
    back = came_back_by(at.remote, at.standing, at.target)
    commits = at.remote.log(at.head, at.component, _LOOKED_BACK)
    return _Told(
        live_since=landed[1] if landed else None,
        live_commit=landed[0] if landed else None,
        came_back_by=back.sha if back else None,
        rollbacks=tuple(info.when for info in commits if record_of(at.remote, info, at.target).is_rollback),
    )


@lru_cache(maxsize=256)
def _pinned_before(at: _At) -> tuple[ReleasePin, ...]:
    """Other releases that were pinned there, newest first."""
    live = at.standing.pin.release if at.standing.pin else None
    pins = {pin.release: pin for _, pin in earlier_pins(at.remote, at.head, at.target, _CANDIDATES)}
    return tuple(pin for release, pin in pins.items() if release != live)


def _candidate(store: ArtifactStore, at: _At) -> str | None:
    """What would come back, as far as records tell; its evidence is only checked when it does."""
    free = (pin for pin in _pinned_before(at) if at.standing.quarantine.find(pin.release) is None)
    return next((pin.release for pin in free if was_verified(store, pin)), None)


def remember_record(store: ArtifactStore, outcome: RollbackOutcome) -> None:
    """Keep ``<model>/deploy``'s reference true after a rollback by hand: Dagster's next verification reads it."""
    record = DeployRecord.of(outcome)
    store.write_json(f"references/{record.model}/deploy/{record.environment}.json", record.model_dump(mode="json"))


class _Evidence:
    """Whether an earlier release may come back, found out once for each release."""

    def __init__(self, store: ArtifactStore, progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._known: dict[str, str | None] = {}

    def objection(self, pin: ReleasePin) -> str | None:
        """Never verified here, or its evidence no longer holds. Raises where the store does not answer."""
        if pin.release not in self._known:
            self._known[pin.release] = self._find(pin)
            if (problem := self._known[pin.release]) is not None:
                self._progress(f"release {pin.release[:NAMED]} cannot come back: {problem}")
        return self._known[pin.release]

    def check(self, pin: ReleasePin, quarantine: Quarantine) -> None:
        """The last word, on the pin that is about to be written."""
        if pin.release not in self._known or self._known[pin.release] is not None:
            self._verify(pin, quarantine)

    def _find(self, pin: ReleasePin) -> str | None:
        if not was_verified(self._store, pin):
            return _NEVER
        try:
            self._verify(pin, Quarantine())
        except (GateFailed, IntegrityError) as error:
            return error.problem
        return None

    @staticmethod
    def _verify(pin: ReleasePin, quarantine: Quarantine) -> None:
        from rankops.release.manifest import read_manifest

        state = LocalState.current()
        folder = fetched(pin.uri, "release", pin.release)
        # It was seen to serve here, so its target fits, whatever the model spec has come to ask for since.
        target = read_manifest(folder).target
        verify_evidence(folder, public_key=state.public_key, pin=pin, quarantine=quarantine, target=target)


def _resolve(bad: str, standing: Standing, target: Target) -> str:
    """The whole digest that ``bad`` names: of the live release, or of one that is quarantined already."""
    live = standing.pin.release if standing.pin else None
    if live is None:
        raise BadInput(f"{target.environment}/{target.model} runs no release, so there is nothing to roll back")
    if not bad:
        return live
    for digest in (live, *(entry.digest for entry in standing.quarantine.entries)):
        if names(bad, digest):
            return digest
    raise BadInput(
        f"{target.environment}/{target.model} runs release {live[:NAMED]}, not {bad[:NAMED]!r}",
        f"name the live release by at least {NAMED} digits, or leave it out",
    )


def _who(order: RollbackOrder, environment: EnvironmentSpec) -> str | None:
    if order.automatic:
        return AUTOMATIC if environment.emergency_rollback else None
    if not order.emergency:
        return None
    if not order.by.strip():
        raise BadInput("an emergency rollback is recorded with who decided it", "say by whom (your name)")
    return order.by.strip()
