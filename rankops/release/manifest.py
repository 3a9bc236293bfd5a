"""``release.json``: what a release is, from which inputs it came, and the evidence for it.

The manifest is signed with the files but is no part of the release digest: two bundles with the same payload are
the same release, whichever run built them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rankops.errors import BadInput, IntegrityError
from rankops.files import combine_digests, file_digests, write_json
from rankops.release.capacity import ReleaseCapacity
from rankops.specs import DnsLabel, Target, Task

MANIFEST = "release.json"
SIGNATURE = "release.sig"
STORE_MARKER = ".complete"
MODEL_CARD = "model_card.md"
SCHEMA_VERSION: Literal[1] = 1

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Hex SHA-256."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseModelRef(_Strict):
    """The pre-trained weights that the fine-tuning started from."""

    name: str
    revision: str
    digest: Digest | None = Field(default=None, description="hash of the weights, where they were hashed")


class DatasetRef(_Strict):
    """The data that the checkpoint learned from. Days are ISO dates, both included."""

    name: str
    digest: Digest
    first_day: str | None = None
    last_day: str | None = None


class JudgedRef(_Strict):
    """The model that the evidence is about, where the release then learned from what that one was judged by."""

    checkpoint: Digest
    artifact: Digest


class GateResult(_Strict):
    """One gate's verdict, with the sentence that a reviewer reads."""

    name: str
    passed: bool
    explanation: str


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class ReleaseFacts(_Strict):
    """What the pipeline knows about a release before its files exist: lineage and evidence."""

    model: DnsLabel
    task: Task
    target: Target
    base_model: BaseModelRef
    checkpoint: Digest
    dataset: DatasetRef
    judged: JudgedRef | None = Field(default=None, description="absent where the release itself was judged")
    code_commit: str = Field(description="commit of the repository that built it; 'unknown' outside a clone")
    dagster_run: str | None = None
    mlflow_run: str | None = None
    metrics: list[dict[str, Any]] = Field(
        default_factory=list, description="rows of the evaluation: system, metric, value, lower, upper, n, ..."
    )
    gates: list[GateResult] = Field(default_factory=list)
    compression: list[dict[str, Any]] = Field(
        default_factory=list, description="the rungs that were tried: size, latency, relevance, kept or why not"
    )
    capacity: ReleaseCapacity | None = Field(
        default=None, description="measured queries/s per core at the latency objective, or why not"
    )
    index: dict[str, Any] | None = Field(
        default=None,
        description="the product index: its format, the formats that were measured and why they lost, products "
        "embedded and reused",
    )
    model_card: str | None = Field(
        default=None, exclude=True, description="Markdown; a file of the bundle, and no part of release.json"
    )
    created_at: str = Field(default_factory=_utc_now, description="ISO 8601, UTC")


class ReleaseManifest(ReleaseFacts):
    """``release.json``. ``files`` maps every payload file to its SHA-256; ``digest`` hashes that table."""

    schema_version: Literal[1] = SCHEMA_VERSION
    files: dict[str, Digest]
    encoder_digest: Digest = Field(description="of the model that the index and the golden answers were made with")
    digest: Digest

    @property
    def short(self) -> str:
        """The first twelve characters of the digest, for people."""
        return self.digest[:12]

    @property
    def gates_passed(self) -> bool:
        """True when there is at least one gate and none failed: no evidence is not good evidence."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)

    def write(self, folder: Path) -> None:
        """Write ``release.json`` into a bundle."""
        absent = {"judged"} if self.judged is None else None  # servers that are older than the field read it too
        write_json(folder / MANIFEST, self.model_dump(mode="json", exclude=absent))


def read_manifest(folder: Path) -> ReleaseManifest:
    """Read ``release.json`` without checking anything but its form (see ``signing.verify`` for the rest).

    Raises :class:`BadInput` when it is missing, :class:`IntegrityError` naming each field that breaks the schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInput(f"{path} is missing: {folder} is no release", "rematerialize the release asset")
    try:
        return ReleaseManifest.model_validate(json.loads(path.read_text()))
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'release.json'}: {e['msg']}" for e in error.errors())
        raise IntegrityError(f"{path} breaks the schema (version {SCHEMA_VERSION}): {fields}", _REBUILD) from error
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}", _REBUILD) from error


def payload_digests(folder: Path) -> dict[str, str]:
    """``{relative path: SHA-256}`` of the files that make up the release: all but manifest, signature, store marker."""
    return file_digests(folder, exclude=frozenset({MANIFEST, SIGNATURE, STORE_MARKER}))


def release_digest(folder: Path) -> str:
    """The release digest of the bundle in ``folder``, computed from its bytes (the manifest is not believed)."""
    return combine_digests(payload_digests(folder))


_REBUILD = "roll back to the last release that verified, then rematerialize this one"
