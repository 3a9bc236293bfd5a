"""The ladder as Markdown, for the UI, pull requests and READMEs."""

from __future__ import annotations

from rankops.compression.report import CompressionReport, RungResult

_HEADER = ("rung", "", "MB", "p50 ms", "p95 ms", "relevance", "lost", "like the checkpoint", "why")


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
    if not report.measured_here:
        note += f" **Latency was not measured on {report.target}**: the declared order decided."
    return f"{summary(report)}\n\n{ladder_table(report)}\n\n{note}\n"


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
        relevance,
        _number(row.loss_share, "+.2%"),
        alike,
        row.reason.replace("|", "\\|").replace("\n", " "),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
