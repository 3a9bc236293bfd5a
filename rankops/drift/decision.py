"""Whether a drift report leads to a retraining: a pure function, and the record it leaves also when it says no."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rankops.drift.findings import Finding
from rankops.drift.report import DriftReport
from rankops.retrain_spec import WINDOW_DAYS, CauseName
from rankops.specs import ModelSpec
from rankops.store import ArtifactStore

_DATA_FAULT: CauseName = "broken_feed"
_DOUBLINGS = 10
_LONGEST_WAIT = timedelta(days=WINDOW_DAYS)  # by then a report reads no day that a refused model learned from


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetrainPolicy(_Frozen):
    """:class:`~rankops.retrain_spec.RetrainSpec` with everything decided."""

    causes: frozenset[CauseName]
    window_days: int
    cooldown: timedelta
    max_attempts: int
    min_searches: int


_ENCODER_CAUSES: frozenset[CauseName] = frozenset(
    {"new_slang", "new_category", "seasonal_shift", "language_mix", "worse_results"}
)
_BASKET_CAUSES: frozenset[CauseName] = frozenset({"new_category", "new_products", "seasonal_shift"})
_ENCODER_DAYS, _BASKET_DAYS = 28, 365


def policy_for(spec: ModelSpec) -> RetrainPolicy:
    """What a model is trained again for, and on how many days: as its spec says, else by its task.

    ``price_inflation`` is no cause by default: prices are not part of the text that an encoder reads, so training
    cannot answer them. Nor is ``score_shift`` by itself: it says that something changed, not what. A recommender reads
    no query and answers no search: new words, other languages and worse results of searches are no reason to fit it
    again. Products that no basket held when it was fitted are: an encoder reads their texts as well as any other, so
    it is not trained again for them.

    A search says by itself what was meant, so four weeks teach an encoder. Baskets teach by being many, and an old one
    still says what goes with what: on ``retail`` HR@20 of September 2011 is .362 from 28 days before it, .398 from 90,
    .407 from 180 and .411 from all nine months (July and August alike).
    """
    asked, baskets = spec.retrain, spec.task == "recommendation"
    causes = (_BASKET_CAUSES if baskets else _ENCODER_CAUSES) if asked.causes is None else frozenset(asked.causes)
    return RetrainPolicy(
        causes=causes,
        window_days=asked.window_days or (_BASKET_DAYS if baskets else _ENCODER_DAYS),
        cooldown=timedelta(hours=asked.cooldown_hours),
        max_attempts=asked.max_attempts,
        min_searches=asked.min_searches,
    )


class RetrainAttempt(_Frozen):
    """One retraining that was started; ``started_at`` carries a time zone.

    ``refused``: it ran to a check of its own that said no (a gate, mostly). ``failed``: it broke, or was cancelled.
    """

    fingerprint: str
    attempt: int = Field(ge=1)
    started_at: datetime
    status: Literal["running", "succeeded", "refused", "failed"]
    run_id: str | None = None


class RetrainHistory(_Frozen):
    """What happened before: earlier attempts of this model, and the last day that the live release learned from."""

    attempts: tuple[RetrainAttempt, ...] = ()
    live_trained_through: date | None = None
    first_day: date | None = Field(default=None, description="earliest day with data; the window starts no earlier")


class RetrainDecision(_Frozen):
    """Why we did, or did not, retrain."""

    model: str
    day: date
    release: str
    decision: bool
    reasons: tuple[str, ...]
    causes: tuple[CauseName, ...]
    fingerprint: str
    attempt: int
    run_key: str
    cooldown_until: datetime | None = None
    window_first_day: date
    window_last_day: date
    decided_at: datetime

    @property
    def record_name(self) -> str:
        """Where :func:`save_decision` puts it below the store's root."""
        return f"decisions/{self.model}/{self.day}-{self.fingerprint[:12]}-{self.attempt}.json"


def decide(report: DriftReport, history: RetrainHistory, policy: RetrainPolicy, now: datetime) -> RetrainDecision:
    """Yes when a cause that the policy retrains for has drifted and nothing speaks against it.

    Every objection is listed, not only the first. ``now`` must carry a time zone.
    """
    same = [attempt for attempt in history.attempts if attempt.fingerprint == report.fingerprint]
    attempt = 1 + max((item.attempt for item in same), default=0)
    until, waiting = _cooldown(history, policy, now)
    worthy = _worthy(report, policy)
    objections = [
        *_about_the_drift(report, policy, bool(worthy)),
        *_about_the_past(report, history, policy, same),
        *waiting,
    ]
    first = report.day - timedelta(days=policy.window_days - 1)
    return RetrainDecision(
        model=report.model,
        day=report.day,
        release=report.release,
        decision=not objections,
        reasons=tuple(objections) or tuple(f"{finding.name}: {finding.evidence}" for finding in worthy),
        causes=tuple(finding.name for finding in report.drifted_causes),
        fingerprint=report.fingerprint,
        attempt=attempt,
        run_key=f"{report.model}-{report.fingerprint[:16]}-{attempt}",
        cooldown_until=until if waiting else None,
        window_first_day=max(first, history.first_day) if history.first_day else first,
        window_last_day=report.day,
        decided_at=now,
    )


