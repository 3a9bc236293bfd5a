"""The ladder as pictures (PNG bytes): what compression changed, and why this rung."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from rankops.compression.report import CompressionReport, RungResult

_CURVES = 3
_OTHERS = ("#6b7785", "#c77d0a", "#7a4fb5", "#2a8f5a")
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
    """Relevance over latency of the rungs, with the paired interval of the difference to the checkpoint.

    The dashed line is the least relevance that the budget allows, the stepped one the frontier: nothing to the left of
    it is as relevant.

    Rungs whose relevance was not needed are listed by latency in a panel of their own.
    """
    rows = [row for row in (report.reference, *report.rungs) if row.p50_ms is not None]
    unscored = sorted((row for row in rows if row.relevance is None), key=lambda row: row.p50_ms or 0.0)
    figure = _figure(7.2, 3.0 + 0.22 * len(unscored))
    axes, rest = figure.subplots(2, 1, sharex=True, height_ratios=[10, 1 + len(unscored)])
    reference = report.reference.relevance or 0.0
    axes.axhline(reference, color=_BEFORE, linewidth=1)
    axes.axhline(reference * (1 - report.quality_budget), color=_BUDGET, linestyle="--", linewidth=1)
    scored = sorted((row for row in rows if row.relevance is not None), key=lambda row: row.p50_ms or 0.0)
    for place, row in enumerate(scored):
        _interval(axes, row, reference)
        _label(axes, row, row.relevance or 0.0, "o", above=place % 2 == 1)
    _frontier(axes, rows)
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


def latency_by_length(report: CompressionReport) -> bytes | None:
    """Milliseconds a text over its length, for one text and for the largest batch: p50, shaded up to p99.

    None where nothing was measured by length.
    """
    measured = sorted((row for row in report.rungs if row.grid), key=lambda row: row.p50_ms or 0.0)
    fast = [row.name for row in measured[:_CURVES]]
    rows = [row for row in measured if row.name in (*fast, report.winner, "fp32")]
    if not rows:
        return None
    batches = sorted({point.batch for row in rows for point in row.grid})
    shown = [batches[0], batches[-1]] if len(batches) > 1 else batches
    figure = _figure(7.2, 3.2)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, batch in zip(panels, shown, strict=True):
        for number, row in enumerate(rows):
            _curve(axes, row, batch, _AFTER if row.verdict == "won" else _OTHERS[number % len(_OTHERS)])
        axes.set_title("one text" if batch == 1 else f"{batch} texts at once", fontsize=10, loc="left")
        axes.set_xlabel("tokens a text")
        axes.set_ylabel("milliseconds a text")
        axes.set_ylim(bottom=0)
    panels[0].legend(fontsize=8, frameon=False)
    return _png(figure)


def _curve(axes: Any, row: RungResult, batch: int, colour: str) -> None:
    points = sorted((point for point in row.grid if point.batch == batch), key=lambda point: point.tokens)
    lengths = [point.tokens for point in points]
    low, high = ([getattr(point, name) / batch for point in points] for name in ("p50_ms", "p99_ms"))
    axes.plot(lengths, low, marker="o", markersize=4, color=colour, label=row.name)
    axes.fill_between(lengths, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks(lengths)


def _interval(axes: Any, row: RungResult, reference: float) -> None:
    """A whisker over what the relevance could be on other queries, given the checkpoint's."""
    if row.interval is None or row.relevance is None:
        return
    low, high = (reference + edge for edge in row.interval)
    colour = _AFTER if row.verdict == "won" else _LOST
    axes.vlines(row.p50_ms, min(low, row.relevance), max(high, row.relevance), color=colour, linewidth=1, alpha=0.6)


def _frontier(axes: Any, rows: list[RungResult]) -> None:
    """A step line through the rungs that no faster one equals in relevance."""
    best: list[tuple[float, float]] = []
    for row in sorted((row for row in rows if row.relevance is not None), key=lambda row: row.p50_ms or 0.0):
        if not best or (row.relevance or 0.0) > best[-1][1]:
            best.append((row.p50_ms or 0.0, row.relevance or 0.0))
    if len(best) > 1:
        axes.step(*zip(*best, strict=True), where="post", color=_BEFORE, linewidth=1, linestyle=":")


def _label(axes: Any, row: RungResult, height: float, marker: str, *, above: bool = False) -> None:
    """A mark with its name: beside it, or below and above in turn where marks crowd."""
    colour = {"won": _AFTER, "reference": _BEFORE}.get(row.verdict, _LOST)
    axes.plot([row.p50_ms], [height], marker=marker, markersize=8, color=colour)
    axes.annotate(
        row.name,
        (row.p50_ms, height),
        (8, (8 if above else -14) if marker == "o" else -3),
        textcoords="offset points",
        fontsize=8,
        color=colour,
    )


def _latency_axis(axes: Any, values: list[float]) -> None:
    """Logarithmic, with plain numbers as ticks and room for labels on the right."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(min(values) * 0.8, max(values) * 1.8)
    axes.xaxis.set_major_locator(FixedLocator([n * 10.0**e for e in range(-2, 4) for n in (1, 1.5, 2, 3, 5, 7)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
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
