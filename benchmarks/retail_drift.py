"""Real drift (``retail``): HR@20 of July to October 2011, fitted again when drift says so, against standing still.

``fitted when drift says so`` is the product's own loop day by day: each evening the drift tests compare the day (and
the days since the model learned) with the days that it learned from, and the decision is the product's with the policy
of a recommender. What is fitted that night is judged by its last four weeks, against the floors and the model that was
judged before it; where the gate lets it through, one that learned these days too answers from the next morning on. Not
replayed: compression and deployment. ``also`` has the months, and what fitting on the first of every month would have
given.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.harness import Comparison
from benchmarks.retail import (
    Run,
    Say,
    base_model,
    before,
    compared,
    fitted,
    floors_of,
    invoices,
    mean,
    paired,
    ranked,
)
from rankops.baskets import baskets_of, next_item_view
from rankops.dataset import Dataset
from rankops.drift.decision import RetrainAttempt, RetrainDecision, RetrainHistory, decide, policy_for
from rankops.drift.reference import Reference, widened
from rankops.drift.report import record
from rankops.drift.summaries import DaySummary
from rankops.drift.summarize import Traffic, summarize
from rankops.evaluation.evaluate import evaluate
from rankops.evaluation.gate import GateDecision
from rankops.evaluation.metrics import NEXT_ITEM_METRICS, per_query
from rankops.next_item import NextItemModel
from rankops.retrain_spec import WINDOW_DAYS
from rankops.specs import GateSpec, ModelSpec, RecommendationSpec
from rankops.stages.tasks import CHAMPION, CHECKPOINT

_YEAR, _MONTHS = 2011, (7, 8, 9, 10)
_NEVER, _MONTHLY, _DRIFT = "fitted once before July", "fitted every month", "fitted when drift says so"
_TEST_DAYS = 28  # 1,400 questions: a week of 250 cannot prove that the model betters item-item
_SPEC = ModelSpec(
    name="retail",
    task="recommendation",
    gates=GateSpec(metric="hr@20", floors=("random", "popularity", "item-item", "text")),
    recommendation=RecommendationSpec(test_days=_TEST_DAYS, dev_days=30),
)


def measure(progress: Say) -> Comparison:
    """HR@20 over that of standing still. Raises :class:`rankops.errors.BadInput` where the data is absent."""
    whole, base = invoices(), base_model(progress)
    months = {f"{_YEAR}-{month:02}": date(_YEAR, month, 1) for month in _MONTHS}
    first = min(months.values())
    frozen = fitted(before(whole, first), base, progress)
    replay = Replay(whole, base, progress, {first: frozen}, fitted(before(whole, first), base, progress, _TEST_DAYS))
    replay.run(first, date(_YEAR, _MONTHS[-1] + 1, 1))
    hits: dict[str, dict[str, np.ndarray]] = {_NEVER: {}, _MONTHLY: {}, _DRIFT: {}}
    groups: list[str] = []
    for name, start in months.items():
        monthly = frozen if start == first else fitted(before(whole, start), base, progress)
        asked, judgements = month_questions(whole, start)
        runs = (ranked(frozen, asked), ranked(monthly, asked), replay.answers(asked))
        for way, run in zip(hits, runs, strict=True):
            hits[way][name] = per_query(run, judgements)["hr@20"].to_numpy()
        groups += asked["group_id"].to_list()
        progress(f"{name}: " + ", ".join(f"{way} {found[name].mean():.4f}" for way, found in hits.items()))
    return _comparison(hits, groups, replay)


def _comparison(hits: dict[str, dict[str, np.ndarray]], groups: list[str], replay: Replay) -> Comparison:
    whole = {way: np.concatenate(list(found.values())) for way, found in hits.items()}
    return compared(
        "retail_drift",
        "HR@20 of July to October 2011, fitted again when drift says so, against once before July",
        whole[_DRIFT],
        whole[_NEVER],
        groups,
        peer_version="the same model, fitted once",
        also={
            "months": {
                way: {month: round(float(values.mean()), 4) for month, values in found.items()}
                for way, found in hits.items()
            },
            "all": {way: mean(values, groups) for way, values in whole.items()},
            "difference to every month": paired(whole[_DRIFT], whole[_MONTHLY], groups),
            "reasons": replay.reasons,
            "refused": replay.refused,
        },
    )


@dataclass
class Replay:
    """The product's loop over days that have passed.

    ``models``: what answers from a day on. ``judged``: the model that was judged for the last of them. ``reasons`` by
    the day of each retraining, ``refused`` by the day of each that the gate did not let through.
    """

    whole: Dataset
    base: Path
    progress: Say
    models: dict[date, NextItemModel]
    judged: NextItemModel
    reasons: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def run(self, first: date, after: date) -> None:
        """Every evening from ``first`` on, until the one before ``after``."""
        days = {day: self._summary(day) for day in sorted(self.whole.interactions["day"].unique().to_list())}
        learned = max(day for day in days if day < first)
        reference = Reference([summary for day, summary in days.items() if day <= learned])
        attempts: list[RetrainAttempt] = []
        for day in (day for day in days if first <= day < after):
            earlier = (days[one] for one in reversed(days) if learned < one < day and (day - one).days < WINDOW_DAYS)
            decision = self._decided(reference, days[day], widened(days[day], earlier), day, learned, attempts)
            if not decision.decision:
                continue
            since = decision.window_first_day
            passed = self._retrained(since, day)
            attempts.append(_attempt(decision, passed))
            if passed:
                self.reasons[day.isoformat()] = list(decision.reasons)
                self.progress(f"{day}: fitted again, for {'; '.join(decision.reasons)}")
                learned = day
                reference = Reference([summary for one, summary in days.items() if since <= one <= day])

    def answers(self, asked: pl.DataFrame) -> Run:
        """Each question by the model that answered on its day."""
        days = dict(baskets_of(self.whole.interactions).select("basket_id", "day").iter_rows())
        live = [max(start for start in self.models if start <= days[query]) for query in asked["query_id"].to_list()]
        parts = asked.with_columns(live=pl.Series(live, dtype=pl.Date)).partition_by("live", as_dict=True)
        answered = [ranked(self.models[start], part) for (start,), part in parts.items()]
        return {query: found for run in answered for query, found in run.items()}

    def _summary(self, day: date) -> DaySummary:
        known = before(self.whole, day + timedelta(days=1))
        return summarize(Traffic(known.interactions.filter(pl.col("day") == day), known.catalogue))

    def _decided(
        self,
        reference: Reference,
        now: DaySummary,
        window: DaySummary | None,
        day: date,
        learned: date,
        attempts: list[RetrainAttempt],
    ) -> RetrainDecision:
        found = reference.findings(now, window)
        report = record(reference.whole, now, window, found, model=_SPEC.name, day=day, release="replayed")
        history = RetrainHistory(attempts=tuple(attempts), live_trained_through=learned)
        return decide(report, history, policy_for(_SPEC), datetime.combine(day, time(23), UTC))

    def _retrained(self, first: date, last: date) -> bool:
        """Judge a model of these days; where the gate lets it through, one of all of them answers from tomorrow on."""
        known = before(self.whole, last + timedelta(days=1))
        known = replace(known, interactions=known.interactions.filter(pl.col("day") >= first))
        challenger = fitted(known, self.base, self.progress, _TEST_DAYS)
        decision = self._gate(known, challenger)
        if not decision.passed:
            self.refused[last.isoformat()] = [check.explanation for check in decision.checks if not check.passed]
            self.progress(f"{last}: refused, for {decision.reasons[0]}")
            return False
        self.judged = challenger
        self.models[last + timedelta(days=1)] = fitted(known, self.base, self.progress)
        return True

    def _gate(self, known: Dataset, challenger: NextItemModel) -> GateDecision:
        seen = next_item_view(known, _SPEC.recommendation)
        asked = seen.split("test")
        runs = floors_of(seen, self.base, self.progress)
        runs |= {CHECKPOINT: ranked(challenger, asked), CHAMPION: ranked(self.judged, asked)}
        evaluation = evaluate(
            seen, runs, challenger=CHECKPOINT, champion=CHAMPION, spec=_SPEC.gates, metrics=NEXT_ITEM_METRICS
        )
        return evaluation.decision


def month_questions(whole: Dataset, first: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The questions that the invoices of a month ask, and their judgements."""
    after = (first + timedelta(days=31)).replace(day=1)
    view = next_item_view(before(whole, after), RecommendationSpec(test_days=(after - first).days, dev_days=1))
    asked = view.split("test")
    return asked, view.judgements.join(asked, on="query_id", how="semi")


def _attempt(decision: RetrainDecision, passed: bool) -> RetrainAttempt:
    return RetrainAttempt(
        fingerprint=decision.fingerprint,
        attempt=decision.attempt,
        started_at=decision.decided_at,
        status="succeeded" if passed else "refused",
    )