def _worthy(report: DriftReport, policy: RetrainPolicy) -> list[Finding]:
    """Drifted causes that the policy names; symptoms only where no other cause explains them.

    Fewer clicks after a price rise are no reason to train: the prices explain them.
    """
    worthy = [finding for finding in report.drifted_causes if finding.name in policy.causes]
    if any(not finding.symptom for finding in worthy):
        return worthy
    return [] if any(not finding.symptom for finding in report.drifted_causes) else worthy


def _about_the_drift(report: DriftReport, policy: RetrainPolicy, worthy: bool) -> list[str]:
    names = report.names
    objections = []
    if not names:
        objections.append("nothing drifted")
    elif not worthy:
        objections.append(f"{', '.join(names)} drifted, and the policy does not retrain for that")
    if _DATA_FAULT in names:
        fault = next(finding for finding in report.drifted_causes if finding.name == _DATA_FAULT)
        objections.append(
            f"the product feed is broken ({fault.evidence.rstrip('.')}): fix the feed, do not train on it"
        )
    searches = report.widest.searches
    if searches < policy.min_searches:
        objections.append(f"{searches} searches are too few; the policy asks for {policy.min_searches}")
    return objections


def _cooldown(history: RetrainHistory, policy: RetrainPolicy, now: datetime) -> tuple[datetime | None, list[str]]:
    """When the next retraining may start, and the objection that it is not yet.

    A run that broke is no reason to wait. Each refusal in a row doubles the wait, up to a week: the same days and one
    more rarely change a gate's mind, and every try is a night of training. Refusals that began on
    days which the live release has learned from (a person made it since) count no more.
    """
    tried = sorted((item for item in history.attempts if item.status != "failed"), key=lambda item: item.started_at)
    if not tried:
        return None, []
    learned = history.live_trained_through or date.min
    row = takewhile(lambda item: item.status == "refused" and item.started_at.date() > learned, reversed(tried))
    refusals = len(list(row))
    wait = policy.cooldown * 2 ** min(refusals, _DOUBLINGS)
    last = tried[-1].started_at
    until = last + max(policy.cooldown, min(wait, _LONGEST_WAIT))
    refused = f" and was refused ({refusals} in a row)" if refusals else ""
    said = f"the last retraining started {last:%Y-%m-%d %H:%M}{refused}; the next may from {until:%Y-%m-%d %H:%M}"
    return until, [said] if now < until else []


def _about_the_past(
    report: DriftReport, history: RetrainHistory, policy: RetrainPolicy, same: list[RetrainAttempt]
) -> list[str]:
    objections = []
    trained = history.live_trained_through
    if trained is not None and trained >= report.day:
        objections.append(f"the live release already learned from days up to {trained}, this one included")
    running = [item for item in history.attempts if item.status == "running"]
    if running:
        objections.append(f"a retraining that started {running[-1].started_at:%Y-%m-%d %H:%M} is still running")
    if any(item.status == "succeeded" for item in same):
        objections.append("a retraining for this very report has succeeded")
    elif len(same) >= policy.max_attempts:
        objections.append(
            f"{len(same)} retrainings for this report failed, the limit: look at their runs, then raise max_attempts"
        )
    return objections


def save_decision(store: ArtifactStore, decision: RetrainDecision) -> str:
    """Write the record below ``decisions/`` and return its URL; saying the same again changes nothing.

    When the answer for the same report and attempt changes (a cooldown ended), the record is replaced and what it
    said before is kept in its list ``earlier``.
    """
    value: dict[str, Any] = decision.model_dump(mode="json")
    standing = store.read_json(decision.record_name)
    earlier: list[dict[str, Any]] = []
    if standing is not None:
        if _verdict(standing) == _verdict(value):
            return f"{store.root}/{decision.record_name}"
        earlier = [*standing.pop("earlier", []), standing]
    return store.write_json(decision.record_name, {**value, "earlier": earlier})


def load_decision(store: ArtifactStore, name: str) -> RetrainDecision | None:
    """The record at ``name`` (see ``RetrainDecision.record_name``), or None."""
    value = store.read_json(name)
    if value is None:
        return None
    value.pop("earlier", None)
    return RetrainDecision.model_validate(value)


def _verdict(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in ("decided_at", "earlier")}
