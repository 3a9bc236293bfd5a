"""Verification: what is live against what the release says it must answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.deployment import DeployRecord
from rankops.errors import VerificationFailed
from rankops.specs import ModelSpec
from rankops.stages.live import LiveService
from rankops.state import LocalState
from rankops.store import fetch_folder

if TYPE_CHECKING:
    from rankops.serving.verification import VerificationReport

Progress = Callable[[str], None]


def release_folder(deployed: DeployRecord) -> Path:
    """A local copy of the release that was pinned."""
    return fetch_folder(deployed.release_uri, LocalState.current().root / "cache" / "release" / deployed.release)


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
        progress=progress,
    )
