"""An evaluation as pictures: PNG bytes, drawn with matplotlib's object API (no global state, safe in threads)."""

from __future__ import annotations

import numpy as np
import polars as pl

from rankops.evaluation.figures import (
    GAIN,
    GREY,
    LOSS,
    OTHER,
    OURS,
    as_png,
    name_rows,
    new_figure,
    notice,
    set_title,
    shortened,
)
from rankops.evaluation.results import Evaluation, Slice
from rankops.specs import LABELS

_MOST_SLICES = 16


def systems_png(evaluation: Evaluation) -> bytes:
    """The mean of the gate's metric for each system as a dot, its confidence interval as a whisker."""
    ranked = sorted(evaluation.systems, key=lambda score: score.metrics[evaluation.metric].mean)
    intervals = [score.metrics[evaluation.metric] for score in ranked]
    figure, axes = new_figure(rows=len(ranked))
    for place, (score, interval) in enumerate(zip(ranked, intervals, strict=True)):
        colour = OURS if score.system == evaluation.challenger else OTHER
        axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(interval.mean, place, "o", color=colour, markersize=8)
        axes.annotate(
            f"{interval.mean:.3f}",
            (interval.mean, place),
            (0, 8),
            textcoords="offset points",
            ha="center",
            color=colour,
        )
    name_rows(axes, [score.system for score in ranked])
    axes.set_xlim(left=min(0.0, *(interval.low for interval in intervals)))
    confidence = f"{intervals[0].confidence:.0%} interval, {evaluation.n_queries} queries"
    axes.set_xlabel(f"mean {LABELS[evaluation.metric]} ({confidence})")
    best = ranked[-1].system
    finding = "has the highest" if best == evaluation.challenger else f"is behind {best} in"
    set_title(figure, f"{evaluation.challenger} {finding} {LABELS[evaluation.metric]}")
    return as_png(figure)


def slices_png(evaluation: Evaluation) -> bytes:
    """The paired difference in each slice as a dot with its interval; slices that lose most are kept if many."""
    compared = [(part, part.difference) for part in evaluation.slices if part.difference is not None]
    if not compared:
        return notice(f"No slice has enough queries to compare {shortened(evaluation.challenger)}")
    shown = sorted(compared, key=lambda pair: pair[1].mean)[:_MOST_SLICES][::-1]
    figure, axes = new_figure(rows=len(shown))
    axes.axvline(0, color=GREY, linewidth=1)
    for place, (_, difference) in enumerate(shown):
        colour = GAIN if difference.low > 0 else LOSS if difference.high < 0 else OTHER
        axes.plot([difference.low, difference.high], [place, place], color=colour, linewidth=2)
        axes.plot(difference.mean, place, "o", color=colour, markersize=7)
    name_rows(axes, [_slice_label(part) for part, _ in shown])
    confidence = f"{shown[0][1].confidence:.0%} interval of each slice"
    axes.set_xlabel(f"difference of {LABELS[evaluation.metric]} ({confidence})")
    set_title(figure, _slice_finding(evaluation, len(compared), len(shown)))
    return as_png(figure)


def deltas_png(evaluation: Evaluation) -> bytes:
    """The difference of each query against the reference, sorted: how many gain, how many lose, and how much."""
    if evaluation.reference is None:
        return notice("There is no other system to compare with")
    deltas = np.sort(_deltas(evaluation))
    gained, lost = int((deltas > 0).sum()), int((deltas < 0).sum())
    figure, axes = new_figure(rows=6)
    places = np.arange(1, len(deltas) + 1)
    axes.bar(places, deltas, width=1.0, color=np.where(deltas < 0, LOSS, GAIN), linewidth=0)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xlim(0.5, len(deltas) + 0.5)
    axes.set_xlabel("query, sorted by difference")
    axes.set_ylabel(f"difference of {LABELS[evaluation.metric]}")
    equal = len(deltas) - gained - lost
    pair = f"{evaluation.challenger} against {evaluation.reference}"
    set_title(figure, f"{gained} queries gain, {lost} lose, {equal} stay equal: {pair}")
    return as_png(figure)


def _deltas(evaluation: Evaluation) -> np.ndarray:
    def of(system: str | None) -> pl.DataFrame:
        rows = evaluation.per_query.filter(pl.col("system") == system)
        return rows.select("query_id", value=evaluation.metric)

    paired = of(evaluation.challenger).join(of(evaluation.reference), on="query_id", suffix="_reference")
    return (paired["value"] - paired["value_reference"]).to_numpy()


def _slice_finding(evaluation: Evaluation, compared: int, shown: int) -> str:
    differences = [part.difference for part in evaluation.slices if part.difference is not None]
    gains = sum(difference.low > 0 for difference in differences)
    losses = sum(difference.high < 0 for difference in differences)
    part = f" (the lowest {shown} are shown)" if shown < compared else ""
    return (
        f"{evaluation.challenger} is better than {evaluation.reference} in {gains} of {compared} slices, "
        f"worse in {losses}{part}"
    )


def _slice_label(part: Slice) -> str:
    return f"{shortened(part.name.replace('=', ': '))}  (n={part.n})"
