"""What searchers and the server feel of a drift: fewer clicks, lower clicks, lower scores."""

from __future__ import annotations

import math

from rankops.drift import statistics as st
from rankops.drift.findings import MIN_SEARCHES, Finding, not_measured, percent
from rankops.drift.summaries import SCORE_BINS_PER_UNIT, DaySummary

WORSE_THRESHOLD = 0.03


def worse_results(reference: DaySummary, current: DaySummary) -> Finding:
    """The largest of: gain of the zero-click rate, loss of the clicks' MRR, gain of the zero-result rate.

    Threshold 0.03 (three searches in a hundred); significance: two-proportion test for the rates, z test for the
    difference of two means for MRR.
    """
    if min(reference.searches, current.searches) < MIN_SEARCHES:
        why = f"{current.searches} searches (reference {reference.searches}); {MIN_SEARCHES} are needed"
        return not_measured("worse_results", WORSE_THRESHOLD, why, symptom=True)
    rows = [
        _rate("searches without a click", reference.zero_click_searches, reference.searches,
              current.zero_click_searches, current.searches),
        _mrr(reference, current),
    ]  # fmt: skip
    if reference.requests and current.requests:
        rows.append(_rate("requests without a result", reference.zero_results, reference.requests,
                          current.zero_results, current.requests))  # fmt: skip
    rows.sort(key=lambda row: (-row[0], row[2]))
    loss, p, text = rows[0]
    return Finding(
        name="worse_results",
        score=max(0.0, loss),
        threshold=WORSE_THRESHOLD,
        significant=p < st.ALPHA,
        evidence=f"{text}.",
        examples=tuple(row[2] for row in rows),
        symptom=True,
    )


def _rate(what: str, a: int, n: int, b: int, m: int) -> tuple[float, float, str]:
    return b / m - a / n, st.rate_increase_p(a, n, b, m), f"{what}: {percent(a / n)} → {percent(b / m)}"


def _mrr(reference: DaySummary, current: DaySummary) -> tuple[float, float, str]:
    (before, error), (after, error_now) = _mrr_error(reference), _mrr_error(current)
    spread = math.hypot(error, error_now)
    p = st.normal_tail((before - after) / spread) if spread else 1.0
    return before - after, p, f"MRR of the first click: {before:.3f} → {after:.3f}"


def _mrr_error(summary: DaySummary) -> tuple[float, float]:
    values = {1 / position: count for position, count in summary.first_click_position.items()}
    return st.mean_and_error({**values, 0.0: summary.zero_click_searches})


SCORE_THRESHOLD = 0.1
MIN_REQUESTS = 50


def score_shift(reference: DaySummary, current: DaySummary) -> Finding:
    """Kolmogorov-Smirnov distance of the best results' scores, between requests that the same release answered.

    Scores of two encoders are not comparable: unless exactly one and the same release answered both sides, the test
    is not measured. Threshold 0.1; significance: Kolmogorov's series.
    """
    if set(reference.releases) != set(current.releases) or len(current.releases) != 1:
        why = "the two sides were not answered by one and the same release, so scores cannot be compared"
        return not_measured("score_shift", SCORE_THRESHOLD, why, symptom=True)
    n, m = sum(reference.top_score.values()), sum(current.top_score.values())
    if min(n, m) < MIN_REQUESTS:
        why = f"{m} scored requests (reference {n}); {MIN_REQUESTS} are needed"
        return not_measured("score_shift", SCORE_THRESHOLD, why, symptom=True)
    distance, p = st.kolmogorov_smirnov(reference.top_score, current.top_score)
    before, after = _mean_score(reference), _mean_score(current)
    return Finding(
        name="score_shift",
        score=distance,
        threshold=SCORE_THRESHOLD,
        significant=p < st.ALPHA,
        evidence=f"the mean score of the best result went from {before:.3f} to {after:.3f} (KS {distance:.3f}).",
        symptom=True,
    )


def _mean_score(summary: DaySummary) -> float:
    return st.mean_and_error({(b + 0.5) / SCORE_BINS_PER_UNIT: n for b, n in summary.top_score.items()})[0]
