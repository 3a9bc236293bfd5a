"""Typed references that travel between assets: what a thing is, where it lies, and from what it was made.

A reference is small and JSON; the bytes are in the artifact store under the digest that the reference carries.
``require_match`` is the one assertion at each hand-over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rankops.errors import ProvenanceMismatch

Kind = Literal["dataset", "checkpoint", "evaluation", "artifact", "release", "traffic", "drift", "search"]


class StoredArtifact(BaseModel):
    """An immutable folder in the store.

    ``digest`` is the hex SHA-256 over its sorted file digests, ``uri`` an fsspec URL of the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    uri: str
    lineage: dict[str, str] = Field(
        default_factory=dict,
        description="digests and names of what it was made from, e.g. {'dataset': ..., 'model': ...}",
    )
    facts: dict[str, Any] = Field(default_factory=dict, description="small JSON facts that later stages need")

    @property
    def short(self) -> str:
        """The first twelve characters of the digest, for people."""
        return self.digest[:12]


def require_match(what: str, expected: Mapping[str, str], found: Mapping[str, str], remedy: str) -> None:
    """Raise :class:`ProvenanceMismatch` that lists *every* field of ``expected`` which ``found`` contradicts."""
    wrong = [
        f"{field}: expected {value[:16]}, found {found.get(field, 'nothing')[:16]}"
        for field, value in sorted(expected.items())
        if found.get(field) != value
    ]
    if wrong:
        raise ProvenanceMismatch(f"{what} does not belong to its inputs: " + "; ".join(wrong), remedy)
