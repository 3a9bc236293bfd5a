"""Load as people read it: a table in Markdown and a plot (PNG bytes)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rankops.load.capacity import Capacity
from rankops.load.result import StageResult

_COLUMNS = ("rate", "sent", "throughput", "p50", "p95", "p99", "p99.9", "max", "failures", "send lag p99")
_HEADS = (
    "requests/s",
    "sent",
    "answered/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "failures",
    "generator late by, p99 ms",
)
_LINE, _BOUND = "#1f6feb", "#c0392b"


def stages_markdown(stages: Sequence[StageResult]) -> str:
    """One row a stage, in the order given."""
    lines = ["| " + " | ".join(_HEADS) + " |", "|" + "--:|" * len(_HEADS)]
    for stage in stages:
        row = stage.row()
        lines.append("| " + " | ".join(_cell(row[column]) for column in _COLUMNS) + " |")
    return "\n".join(lines)


def capacity_sentence(found: Capacity) -> str:
    """The capacity with its interval in one line."""
    goal = f"p{found.objective.percent:g} <= {found.objective.ms:g} ms without a failure"
    if found.at_capacity is None:
        reason = next((probe.refusal for probe in reversed(found.probes) if probe.refusal), "nothing was measured")
        return f"no rate meets {goal}: {reason}"
    low, high = found.interval
    above = "no rate was missed" if high is None else f"{high:,.0f} misses it"
    return (
        f"capacity {found.rate:,.0f} requests/s at {goal} [{low:,.0f} always meets it, {above}]; "
        f"p50 {found.at_capacity.percentile_ms(50):.1f}, p99 {found.at_capacity.percentile_ms(99):.1f} ms there"
    )


def latency_plot(stages: Sequence[StageResult], objective_ms: float | None = None) -> bytes:
    """Latency over percentile, the percentiles stretched towards 100 as HdrHistogram draws them; a line a stage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    drawn = [stage for stage in stages if stage.latency.n]
    for place, stage in enumerate(drawn):
        most = min(99.99, 100 * (1 - 1 / max(stage.latency.n, 2)))
        inverse = np.geomspace(1, 100 / (100 - most), 120)  # 1 / (1 - p)
        values = stage.latency.percentiles((100 * (1 - 1 / inverse)).tolist())
        label = "closed loop" if stage.rate is None else f"{stage.rate:,.0f}/s"
        axes.plot(
            inverse, np.asarray(values) * 1e3, label=label, color=_LINE, alpha=0.3 + 0.7 * (place + 1) / len(drawn)
        )
    if objective_ms is not None:
        axes.axhline(objective_ms, color=_BOUND, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1, 2, 10, 100, 1000, 10000], ["0", "50", "90", "99", "99.9", "99.99"])
    axes.set_xlabel("percentile")
    axes.set_ylabel("ms from when it was meant to be sent")
    if drawn:
        axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def capacity_plot(found: Capacity) -> bytes:
    """The objective's percentile over the rate, a point a stage (blue: it met it); the bound is dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for probe in found.probes:
        colour = _LINE if probe.refusal is None else _BOUND
        axes.plot([probe.rate], [probe.result.percentile_ms(found.objective.percent)], "o", color=colour, markersize=4)
    axes.axhline(found.objective.ms, color=_BOUND, linestyle="--", linewidth=1)
    low, high = found.interval
    axes.axvspan(low, high or found.ceiling, color=_LINE, alpha=0.12)
    axes.set_yscale("log")
    axes.set_xlabel("requests/s (open loop); the band is the capacity's interval")
    axes.set_ylabel(f"p{found.objective.percent:g} in ms")
    return _png(figure)


def _cell(value: Any) -> str:
    if value is None:
        return "closed loop"
    if isinstance(value, dict):
        return ", ".join(f"{count} {kind}" for kind, count in value.items()) or "none"
    return f"{value:,}"


def _png(figure: Any) -> bytes:
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()
