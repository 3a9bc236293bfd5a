"""An evaluation as pictures: PNG bytes, drawn with matplotlib's object API (no global state, safe in threads)."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rankops.evaluation.metrics import LABELS
from rankops.evaluation.results import Evaluation, Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by people with any colour vision.
_OURS, _OTHER, _GAIN, _LOSS, _GREY = "#0072B2", "#555555", "#009E73", "#D55E00", "#999999"
_MOST_SLICES = 24
_LONGEST = 34
_TITLE_WIDTH = 78


def systems_png(evaluation: Evaluation) -> bytes:
    """The mean of the gate's metric for each system as a dot, its confidence interval as a whisker."""
    ranked = sorted(evaluation.systems, key=lambda score: score.metrics[evaluation.metric].mean)
    intervals = [score.metrics[evaluation.metric] for score in ranked]
    figure, axes = _figure(rows=len(ranked))
    for place, (score, interval) in enumerate(zip(ranked, intervals, strict=True)):
        colour = _OURS if score.system == evaluation.challenger else _OTHER
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
    _name_rows(axes, [score.system for score in ranked])
    axes.set_xlim(left=min(0.0, *(interval.low for interval in intervals)))
    confidence = f"{intervals[0].confidence:.0%} interval, {evaluation.n_queries} queries"
    axes.set_xlabel(f"mean {LABELS[evaluation.metric]} ({confidence})")
    best = ranked[-1].system
    finding = "has the highest" if best == evaluation.challenger else f"is behind {best} in"
    _title(figure, f"{evaluation.challenger} {finding} {LABELS[evaluation.metric]}")
    return _png(figure)


def slices_png(evaluation: Evaluation) -> bytes:
    """The paired difference in each slice as a dot with its interval; slices that lose most are kept if many."""
    compared = [(part, part.difference) for part in evaluation.slices if part.difference is not None]
    if not compared:
        return _notice(f"No slice has enough queries to compare {_short(evaluation.challenger)}")
    shown = sorted(compared, key=lambda pair: pair[1].mean)[:_MOST_SLICES][::-1]
    figure, axes = _figure(rows=len(shown))
    axes.axvline(0, color=_GREY, linewidth=1)
    for place, (_, difference) in enumerate(shown):
        colour = _GAIN if difference.low > 0 else _LOSS if difference.high < 0 else _OTHER
        axes.plot([difference.low, difference.high], [place, place], color=colour, linewidth=2)
        axes.plot(difference.mean, place, "o", color=colour, markersize=7)
    _name_rows(axes, [_slice_label(part) for part, _ in shown])
    confidence = f"{shown[0][1].confidence:.0%} interval of each slice"
    axes.set_xlabel(f"difference of {LABELS[evaluation.metric]} ({confidence})")
    _title(figure, _slice_finding(evaluation, len(compared), len(shown)))
    return _png(figure)


def deltas_png(evaluation: Evaluation) -> bytes:
    """The difference of each query against the reference, sorted: how many gain, how many lose, and how much."""
    if evaluation.reference is None:
        return _notice("There is no other system to compare with")
    deltas = np.sort(_deltas(evaluation))
    gained, lost = int((deltas > 0).sum()), int((deltas < 0).sum())
    figure, axes = _figure(rows=6)
    places = np.arange(1, len(deltas) + 1)
    axes.bar(places, deltas, width=1.0, color=np.where(deltas < 0, _LOSS, _GAIN), linewidth=0)
    axes.axhline(0, color=_GREY, linewidth=1)
    axes.set_xlim(0.5, len(deltas) + 0.5)
    axes.set_xlabel("query, sorted by difference")
    axes.set_ylabel(f"difference of {LABELS[evaluation.metric]}")
    equal = len(deltas) - gained - lost
    pair = f"{evaluation.challenger} against {evaluation.reference}"
    _title(figure, f"{gained} queries gain, {lost} lose, {equal} stay equal: {pair}")
    return _png(figure)


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
    return f"{_short(part.name.replace('=', ': '))}  (n={part.n})"


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name, _LONGEST + 10) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _figure(rows: int) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 1.4 + 0.45 * rows), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _notice(text: str) -> bytes:
    figure, axes = _figure(rows=1)
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No software tag: equal evaluations give equal bytes, and so equal digests.
    figure.savefig(buffer, format="png", dpi=120, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _title(figure: Figure, text: str) -> None:
    """A bold title at the figure's left edge, wrapped, so that long names stay inside the picture."""
    lines = textwrap.fill(text, _TITLE_WIDTH, break_on_hyphens=False).replace("$", r"\$")
    figure.suptitle(lines, x=0.01, ha="left", weight="bold", fontsize=12)


def _short(name: str, longest: int = _LONGEST) -> str:
    """The name without its middle where it is too long: category paths and digests differ at their ends."""
    if len(name) > longest:
        tail = longest // 2
        name = f"{name[: longest - tail - 1]}…{name[-tail:]}"
    # A dollar sign would start matplotlib's math mode.
    return name.replace("$", r"\$")
