"""The ladder as Markdown, for the UI, pull requests and READMEs."""

from __future__ import annotations

from rankops.compression.report import CompressionReport, RungResult

_HEADER = (
    "rung", "", "MB", "p50 ms", "p95 ms", "p99 ms", "load ms", "peak MB", "relevance", "lost", "like the checkpoint",
    "why",
)  # fmt: skip


_NAMED = 6


def summary(report: CompressionReport) -> str:
    """One sentence: what won, and what it gained and cost."""
    won, before = report.won, report.reference
    parts = [f"**{won.name}** ({won.what})"]
    if won.size_mb and before.size_mb:
        parts.append(f"{before.size_mb:.1f} → {won.size_mb:.1f} MB")
    if report.speedup and report.measured_here:
        parts.append(f"{before.p50_ms:.2f} → {won.p50_ms:.2f} ms a query ({report.speedup:.1f} times as fast)")
    if won.loss_share is not None:
        parts.append(f"{won.loss_share:+.2%} of relevance lost on {report.dev_queries} dev queries")
    return ", ".join(parts) + "."


def ladder_table(report: CompressionReport) -> str:
    """A Markdown table with the checkpoint first and one row per rung; what was not measured is a dash."""
    lines = ["| " + " | ".join(_HEADER) + " |", "|" + "---|" * len(_HEADER)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in (report.reference, *report.rungs)]
    return "\n".join(lines)


def page(report: CompressionReport) -> str:
    """Summary, table and how it was measured."""
    note = (
        f"Latency: batch 1, one thread, best of three interleaved rounds on {report.machine}. "
        f"Relevance: {report.dev_queries} dev queries; budget {report.quality_budget:.2%} of the checkpoint's. "
        "Interval: paired bootstrap, 95 %."
    )
    if report.measured_on is not None:
        note += f" The choice follows what was measured on {report.measured_on}; the table's latencies are from here."
    elif not report.measured_here:
        note += f" **Latency was not measured on {report.target}**: the declared order decided."
    parts = [summary(report), ladder_table(report), note, spared_note(report), grid_table(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def grid_table(report: CompressionReport) -> str:
    """Latency of the finalists by texts at once and their length, p50 / p95 / p99; empty where it was not measured."""
    rows = [row for row in report.rungs if row.grid]
    if not rows:
        return ""
    lines = ["| texts at once | tokens each | " + " | ".join(f"{row.name}, ms: p50 / p95 / p99" for row in rows) + " |"]
    lines.append("|" + "---|" * (2 + len(rows)))
    for batch, tokens in [(point.batch, point.tokens) for point in rows[0].grid]:
        cells = []
        for row in rows:
            point = next((p for p in row.grid if (p.batch, p.tokens) == (batch, tokens)), None)
            cells.append("-" if point is None else f"{point.p50_ms:.2f} / {point.p95_ms:.2f} / {point.p99_ms:.2f}")
        lines.append(f"| {batch} | {tokens} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spared_note(report: CompressionReport) -> str:
    """Which matrices the winner does not have in plain int8; empty where there are none."""
    names = report.won.spared
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    listed = ", ".join(f"`{name}`" for name in names[:_NAMED]) + rest
    return f"Not in plain int8, found by measuring what each matrix costs: {listed}." if names else ""


def _cells(row: RungResult) -> tuple[str, ...]:
    relevance = _number(row.relevance, ".4f")
    if row.interval is not None:
        relevance += f" ({row.difference:+.4f}, {row.interval[0]:+.4f} to {row.interval[1]:+.4f})"
    alike = "-"
    if row.cosine_mean is not None:
        alike = f"cosine {row.cosine_mean:.4f}, worst {row.cosine_worst:.4f}"
    elif row.correlation is not None:
        alike = f"correlation {row.correlation:.4f}, off by {row.largest_difference:.3f} at most"
    return (
        f"**{row.name}**" if row.verdict == "won" else row.name,
        row.verdict,
        _number(row.size_mb, ".1f"),
        _number(row.p50_ms, ".2f"),
        _number(row.p95_ms, ".2f"),
        _number(row.p99_ms, ".2f"),
        _number(row.load_ms, ".0f"),
        _number(row.peak_mb, ".0f"),
        relevance,
        _number(row.loss_share, "+.2%"),
        alike,
        row.reason.replace("|", "\\|").replace("\n", " "),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
