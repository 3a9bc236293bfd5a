"""Recorded objects, and the commits that occur in them (see recorded/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rankops.overlays.sync.state import Relation

RECORDED = Path(__file__).parent / "recorded"
OLD = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
OURS = "7f3a9c15d2e84b60a1c7f59e3d8b246a0f91ce37"
LATER = "c4e8d7a6b5f4031211009f8e7d6c5b4a39281706"
OTHER = "e91f0b2c3d4a5968778695a4b3c2d1e0f9081726"
RELEASE, OLD_RELEASE = "9b1f" + "0" * 60, "5c2e" + "0" * 60

_RELATIONS: dict[str, Relation] = {OURS: "same", LATER: "contains", OTHER: "superseded", OLD: "older"}


def recorded(path: str) -> dict[str, Any]:
    """One recorded object, e.g. ``flux/healthy``."""
    found: dict[str, Any] = json.loads((RECORDED / f"{path}.json").read_text())
    return found


def relate(commit: str) -> Relation:
    """The relation of the recorded commits to ours."""
    return _RELATIONS.get(commit, "unknown")
