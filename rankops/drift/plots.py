"""Pictures of a drift report, as PNG bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rankops.drift.evidently_report import ColumnDrift
from rankops.drift.findings import Finding
from rankops.drift.report import DriftReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRIFTED, _NORMAL, _BEFORE, _AFTER, _INK = "#c0392b", "#8fa3b5", "#8fa3b5", "#1f6fb2", "#33404d"
_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
_MAX_RATIO = 8.0
_MAX_CATEGORIES = 12


def summary_png(report: DriftReport) -> bytes:
    """Left: each test's score over its threshold, strongest on top. Right: the clicked categories that moved most."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 5.2), dpi=92, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_scores(left, report)
    _draw_categories(right, report)
    names = ", ".join(report.names) or "nothing drifted"
    figure.suptitle(f"{report.model}, {report.day}: {names}", fontsize=13, color=_INK, fontweight="bold")
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_scores(axes: Axes, report: DriftReport) -> None:
    rows: list[tuple[str, float, bool, str]]
    rows = [(c.name, c.score / c.threshold, c.drifted, _told(c)) for c in report.causes]
    rows += [(f"column {c.column}", c.score / c.threshold, c.drifted, _ratio(c)) for c in report.columns]
    rows.sort(key=lambda row: (row[1], row[0]))
    clipped = [max(0.0, min(ratio, _MAX_RATIO)) for _, ratio, _, _ in rows]
    axes.barh(range(len(rows)), clipped, color=[_DRIFTED if drifted else _NORMAL for _, _, drifted, _ in rows])
    for y, (_, _, _, text) in enumerate(rows):
        axes.text(clipped[y] + 0.06, y, text, va="center", fontsize=8, color=_INK, bbox=_PLATE)
    axes.axvline(1.0, color=_INK, linewidth=1, linestyle="--", zorder=0.5)
    axes.set_yticks(range(len(rows)), [name for name, _, _, _ in rows], fontsize=8.5)
    axes.set_xlim(0, max(2.0, max(clipped, default=0.0) * 1.2))
    axes.set_xlabel("score / threshold (from 1: large enough to matter)", fontsize=9)
    axes.set_title("what was tested (red: drifted)", fontsize=10, loc="left", color=_INK)
    _clean(axes)


def _told(finding: Finding) -> str:
    """What stands beside a test's bar."""
    if not finding.measured:
        return "not measured"
    return _ratio(finding) + (f" ({finding.days} days)" if finding.days > 1 else "")


def _ratio(tested: Finding | ColumnDrift) -> str:
    ratio = max(0.0, tested.score / tested.threshold)
    return (f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}") + (" (bar cut)" if ratio > _MAX_RATIO else "")


def _draw_categories(axes: Axes, report: DriftReport) -> None:
    before, after = report.reference.categories, report.widest.categories
    n, m = max(1, sum(before.values())), max(1, sum(after.values()))
    rows, total = moved_most(before, after), len({*before, *after})
    if not rows:
        axes.text(0.5, 0.5, "no clicked product has a category", ha="center", va="center", fontsize=10, color=_INK)
        axes.set_axis_off()
        return
    places = range(len(rows))
    axes.barh([y + 0.2 for y in places], [r[1] for r in rows], 0.38, color=_BEFORE, label=f"reference ({n:,} searches)")
    axes.barh(
        [y - 0.2 for y in places],
        [r[2] for r in rows],
        0.38,
        xerr=[_half_width(r[2], m) for r in rows],
        error_kw={"ecolor": _INK, "elinewidth": 1},
        color=_AFTER,
        label=f"{report.widest.span} ({m:,} searches, 95 % interval)",
    )
    axes.set_yticks(places, [row[0].replace("$", r"\$") for row in rows], fontsize=8.5)
    axes.set_xlabel("% of searches with a click, by category of the first", fontsize=9)
    which = f" (the {len(rows)} categories of {total} that moved most)" if len(rows) < total else ""
    axes.set_title(f"what searchers clicked{which}", fontsize=10, loc="left", color=_INK)
    axes.set_xlim(left=0)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    _clean(axes)


def moved_most(
    before: Mapping[str, int], after: Mapping[str, int], most: int = _MAX_CATEGORIES
) -> list[tuple[str, float, float]]:
    """``(key, % before, % after)`` of the ``most`` keys whose share moved most, the largest share last.

    Not the largest shares: what is new is small, and it must be seen.
    """
    n, m = max(1, sum(before.values())), max(1, sum(after.values()))
    rows = [(key, 100 * before.get(key, 0) / n, 100 * after.get(key, 0) / m) for key in {*before, *after}]
    kept = sorted(rows, key=lambda row: (-abs(row[2] - row[1]), row[0]))[:most]
    return sorted(kept, key=lambda row: (max(row[1], row[2]), row[0]))


def _half_width(percent: float, n: int) -> float:
    """Of the 95 % interval of a share in per cent (normal approximation)."""
    share = percent / 100
    return 196 * math.sqrt(share * (1 - share) / n)


def _clean(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
