"""The commits of a branch that touch release components: only ``deploy`` may have made them, and they tell the truth.

Trailers are what people and machines read the lineage from, so each is compared with the component that the commit
pins, with the signed manifest of that release, and with what stood there before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.errors import BadInput, OverlayConflict
from rankops.overlays.checkout import Checkout
from rankops.overlays.commits import CommitInfo
from rankops.overlays.component import ReleasePin, is_intact, is_seed, read_component
from rankops.overlays.deploy import settle
from rankops.overlays.history import contradictions, target_of
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.trailers import DeployTrailers, read_trailers
from rankops.overlays.transaction import Target
from rankops.stages.check_releases import ReleaseChecker
from rankops.stages.check_results import Problem

if TYPE_CHECKING:
    from rankops.release.manifest import ReleaseManifest

_OURS = "revert it; only `rankops deploy` and `rankops rollback` write release/"
_AGAIN = "let rankops deploy again on the present base"


@dataclass(frozen=True)
class Branch:
    """What is checked: the commits of ``base..head``. ``key`` is the public key in the tree after merging."""

    clone: Checkout
    layout: OverlayLayout
    base: str
    head: str
    key: Path


@dataclass(frozen=True)
class _Step:
    """One commit's change of one component: the texts before and after it."""

    info: CommitInfo
    target: Target
    before: str | None
    after: str | None

    def problem(self, rule: str, message: str, remedy: str) -> Problem:
        return Problem(rule, f"commit {self.info}: {message}", self.target.component, remedy)


def check_commits(branch: Branch, releases: ReleaseChecker) -> list[Problem]:
    """Everything that is wrong with the commits of a branch, oldest first."""
    return [problem for step in _steps(branch) for problem in _check(step, branch, releases)]


def _steps(branch: Branch) -> Iterator[_Step]:
    clone, layout = branch.clone, branch.layout
    fork = clone.merge_base(branch.base, branch.head)
    for sha, paths in clone.between(branch.base, branch.head, f":(glob){layout.component('*', '*')}"):
        info = clone.info(sha)
        for path in paths:
            target = target_of(path, layout)
            (after,) = clone.read(sha, path)
            before = clone.read(info.parents[0], path)[0] if info.parents else None
            # What the branch was made from does not count, but what it will be merged into.
            if before == clone.read(fork, path)[0]:
                (before,) = clone.read(branch.base, path)
            yield _Step(info, target, before, after)


def _check(step: _Step, branch: Branch, releases: ReleaseChecker) -> Iterator[Problem]:
    target, path = step.target, step.target.component
    if is_seed(step.after):
        gone = step.after is None and not branch.clone.entries(step.info.sha, [f"{target.overlay}/kustomization.yaml"])
        if not is_seed(step.before) and not gone:
            yield step.problem("release-owner", f"{path} lost its release: nobody but rankops takes one out", _OURS)
        return
    try:
        pin = read_component(step.after or "", name=path)
    except OverlayConflict as conflict:
        yield step.problem("release-owner", conflict.problem, _OURS)
        return
    if (pin.environment, pin.model) != (target.environment, target.model):
        yield step.problem("release-owner", f"{path} belongs to {pin.environment}/{pin.model}", _OURS)
        return
    try:
        said = read_trailers(step.info.message, target.environment, target.model)
    except BadInput as error:
        yield step.problem("trailers", error.problem, error.remedy or _OURS)
        return
    if said is None:
        yield step.problem("release-owner", f"{path} was changed without a deploy's trailers", _OURS)
        return
    yield from _compare(step, pin, said, branch, releases)


def _compare(
    step: _Step, pin: ReleasePin, said: DeployTrailers, branch: Branch, releases: ReleaseChecker
) -> Iterator[Problem]:
    for wrong in contradictions(said, pin):
        yield step.problem("trailers", wrong, _AGAIN)
    bundle = releases.bundle(pin, branch.key)
    if bundle is not None and bundle.manifest is not None:
        for wrong in _against(said, bundle.manifest):
            yield step.problem("trailers", wrong, _AGAIN)
    stood = _pinned(step.before)
    expected = settle(pin, stood).supersedes
    if pin.supersedes != expected:
        have, want = (value[:12] if value else "nothing" for value in (pin.supersedes, expected))
        yield step.problem("supersedes", f"Rankops-Supersedes says {have}, but {want} stood there", _AGAIN)


def _against(said: DeployTrailers, manifest: ReleaseManifest) -> list[str]:
    """Each trailer that the signed manifest of the release contradicts."""
    pairs = {
        "Rankops-Release": (said.release, manifest.digest),
        "Rankops-Model": (said.model, manifest.model),
        "Dataset-Hash": (said.dataset, manifest.dataset.digest),
        "MLflow-Run-Id": (said.mlflow_run, manifest.mlflow_run),
    }
    return [
        f"{key} says {(have or 'nothing')[:16]}, the release says {(want or 'nothing')[:16]}"
        for key, (have, want) in pairs.items()
        if have != want
    ]


def _pinned(text: str | None) -> ReleasePin | None:
    return None if text is None or is_seed(text) or not is_intact(text) else read_component(text)
