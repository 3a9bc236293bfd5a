"""Pictures of a hyper-parameter search."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from rankops.search_spec import Setting
from rankops.training.search import SearchResult, TrialRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"complete": "#4c72b0", "pruned": "#b8b8b8", "failed": "#c44e52"}
_BEST = "#dd8452"


def history(result: SearchResult) -> bytes:
    """PNG. Left: each trial's dev metric, and the best so far. Right: the metric by training step, best trial thick."""
    figure = _figure(9.6, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    for state, colour in _COLOURS.items():
        some = [t for t in result.trials if t.state == state and t.value is not None]
        left.scatter([t.number for t in some], [t.value for t in some], color=colour, s=22, label=state, zorder=3)
    numbers, best = _best_so_far(result)
    left.step(numbers, best, where="post", color=_BEST, linewidth=1.4, label="best so far")
    left.axhline(result.before, color="black", linestyle=":", linewidth=1, label="before training")
    left.set_xlabel("trial")
    left.set_ylabel(f"dev {result.metric}")
    left.legend(fontsize=7)
    for trial in result.trials:
        if trial.curve:
            won = trial.number == result.best
            style = {"color": _BEST if won else _COLOURS[trial.state], "linewidth": 2.2 if won else 0.9}
            right.plot(*zip(*trial.curve, strict=True), marker=".", markersize=4, zorder=3 if won else 2, **style)
    right.set_xlabel("training step")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return _png(figure)


def _best_so_far(result: SearchResult) -> tuple[list[int], list[float]]:
    numbers: list[int] = []
    best: list[float] = []
    for trial in result.trials:
        if trial.state == "complete" and trial.value is not None:
            numbers.append(trial.number)
            best.append(max([trial.value, *best[-1:]]))
    return numbers, best


def parallel_coordinates(result: SearchResult) -> bytes:
    """PNG: one line a trial through its settings to its dev metric (darker: better); the best one orange."""
    shown = [t for t in result.trials if t.settings and t.value is not None]
    fields = list(dict.fromkeys(name for t in shown for name in t.settings))
    figure = _figure(2.2 + 1.7 * (len(fields) + 1), 3.8)
    axes = figure.add_subplot()
    columns = [_Axis([t.settings[name] for t in shown]) for name in fields] + [
        _Axis([float(t.value or 0) for t in shown])
    ]
    places = range(len(columns))
    for trial in sorted(shown, key=lambda t: (t.number == result.best, t.value)):
        row = shown.index(trial)
        heights = [column.heights[row] for column in columns]
        axes.plot(places, heights, **_line(trial, result, heights[-1]))
    for place, column in enumerate(columns):
        axes.axvline(place, color="black", linewidth=0.8)
        for height, text in column.ticks:
            axes.text(place + 0.03, height, text, fontsize=7, va="center")
    axes.set_xticks(list(places), [name.split(".", 1)[1] for name in fields] + [f"dev {result.metric}"], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) - 0.5)
    return _png(figure)


def _line(trial: TrialRecord, result: SearchResult, height: float) -> dict[str, Any]:
    if trial.number == result.best:
        return {"color": _BEST, "linewidth": 2.2}
    return {"color": _COLOURS[trial.state], "linewidth": 1.0, "alpha": 0.25 + 0.6 * height}


class _Axis:
    """Values of one column as heights between 0 and 1, with labelled ticks; logarithmic where they span decades."""

    def __init__(self, values: list[Setting]) -> None:
        import math

        if any(isinstance(value, str | bool) for value in values):
            names = sorted({str(value) for value in values})
            step = 1 / max(len(names) - 1, 1)
            self.heights = [names.index(str(value)) * step for value in values]
            self.ticks = [(row * step, name) for row, name in enumerate(names)]
            return
        found = [float(value) for value in values]
        low, high = min(found), max(found)
        log = low > 0 and high / low > 8
        scaled = [math.log(value) if log else value for value in found]
        first, width = min(scaled), max(max(scaled) - min(scaled), 1e-12)
        self.heights = [(value - first) / width for value in scaled]
        self.ticks = [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]


def importance(result: SearchResult) -> bytes:
    """PNG: the share of each field in reaching the best quarter of trials."""
    ranked = sorted(result.importance.items(), key=lambda pair: pair[1])
    figure = _figure(6.4, 0.9 + 0.4 * len(ranked))
    axes = figure.add_subplot()
    axes.barh([name for name, _ in ranked], [share for _, share in ranked], color=_COLOURS["complete"])
    axes.set_xlabel("share of importance (PED-ANOVA)")
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
