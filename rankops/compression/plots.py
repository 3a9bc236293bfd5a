"""The ladder as pictures (PNG bytes): what compression changed, and why this rung."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from rankops.compression.report import CompressionReport, RungResult

_BEFORE, _AFTER, _LOST, _BUDGET = "#9aa5b1", "#1f6feb", "#6b7785", "#c0392b"


def before_after(report: CompressionReport) -> bytes:
    """Bars of file size and query latency (p50, whisker to p95): the checkpoint and the winner."""
    figure = _figure(7.2, 3.0)
    rows = (report.reference, report.won)
    left, right = figure.subplots(1, 2)
    sizes = [row.size_mb or 0.0 for row in rows]
    _bars(left, sizes, sizes, "MB", "size of the weights")
    if report.measured_here:
        p50, p95 = [row.p50_ms or 0.0 for row in rows], [row.p95_ms or 0.0 for row in rows]
        _bars(right, p50, p95, "ms", "one query, one thread (p50, whisker p95)")
    else:
        right.set_yticks([])
        right.text(0.5, 0.5, f"not measured on {report.target}", ha="center", va="center")
    for axes in (left, right):
        axes.set_xticks([0, 1], ["checkpoint\n(PyTorch fp32)", report.won.name])
    return _png(figure)


def relevance_against_latency(report: CompressionReport) -> bytes:
    """Relevance over latency of the rungs; the dashed line is the least relevance that the budget allows.

    Rungs whose relevance was not needed are listed by latency in a panel of their own.
    """
    rows = [row for row in (report.reference, *report.rungs) if row.p50_ms is not None]
    unscored = sorted((row for row in rows if row.relevance is None), key=lambda row: row.p50_ms or 0.0)
    figure = _figure(7.2, 3.0 + 0.22 * len(unscored))
    axes, rest = figure.subplots(2, 1, sharex=True, height_ratios=[10, 1 + len(unscored)])
    reference = report.reference.relevance or 0.0
    axes.axhline(reference, color=_BEFORE, linewidth=1)
    axes.axhline(reference * (1 - report.quality_budget), color=_BUDGET, linestyle="--", linewidth=1)
    for row in rows:
        if row.relevance is not None:
            _label(axes, row, row.relevance, "o")
    for place, row in enumerate(unscored):
        _label(rest, row, -place, "|")
    axes.margins(y=0.25)
    axes.set_ylabel("relevance on dev")
    axes.set_title(f"{report.model} on {report.target}: the budget's lower edge is dashed", fontsize=9, loc="left")
    rest.set_ylim(-len(unscored) + 0.3, 0.7)
    rest.set_yticks([])
    rest.set_ylabel("not\nscored", fontsize=8)
    _latency_axis(rest, [row.p50_ms or 0.0 for row in rows])
    return _png(figure)


def _label(axes: Any, row: RungResult, height: float, marker: str) -> None:
    colour = {"won": _AFTER, "reference": _BEFORE}.get(row.verdict, _LOST)
    axes.plot([row.p50_ms], [height], marker=marker, markersize=8, color=colour)
    axes.annotate(
        row.name,
        (row.p50_ms, height),
        (8, -8 if marker == "o" else -3),
        textcoords="offset points",
        fontsize=8,
        color=colour,
    )


def _latency_axis(axes: Any, values: list[float]) -> None:
    """Logarithmic, with plain numbers as ticks and room for labels on the right."""
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(values) * 0.8, max(values) * 1.8)
    axes.xaxis.set_major_locator(FixedLocator([n * 10.0**e for e in range(-2, 4) for n in (1, 1.5, 2, 3, 5, 7)]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("milliseconds a query (p50, log scale)")


def _bars(axes: Any, values: list[float], tops: list[float], unit: str, title: str) -> None:
    """Bars of ``values`` with whiskers up to ``tops`` and the value written above."""
    axes.bar([0, 1], values, color=[_BEFORE, _AFTER], width=0.55)
    above = [max(top - value, 0.0) for value, top in zip(values, tops, strict=True)]
    axes.errorbar([0, 1], values, yerr=[[0.0, 0.0], above], fmt="none", ecolor="#333333", capsize=4, linewidth=1)
    for place, (value, top) in enumerate(zip(values, tops, strict=True)):
        text = f"{value:.1f} {unit}"
        axes.annotate(text, (place, max(value, top)), (0, 4), textcoords="offset points", ha="center", fontsize=9)
    axes.set_ylim(0, max(*values, *tops) * 1.15)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylabel(unit)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _png(figure: Any) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": ""})
    return buffer.getvalue()
