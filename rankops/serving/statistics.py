"""Statistics extension of the protocol v2: counts and times of inferences since the release was loaded."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from rankops.release.manifest import ReleaseManifest

STEPS = ("queue", "compute_input", "compute_infer", "compute_output")
OUTCOMES = ("success", "fail", "cache_hit", "cache_miss")


@dataclass
class Total:
    """How often, and for how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.ns += int(seconds * 1e9)

    def as_json(self) -> dict[str, int]:
        """``$duration_stat`` of the extension."""
        return {"count": self.count, "ns": self.ns}


def _totals() -> dict[str, Total]:
    return defaultdict(Total)


@dataclass
class Statistics:
    """Of one release. Written and read by the event loop only, so there is no lock."""

    last_ms: int = 0
    rows: int = 0
    totals: dict[str, Total] = field(default_factory=_totals)
    by_rows: dict[int, dict[str, Total]] = field(default_factory=lambda: defaultdict(_totals))

    def succeeded(self, rows: int, seconds: dict[str, float]) -> None:
        """One inference of ``rows`` texts was answered; ``seconds`` of each of :data:`STEPS`."""
        self.last_ms, self.rows = int(time.time() * 1e3), self.rows + rows
        self.totals["success"].add(sum(seconds.values()))
        for step, taken in seconds.items():
            self.totals[step].add(taken)
            if step != "queue":
                self.by_rows[rows][step].add(taken)

    def failed(self, seconds: float) -> None:
        """One inference was refused, or went wrong."""
        self.last_ms = int(time.time() * 1e3)
        self.totals["fail"].add(seconds)

    def as_json(self, manifest: ReleaseManifest) -> dict[str, Any]:
        """``$model_stat`` of the extension."""
        batches = [
            {"batch_size": rows, **{step: totals[step].as_json() for step in STEPS[1:]}}
            for rows, totals in sorted(self.by_rows.items())
        ]
        return {
            "name": manifest.model,
            "version": manifest.digest,
            "last_inference": self.last_ms,
            "inference_count": self.rows,
            "execution_count": self.totals["success"].count,
            "inference_stats": {name: self.totals[name].as_json() for name in (*OUTCOMES, *STEPS)},
            "batch_stats": batches,
        }


class Book:
    """The statistics of the release that is served; they begin anew with another release."""

    def __init__(self) -> None:
        self._digest = ""
        self._page = Statistics()

    def of(self, manifest: ReleaseManifest) -> Statistics:
        """The page of this release."""
        if self._digest != manifest.digest:
            self._digest, self._page = manifest.digest, Statistics()
        return self._page
