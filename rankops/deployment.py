"""What the deploy and verification assets hand on: small typed records, no behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from rankops.overlays.deploy import DeployOutcome
    from rankops.serving.verification import VerificationReport


class DeployRecord(BaseModel):
    """Where a release was pinned. ``commit`` is the standing commit when nothing had to change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["committed", "unchanged", "proposed"]
    environment: str
    model: str
    release: str
    release_uri: str
    commit: str
    branch: str
    overlay: str
    supersedes: str | None
    pull_request: str | None

    @classmethod
    def of(cls, outcome: DeployOutcome) -> DeployRecord:
        """The record of an outcome."""
        return cls(
            kind=outcome.kind,
            environment=outcome.pin.environment,
            model=outcome.pin.model,
            release=outcome.pin.release,
            release_uri=outcome.pin.uri,
            commit=outcome.commit,
            branch=outcome.branch,
            overlay=outcome.overlay_path,
            supersedes=outcome.supersedes,
            pull_request=outcome.pull_request.url if outcome.pull_request else None,
        )


class VerificationRecord(BaseModel):
    """Whether an environment was seen to serve a release. ``p99_ms`` is None where nothing was live to measure.

    ``commit`` is the one that was live: for a merged pull request that of the branch, not of the proposal.
    ``commit_to_live_seconds`` is None where the release ran already before that commit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    model: str
    release: str
    commit: str
    state: Literal["verified", "waiting for merge"]
    p99_ms: float | None = None
    commit_to_live_seconds: float | None = None

    @classmethod
    def of(
        cls,
        deployed: DeployRecord,
        report: VerificationReport,
        *,
        commit: str | None = None,
        commit_to_live_seconds: float | None = None,
    ) -> VerificationRecord:
        """The record of a report that passed; ``commit`` is what was live (default: the commit that deploy made)."""
        seen = {"p99_ms": report.latency.p99_ms if report.latency else None}
        seen["commit_to_live_seconds"] = commit_to_live_seconds
        identity = {**_identity(deployed), **({"commit": commit} if commit else {})}
        return cls.model_validate({**identity, "state": "verified", **seen})

    @classmethod
    def waiting(cls, deployed: DeployRecord) -> VerificationRecord:
        """The record of a proposal that nobody merged yet."""
        return cls.model_validate({**_identity(deployed), "state": "waiting for merge"})


def _identity(deployed: DeployRecord) -> dict[str, str]:
    return {
        "environment": deployed.environment,
        "model": deployed.model,
        "release": deployed.release,
        "commit": deployed.commit,
    }
