"""The record of one drift test, and how it is worded."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rankops.retrain_spec import CauseName

MIN_SEARCHES = 30


class Finding(BaseModel):
    """One test's outcome. ``evidence`` is one sentence with numbers; ``significant`` the significance test's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: CauseName
    score: float
    threshold: float
    significant: bool
    evidence: str
    examples: tuple[str, ...] = ()
    symptom: bool = False
    measured: bool = True
    days: int = Field(default=1, ge=1, description="days of traffic that the test read, the report's day included")

    @property
    def drifted(self) -> bool:
        """The effect is at least the threshold and is no accident."""
        return self.measured and self.significant and self.score >= self.threshold


def not_measured(name: CauseName, threshold: float, why: str, *, symptom: bool = False) -> Finding:
    """A test that had nothing to compare, with the reason."""
    return Finding(
        name=name, score=0.0, threshold=threshold, significant=False, evidence=why, symptom=symptom, measured=False
    )


def percent(share: float) -> str:
    """``0.0123`` as ``1.2 %``."""
    return f"{100 * share:.1f} %"
