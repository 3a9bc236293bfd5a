"""Verification: what is live against what the release says it must answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.deployment import DeployRecord
from rankops.errors import VerificationFailed
from rankops.overlays.history import current
from rankops.overlays.mirror import GitRemote
from rankops.overlays.transaction import Target
from rankops.specs import EnvironmentSpec, ModelSpec
from rankops.stages.fetched import fetched
from rankops.stages.live import LiveService

if TYPE_CHECKING:
    from rankops.serving.verification import VerificationReport

Progress = Callable[[str], None]


def release_folder(deployed: DeployRecord) -> Path:
    """A local copy of the release that was pinned."""
    return fetched(deployed.release_uri, "release", deployed.release)


def commit_to_verify(remote: GitRemote, environment: EnvironmentSpec, deployed: DeployRecord) -> str | None:
    """The commit that must be live: the one that deploy made, or None while its pull request waits.

    A merge gives a proposal another commit than the one that deploy made, so for a proposal the head of the
    environment's branch decides: it is verified there as soon as it pins the proposed release.
    """
    if deployed.kind != "proposed":
        return deployed.commit
    target = Target(environment.name, deployed.model, environment.branch)
    standing = current(remote, target)
    merged = standing.pin is not None and standing.pin.release == deployed.release
    return standing.head if merged else None


def verify_running(live: LiveService, folder: Path, spec: ModelSpec, progress: Progress) -> VerificationReport:
    """Golden answers, rank overlap, protocol and latency of a live service.

    Raises :class:`VerificationFailed` at once when the overlay pins another release than the one to verify.
    """
    from rankops.release.manifest import read_manifest
    from rankops.serving.verification import verify_live

    expected = read_manifest(folder).digest
    if live.pin.release != expected:
        raise VerificationFailed(
            f"the overlay at {live.commit[:12]} pins release {live.pin.release[:12]}, expected {expected[:12]}",
            "verify the commit that deployed this release, or deploy it again",
        )
    return verify_live(
        live.url,
        folder,
        expected_digest=expected,
        latency_objective_ms=spec.serving.latency_objective_ms,
        api_key=live.api_key,
        progress=progress,
    )
