"""What advice is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankops.release.capacity import ReleaseCapacity


@dataclass(frozen=True)
class Replay:
    """Recorded searches put through a result cache of ``entries`` answers (least recently used leaves first)."""

    entries: int
    hit_rate: float
    searches: int


@dataclass(frozen=True)
class Variant:
    """One changed setting and what it did: throughput with the setting / with the default, and p99 of both in ms."""

    setting: str
    value: Any
    default: Any
    gain: float
    interval: tuple[float, float]
    p99_ms: float
    default_p99_ms: float
    rounds: int
    meets_objective: bool = True


@dataclass(frozen=True)
class Facts:
    """Everything that rules may read; what is not known is None or empty, and its rules are silent.

    ``rungs`` are rows of the compression report, ``quality_budget`` the share that compression may lose, ``memory_mib``
    what a pod requests, ``index`` rows of choices of an index (name, search_ms, recall), the one in use first.
    """

    capacity: ReleaseCapacity | None = None
    rungs: tuple[Mapping[str, Any], ...] = ()
    quality_budget: float | None = None
    memory_mib: float | None = None
    replays: tuple[Replay, ...] = ()
    cache_entries: int | None = None
    variants: tuple[Variant, ...] = ()
    index: tuple[Mapping[str, Any], ...] = ()

    def stage_ms(self, stage: str) -> float | None:
        """Mean milliseconds of one stage of a request under load."""
        return self.observed.get(f"stage_ms.{stage}")

    @property
    def observed(self) -> Mapping[str, float]:
        """What the server's own metrics said during the measurement."""
        return self.capacity.observed if self.capacity is not None else {}


@dataclass(frozen=True)
class Advice:
    """One thing to do. ``gain`` is a share of what ``of`` names (0.18: 18 % more queries/s per core); ``how`` says how
    it was computed, ``basis`` whether by a measurement or a model."""

    what: str
    gain: float | None
    of: str
    basis: str  # measured | model
    how: str
    interval: tuple[float, float] | None = None
    setting: str | None = None
