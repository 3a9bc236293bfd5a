"""One overlay, rendered and judged: what a worker process of the check does. Values in, values out.

Only what the check itself needs is imported here, because every worker pays for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankops.errors import BadInput, InvalidOverlay, OverlayConflict
from rankops.overlays import kustomize, rules, schemas
from rankops.overlays.component import ReleasePin, is_seed, read_component, require_pinned
from rankops.overlays.evidence import targets_served
from rankops.overlays.objects import Object, Violation
from rankops.overlays.quarantine import Quarantine, read_quarantine
from rankops.overlays.rendering import unified
from rankops.stages.check_results import Problem

# What an overlay breaks by having no release yet; its placeholder asks for no pod.
_UNTIL_RELEASED = frozenset({"release", "image-digest"})


@dataclass(frozen=True)
class Job:
    """Which overlay to check: ``name`` (``overlays/staging/retriever``) below ``after``; ``before`` may be empty.

    ``shown`` is how messages call the root.
    """

    name: str
    after: Path
    before: Path | None
    shown: str
    kustomize: Path
    kubernetes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """The overlay, as messages call it."""
        return self.name if self.shown == "." else f"{self.shown}/{self.name}"


@dataclass(frozen=True)
class Built:
    """What is known of an overlay without looking at its release."""

    job: Job
    pin: ReleasePin | None
    quarantine: Quarantine
    targets: frozenset[str]
    objects: int
    diff: str
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def component(self) -> str:
        """Path of the release component, as messages call it."""
        return f"{self.job.folder}/release/kustomization.yaml"


def check_rendering(job: Job) -> Built:
    """Build the overlay, judge what it renders, read what it pins and what it refuses."""
    started = time.monotonic()
    folder, shown = job.after / job.name, job.folder
    problems: list[Problem] = []
    pin, seed = _pin(folder, shown, job.name, problems)
    quarantine = _quarantine(folder, shown, problems)
    objects: Sequence[Object] = ()
    text = ""
    try:
        objects, text = kustomize.build(folder, kustomize=job.kustomize)
        problems += _violations(objects, job.kubernetes, f"{shown}/kustomization.yaml", unreleased=seed)
        if pin is not None:
            require_pinned(objects, pin)
    except InvalidOverlay as error:
        rule = "build" if not objects else "pinned"
        said = error.problem.replace(str(folder), shown).replace(str(job.after), job.shown)
        problems.append(Problem(rule, said, f"{shown}/kustomization.yaml", error.remedy))
    targets = targets_served(objects, pin.model) if pin is not None else frozenset()
    diff = "" if job.before is None or not text else _diff(job, text)
    seconds = time.monotonic() - started
    return Built(job, pin, quarantine, targets, len(objects), diff, tuple(problems), seconds)


def _pin(folder: Path, shown: str, name: str, problems: list[Problem]) -> tuple[ReleasePin | None, bool]:
    """What the component pins, and whether it is the placeholder that stands there before the first release."""
    path = f"{shown}/release/kustomization.yaml"
    file = folder / "release" / "kustomization.yaml"
    text = file.read_text() if file.is_file() else None
    if is_seed(text):
        return None, text is not None
    try:
        pin = read_component(text or "", name=path)
    except OverlayConflict as conflict:
        problems.append(Problem("release-owner", conflict.problem, path, conflict.remedy))
        return None, False
    if f"overlays/{pin.environment}/{pin.model}" != name:
        message = f"{path} belongs to {pin.environment}/{pin.model}: it was copied from another overlay"
        problems.append(Problem("release-owner", message, path, "restore the placeholder; deploy writes its own"))
        return None, False
    return pin, False


def _quarantine(folder: Path, shown: str, problems: list[Problem]) -> Quarantine:
    path, file = f"{shown}/quarantine.yaml", folder / "quarantine.yaml"
    try:
        return read_quarantine(file.read_text() if file.is_file() else None, name=path)
    except BadInput as error:
        problems.append(Problem("quarantine", error.problem, path, error.remedy))
        return Quarantine()


def _violations(objects: Sequence[Object], versions: Sequence[str], file: str, *, unreleased: bool) -> list[Problem]:
    """Departures from the schemas, each with the versions that have it, and from our rules."""
    by_violation: dict[Violation, list[str]] = {}
    for version in versions:
        for violation in schemas.check(objects, version):
            by_violation.setdefault(violation, []).append(version)
    found = [
        Problem(violation.rule, f"{_said(violation)} (Kubernetes {', '.join(having)})", file)
        for violation, having in by_violation.items()
    ]
    ours = [v for v in rules.check(objects) if not (unreleased and _waits_for_release(v))]
    return found + [Problem(violation.rule, _said(violation), file) for violation in ours]


def _said(violation: Violation) -> str:
    return f"{violation.object}: {violation.path}: {violation.message}"


def _waits_for_release(violation: Violation) -> bool:
    return violation.rule in _UNTIL_RELEASED or (
        violation.rule == "variables" and "RANKOPS_RELEASE" in violation.message
    )


def _diff(job: Job, after: str) -> str:
    """The change of the rendering against the base; everything is new where the overlay is."""
    assert job.before is not None  # noqa: S101 - the caller looked
    if not (job.before / job.name).is_dir():
        return unified("", after, job.name)
    try:
        before = kustomize.build(job.before / job.name, kustomize=job.kustomize).text
    except InvalidOverlay:
        return unified("# the overlay did not build before this change\n", after, job.name)
    return unified(before, after, job.name)
