"""Which releases once passed verification in an environment: written by the verification, read by every rollback.

The records lie in the artifact store (``verifications/<environment>/<model>/<release>.json``), so that Dagster,
sensors and the command line share one truth.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rankops.deployment import VerificationRecord
from rankops.overlays.component import ReleasePin
from rankops.store import ArtifactStore


def record_verification(
    store: ArtifactStore, record: VerificationRecord, *, when: datetime | None = None
) -> str | None:
    """Remember a verification that passed and return the record's URL; None where nothing was verified yet.

    The latest replaces an earlier one of the same release. Call it with every :class:`VerificationRecord`.
    """
    if record.state != "verified":
        return None
    at = (when or datetime.now(UTC)).isoformat(timespec="seconds")
    name = _name(record.environment, record.model, record.release)
    return store.write_json(name, {**record.model_dump(mode="json"), "at": at})


def was_verified(store: ArtifactStore, pin: ReleasePin) -> bool:
    """True where this release once passed verification in this environment."""
    found = verification_of(store, pin.environment, pin.model, pin.release)
    asked = {"environment": pin.environment, "model": pin.model, "release": pin.release, "state": "verified"}
    return {key: found.get(key) for key in asked} == asked


def verification_of(store: ArtifactStore, environment: str, model: str, release: str) -> dict[str, Any]:
    """The fields of the record of a verification that passed; empty where there is none."""
    value = store.read_json(_name(environment, model, release))
    return value if isinstance(value, dict) else {}


def _name(environment: str, model: str, release: str) -> str:
    return f"verifications/{environment}/{model}/{release}.json"
