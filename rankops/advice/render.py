"""Advice as people read it: Markdown and a plot (PNG bytes)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from rankops.advice.facts import Advice, Facts, Variant
from rankops.advice.sweep import as_rows

_GAIN, _NONE = "#1f6feb", "#9aa5b1"
NOTHING = "Nothing to advise: no measurement shows a gain of 3 % or more."


def markdown(advice: Sequence[Advice], facts: Facts) -> str:
    """A table of advice, then the changes that were tried, then what the server said of itself."""
    parts = [_advice(advice)]
    if facts.variants:
        rows = as_rows(facts.variants)
        parts.append("**Tried**\n\n" + _table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    if facts.observed:
        rows_ = [[name, f"{value:g}"] for name, value in sorted(facts.observed.items())]
        parts.append("**Seen under load**\n\n" + _table(["", "value"], rows_))
    return "\n\n".join(parts)


def _advice(advice: Sequence[Advice]) -> str:
    if not advice:
        return NOTHING
    rows = [[one.what, gain_text(one), one.basis, one.how] for one in advice]
    return _table(["what", "expected gain", "basis", "how it was computed"], rows)


def gain_text(advice: Advice) -> str:
    """E.g. ``+18 % queries/s per core [+12, +25]``."""
    if advice.gain is None:
        return "safety"
    sign = "-" if advice.of == "memory" else "+"
    text = f"{sign}{100 * advice.gain:.0f} % {advice.of}"
    if advice.interval is None:
        return text
    low, high = advice.interval
    return f"{text} [{100 * low:+.0f}, {100 * high:+.0f}]"


def sweep_png(variants: Sequence[Variant]) -> bytes:
    """Gain of each changed setting with its interval; blue where the whole interval lies above zero."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.2 + 0.35 * len(variants)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(reversed(variants)):
        colour = _GAIN if one.interval[0] > 0 else _NONE
        axes.plot([100 * one.interval[0], 100 * one.interval[1]], [place, place], color=colour)
        axes.plot([100 * one.gain], [place], "o", color=colour, markersize=5)
    axes.axvline(0, color=_NONE, linewidth=1)
    axes.set_yticks(range(len(variants)), [f"{one.setting} {one.value}" for one in reversed(variants)])
    axes.set_xlabel("change of throughput against the default, % (95 % interval)")
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()


def stages_png(facts: Facts) -> bytes:
    """Where the time of a request goes under load, by the server's own histograms."""
    from matplotlib.figure import Figure

    names = [key for key in sorted(facts.observed) if key.startswith("stage_ms.")]
    figure = Figure(figsize=(7.2, 1.0 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name.removeprefix("stage_ms.") for name in names], [facts.observed[n] for n in names], color=_GAIN)
    axes.set_xlabel("mean ms of a request under load")
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])
