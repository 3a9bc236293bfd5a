"""When a model is trained again, and on what: the part of a model spec that the drift room reads."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CauseName = Literal[
    "new_slang", "new_category", "new_products", "seasonal_shift", "price_inflation", "language_mix", "broken_feed",
    "worse_results", "score_shift", "unexplained_shift",
]  # fmt: skip
"""What a drift report can name."""
WINDOW_DAYS = 7
"""Days that a drift report reads at most. A week holds each weekday once; what is older than that is not what searchers
do now."""


class RetrainSpec(BaseModel):
    """When a model is trained again. What is None goes by the task (:func:`rankops.drift.decision.policy_for`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    causes: tuple[CauseName, ...] | None = Field(default=None, min_length=1, description="reasons to train again")
    window_days: int | None = Field(default=None, ge=1, description="days to train on, the report's day included")
    learn_held_out: bool | None = Field(
        default=None,
        description="once the gates have passed, ship a model that learned from the held-out days too (None: a "
        "recommender does; held-out queries of other tasks are asked again, so their models cannot)",
    )
    cooldown_hours: float = Field(
        default=20.0,
        ge=0,
        description="from one start to the next; each refusal in a row doubles it, up to a week",
    )
    max_attempts: int = Field(default=2, ge=1, description="runs for the same report, failed ones included")
    min_searches: int = Field(default=200, ge=1, description="of the days that a report read; fewer prove nothing")
