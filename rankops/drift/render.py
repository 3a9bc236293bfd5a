"""A drift report and a retrain decision as Markdown, for the Dagster UI and pull requests."""

from __future__ import annotations

from collections.abc import Sequence

from rankops.drift.decision import RetrainDecision
from rankops.drift.report import DriftReport


def report_markdown(report: DriftReport) -> str:
    """Verdict, both sides, every test, and Evidently's columns."""
    verdict = f"**drifted: {', '.join(report.names)}**" if report.drifted else "**nothing drifted**"
    lines = [f"{report.model}, {report.day}: {verdict}", ""]
    lines += [f"- {finding.evidence}" for finding in report.drifted_causes]
    for title, table in (
        ("The two sides", sides_table(report)),
        ("What was tested", causes_table(report)),
        ("Evidently's verdict on each column of a sample", columns_table(report)),
    ):
        lines += ["", f"### {title}", "", table]
    return "\n".join(lines) + "\n"


def sides_table(report: DriftReport) -> str:
    """Reference and current side next to each other, and the days before it where they were read too."""
    sides = [report.reference, report.current, *([report.window] if report.window else [])]
    new = ("", f" ({100 * report.new_products_share:.1f} % new)", "")
    rows = [
        ("days", *(side.span for side in sides)),
        ("searches", *(f"{side.searches:,}" for side in sides)),
        ("requests logged", *(f"{side.requests:,}" for side in sides)),
        ("products", *(f"{side.products:,}{more}" for side, more in zip(sides, new, strict=False))),
        ("searches without a click", *(f"{100 * side.zero_click_rate:.1f} %" for side in sides)),
        ("MRR of the first click", *(f"{side.mrr:.3f}" for side in sides)),
    ]
    return _table(("", "reference", "current", "with the days before it")[: len(sides) + 1], rows)


def causes_table(report: DriftReport) -> str:
    """Every named test: score, threshold, verdict, evidence, examples."""
    rows = [
        (
            f"**{finding.name}**" if finding.drifted else finding.name,
            "symptom" if finding.symptom else "cause",
            f"{finding.score:.3f}" if finding.measured else "-",
            f"{finding.threshold:.3f}",
            "drifted" if finding.drifted else ("-" if finding.measured else "not measured"),
            finding.evidence,
            "; ".join(finding.examples[:4]) if finding.drifted else "",
        )
        for finding in report.causes
    ]
    return _table(("test", "kind", "score", "threshold", "verdict", "evidence", "examples"), rows)


def columns_table(report: DriftReport) -> str:
    """Evidently's verdict on each column of the sample."""
    rows = [
        (c.column, c.method, f"{c.score:.3f}", f"{c.threshold:.3f}", "drifted" if c.drifted else "-")
        for c in report.columns
    ]
    return _table(("column", "Evidently's method", "score", "threshold", "verdict"), rows)


def decision_markdown(decision: RetrainDecision) -> str:
    """The answer, why, and what will be trained on."""
    answer = "**retrain**" if decision.decision else "**do not retrain**"
    lines = [f"{decision.model}, {decision.day}: {answer} (attempt {decision.attempt})", ""]
    lines += [f"- {_cell(reason)}" for reason in decision.reasons]
    rows = [
        ("causes", ", ".join(decision.causes) or "none"),
        ("days to train on", f"{decision.window_first_day} to {decision.window_last_day}"),
        ("live release", decision.release[:12]),
        ("report", decision.fingerprint[:12]),
        ("run key", decision.run_key),
        ("cooldown until", f"{decision.cooldown_until:%Y-%m-%d %H:%M %Z}" if decision.cooldown_until else "-"),
        ("decided at", f"{decision.decided_at:%Y-%m-%d %H:%M:%S %Z}"),
    ]
    return "\n".join([*lines, "", _table(("", ""), rows)]) + "\n"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows])


def _cell(text: str) -> str:
    """Queries and categories come from outside: no pipes, line ends or markup may escape from a cell."""
    flat = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return flat.replace("<", "&lt;").replace(">", "&gt;").replace("`", "\\`")
