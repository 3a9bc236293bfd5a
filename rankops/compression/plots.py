"""The ladder as pictures (PNG bytes): what compression changed, and why this rung."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from rankops.compression.labels import Box, place_names
from rankops.compression.report import CompressionReport, RungResult

_CURVES = 3
_MARK = 8
"""Points across."""
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
    scored = [row for row in rows if row.relevance is not None]
    figure = _figure(7.2, 3.0 + 0.22 * len(unscored) + 0.12 * max(0, len(scored) - 6))
    heights = [10, 1 + len(unscored)] if unscored else [10]
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _scored(panels[0], scored, report)
    told = "whisker: 95 % interval; dashed: the least that the budget allows"
    panels[0].set_title(f"{report.model} on {report.target} ({told})", fontsize=9, loc="left")
    if unscored:
        _unscored(panels[1], unscored)
    _latency_axis(panels[-1], [row.p50_ms or 0.0 for row in rows])
    _names(figure, panels[0], scored, report.reference.relevance or 0.0)
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


def _scored(axes: Any, rows: list[RungResult], report: CompressionReport) -> None:
    """Marks with their intervals, the reference, the budget, the frontier; names come when the axes are final."""
    from matplotlib.ticker import MaxNLocator

    reference = report.reference.relevance or 0.0
    axes.axhline(reference, color=_BEFORE, linewidth=1)
    axes.axhline(reference * (1 - report.quality_budget), color=_BUDGET, linestyle="--", linewidth=1)
    for row in rows:
        _interval(axes, row, reference)
        axes.plot(
            [row.p50_ms], [row.relevance], marker="o", markersize=_MARK, color=_colour(row), markeredgecolor="white"
        )
    _frontier(axes, rows)
    axes.margins(y=0.25)
    axes.yaxis.set_major_locator(MaxNLocator(5))  # ticks that do not change once the layout was made for them
    axes.set_ylabel("relevance on dev")


def _unscored(axes: Any, rows: list[RungResult]) -> None:
    """A line of its own for each."""
    for line, row in enumerate(rows):
        axes.plot([row.p50_ms], [-line], marker="|", markersize=_MARK, color=_colour(row))
        _name(axes, row, -line, (8, -3))
    axes.set_ylim(-len(rows) + 0.3, 0.7)
    axes.set_yticks([])
    axes.set_ylabel("not\nscored", fontsize=8)


def _interval(axes: Any, row: RungResult, reference: float) -> None:
    """A whisker over what the relevance could be on other queries, given the checkpoint's."""
    if row.interval is None or row.relevance is None:
        return
    low, high = (reference + edge for edge in row.interval)
    axes.vlines(
        row.p50_ms, min(low, row.relevance), max(high, row.relevance), color=_colour(row), linewidth=1, alpha=0.6
    )


def _frontier(axes: Any, rows: list[RungResult]) -> None:
    """A step line through the rungs that no faster one equals in relevance."""
    best: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: row.p50_ms or 0.0):
        if not best or (row.relevance or 0.0) > best[-1][1]:
            best.append((row.p50_ms or 0.0, row.relevance or 0.0))
    if len(best) > 1:
        axes.step(*zip(*best, strict=True), where="post", color=_BEFORE, linewidth=1, linestyle=":")


def _names(figure: Any, axes: Any, rows: list[RungResult], reference: float) -> None:
    """Each mark's name where no other is; a thin line leads to those that had to move away."""
    figure.draw_without_rendering()  # from here on pixels are known
    pixel = figure.dpi / 72
    texts = [_name(axes, row, row.relevance or 0.0, (0, 0)) for row in rows]
    extents = [text.get_window_extent() for text in texts]
    marks, lines = [], []
    for row in rows:
        low, high = (reference + edge for edge in row.interval or (0.0, 0.0))
        (x, y), (_, bottom), (_, top) = axes.transData.transform(
            [(row.p50_ms, row.relevance), (row.p50_ms, low), (row.p50_ms, high)]
        )
        half = _MARK / 2 * pixel
        marks.append(Box(x - half, y - half, x + half, y + half))
        lines += [Box(x - 1, min(bottom, y), x + 1, max(top, y))] if row.interval is not None else []
    inside = axes.get_window_extent()
    bounds = Box(inside.x0, inside.y0, inside.x1, inside.y1)
    boxes = place_names(marks, [(extent.width, extent.height) for extent in extents], bounds, lines)
    for row, text, extent, mark, box in zip(rows, texts, extents, marks, boxes, strict=True):
        # the text's anchor lies at the mark; its extent says where its ink is from there
        text.set_position(((box.left - extent.x0) / pixel, (box.bottom - extent.y0) / pixel))
        if box.bottom > mark.middle[1] or box.top < mark.middle[1]:
            ends = axes.transData.inverted().transform([mark.middle, box.nearest(*mark.middle)])
            axes.plot(*ends.T, color=_colour(row), linewidth=0.8, zorder=4, scalex=False, scaley=False)


def _name(axes: Any, row: RungResult, height: float, offset: tuple[float, float]) -> Any:
    """A rung's name, ``offset`` points from its mark."""
    text = axes.annotate(
        row.name, (row.p50_ms, height), offset, textcoords="offset points", fontsize=8, color=_colour(row), zorder=5
    )
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0})  # on lines, still to be read
    text.set_in_layout(False)
    return text


def _colour(row: RungResult) -> str:
    return {"won": _AFTER, "reference": _BEFORE}.get(row.verdict, _LOST)


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
