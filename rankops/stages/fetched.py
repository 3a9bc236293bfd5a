"""Artifacts that a stage needs and another machine may have made: fetched once, kept under the state folder."""

from __future__ import annotations

from pathlib import Path

from rankops.artifacts import Kind
from rankops.state import LocalState
from rankops.store import fetch_folder


def fetched(uri: str, kind: Kind, digest: str) -> Path:
    """The local folder of an artifact. Raises :class:`IntegrityError` where it is absent or its bytes are others."""
    return fetch_folder(uri, LocalState.current().root / "cache" / kind / digest)
