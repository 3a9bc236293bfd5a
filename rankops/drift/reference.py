"""What the live release learned from, as the side that every test compares with.

A test is asked of the day first. What a day is too small to prove, it may prove of the days since the release learned
(:func:`widened`): a shop of fifty baskets a day sees a fiftieth of its sales change in a week, and never in a day.
Tests of the product feed are asked of the day only: what was broken is mended by then, and what is broken is so today.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rankops.drift import statistics as st
from rankops.drift.causes import ALL_TESTS, FEED_TESTS, Test
from rankops.drift.findings import Finding
from rankops.drift.sketches import Counts
from rankops.drift.summaries import QUERY_BOUND, CatalogueSummary, DaySummary, merge, merge_all

ENOUGH_SEARCHES = 2_000
"""A day with as many needs no others: it proves two points in a hundred beyond a usual four (two-proportion test at
0.001; nine times in ten with 2,400, normal approximation)."""
NOISE_DAYS = 56
"""The last eight weeks show how much normal days differ; to score every day of a year against the others is slow."""


def widened(day: DaySummary, earlier: Iterable[DaySummary]) -> DaySummary | None:
    """The day together with as many days before it (newest first) as hold :data:`ENOUGH_SEARCHES`; None: with none.

    ``earlier`` is read no further than that, so days that are not needed need not be summarized.
    """
    days = [day]
    before = iter(earlier)
    while sum(summary.searches for summary in days) < ENOUGH_SEARCHES and (one := next(before, None)) is not None:
        days.append(one)
    return merge_all(days) if len(days) > 1 else None


class Reference:
    """Days of traffic merged, and what a normal day (or several together) may score in each test."""

    def __init__(self, days: Sequence[DaySummary]) -> None:
        feed = _one_feed(days)
        self.whole = merge_all(days) if feed is None else merge_all(days).model_copy(update={"catalogue": feed})
        self._days = list(days)
        self._normal: dict[int, list[tuple[DaySummary, DaySummary]]] = {}
        self._bounds: dict[tuple[str, int], float | None] = {}

    def findings(self, day: DaySummary, window: DaySummary | None = None) -> list[Finding]:
        """Every test's outcome. Sorted: drifted first, causes before symptoms, largest first.

        ``window`` is asked where the day alone shows no drift; its outcome counts where it does, or where the day is
        too small to measure.
        """
        found = [self._asked(test, day, window) for test in ALL_TESTS]
        return sorted(found, key=lambda f: (not f.drifted, f.symptom, -f.score / f.threshold, f.name))

    def _asked(self, test: Test, day: DaySummary, window: DaySummary | None) -> Finding:
        found = self._judged(test, day)
        if window is None or found.drifted or test in FEED_TESTS:
            return found
        wide = self._judged(test, window)
        if not wide.drifted and found.measured:
            return found
        days = len(window.days)
        return wide.model_copy(update={"days": days, "evidence": f"in {days} days, {wide.evidence}"})

    def _judged(self, test: Test, current: DaySummary) -> Finding:
        """The outcome, with its threshold raised to normal noise.

        Several days together differ less than one does, but a reference holds few times several days: the bound of
        single days limits what these few may make of it.
        """
        found = test(self.whole, current)
        if not found.measured:
            return found
        widths = {1, max(1, len(current.days))}
        bounds = [bound for width in widths if (bound := self._bound(test, width)) is not None]
        bound = min(bounds, default=found.threshold)
        return found if bound <= found.threshold else found.model_copy(update={"threshold": bound})

    def _bound(self, test: Test, width: int) -> float | None:
        """The one-sided 99.9 % prediction bound of the test's scores for each ``width`` days against the others."""
        key = (test.__name__, width)
        if key not in self._bounds:
            if width not in self._normal:
                self._normal[width] = _leave_one_out(self._days, width)
            scores = (test(rest, block) for block, rest in self._normal[width])
            self._bounds[key] = st.prediction_bound([found.score for found in scores if found.measured])
        return self._bounds[key]


def _one_feed(days: Sequence[DaySummary]) -> CatalogueSummary | None:
    """The product feed that all days ran on; None where it changed."""
    return days[0].catalogue if days and all(day.catalogue == days[0].catalogue for day in days[1:]) else None


def _leave_one_out(days: Sequence[DaySummary], width: int) -> list[tuple[DaySummary, DaySummary]]:
    """Each block of ``width`` days of the last :data:`NOISE_DAYS`, merged, and all days but these: what tests read of a
    reference, not its samples and queries.

    Prefix and suffix merges: 3K merges and not K squared. Days that ran on one and the same feed keep it as it is.
    """
    count = min(len(days), NOISE_DAYS) // width
    first = len(days) - count * width
    blocks = [merge_all(days[start : start + width]) for start in range(first, len(days), width)]
    shared = _one_feed(days)
    dropped = {"sample": {}, "request_sample": {}, "queries": Counts(bound=QUERY_BOUND)}
    feed = {} if shared is None else {"catalogue": CatalogueSummary()}
    light = [block.model_copy(update={**dropped, **feed}) for block in blocks]
    older = (day.model_copy(update={**dropped, **feed}) for day in days[:first])
    prefixes, suffixes = [merge_all(older)], [DaySummary()]
    for block in light:
        prefixes.append(merge(prefixes[-1], block))
    for block in reversed(light):
        suffixes.append(merge(block, suffixes[-1]))
    rests = [merge(prefixes[i], suffixes[count - 1 - i]) for i in range(count)]
    if shared is not None:
        rests = [rest.model_copy(update={"catalogue": shared}) for rest in rests]
    return list(zip(blocks, rests, strict=True))
