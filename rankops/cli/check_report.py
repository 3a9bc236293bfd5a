"""How a check of overlays is shown: lines and a table for people, annotations for GitHub, a Markdown summary."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rankops.cli.common import plain

if TYPE_CHECKING:
    from rankops.stages.check_results import CheckResult, OverlayReport, Problem

_SUMMARY_LIMIT = 900_000  # GitHub refuses a step's summary over 1 MiB
_MANY = 40  # overlays without a finding that are listed one by one


def lines(result: CheckResult) -> Iterator[str]:
    """A line for each overlay, and what the whole comes to."""
    for report in result.overlays:
        word = "ok    " if report.ok else "FAILED"
        yield f"{word} {report.folder}: {report.objects} objects, {report.state}"
    yield verdict(result)


def verdict(result: CheckResult) -> str:
    """One sentence about the whole."""
    failed = sum(not report.ok for report in result.overlays)
    errors = sum(problem.level == "error" for problem in result.problems)
    warnings = len(result.problems) - errors
    said = f"{len(result.overlays)} overlays checked for Kubernetes {', '.join(result.kubernetes)}"
    if result.base is not None:
        said += f", {result.untouched} not reached by the change"
    counts = f"{failed} failed, {_count(errors, 'problem')}, {_count(warnings, 'warning')}"
    return f"{said}: {counts if result.problems else 'all are fine'}"


def problem_table(problems: Sequence[Problem], *, width: int | None = None) -> None:
    """Print what was found, the remedy under each."""
    table = Table("rule", "file", "what is wrong", show_lines=True)
    for problem in problems:
        said = plain(problem.message) + (f"\n[green]remedy:[/green] {plain(problem.remedy)}" if problem.remedy else "")
        colour = "red" if problem.level == "error" else "yellow"
        table.add_row(f"[{colour}]{plain(problem.rule)}[/{colour}]", plain(problem.file), said)
    # Logs have no width of their own; 80 columns would leave a message no room.
    Console(width=width or (None if sys.stdout.isatty() else 160), highlight=False).print(table)


def annotation(problem: Problem) -> str:
    """A GitHub workflow command that shows the problem beside its file."""
    message = problem.message + (f"\nremedy: {problem.remedy}" if problem.remedy else "")
    properties = f"file={_property(problem.file)},title={_property(f'overlays: {problem.rule}')}"
    return f"::{problem.level} {properties}::{_data(message)}"


def markdown(result: CheckResult) -> str:
    """The summary for a pull request: verdict, findings, and what will change in the cluster."""
    parts = [f"## Overlays: {'fine' if result.ok else 'not fine'}\n", f"{verdict(result)}.\n"]
    parts += _findings(result.problems)
    parts += _overlays(result.overlays)
    text = "\n".join(parts)
    for block in _diffs(result.overlays):
        if len((text + block).encode()) > _SUMMARY_LIMIT:
            return text + "\n… more changes than a summary can hold: run the command locally.\n"
        text += block
    return text


def _findings(problems: Sequence[Problem]) -> list[str]:
    from rankops.forge.pr_body import table

    if not problems:
        return []
    rows = [
        {"": p.level, "rule": p.rule, "file": p.file, "what is wrong": p.message, "remedy": p.remedy} for p in problems
    ]
    more = [f"… and {len(rows) - 200} more\n"] if len(rows) > 200 else []
    return ["### Findings\n", table(rows[:200]), "", *more]


def _overlays(reports: Sequence[OverlayReport]) -> list[str]:
    from rankops.forge.pr_body import table

    shown = [r for r in reports if not r.ok] + [r for r in reports if r.ok][:_MANY]
    if not shown:
        return []
    rows = [
        {"overlay": r.name, "": "ok" if r.ok else "FAILED", "objects": r.objects, "release": r.state} for r in shown
    ]
    more = [f"… and {len(reports) - len(shown)} more that are fine\n"] if len(reports) > len(shown) else []
    return ["### Overlays\n", table(rows), "", *more]


def _diffs(reports: Sequence[OverlayReport]) -> Iterator[str]:
    """What changes in the cluster; the same change of many overlays is shown once."""
    from rankops.forge.pr_body import details

    same: dict[str, list[str]] = {}
    for report in reports:
        body = "\n".join(report.diff.splitlines()[2:])  # without the two lines that name the overlay
        if body:
            same.setdefault(body, []).append(report.name)
    if same:
        yield "\n### What changes in the cluster (rendered by kustomize)\n"
    for body, names in same.items():
        others = f" and {len(names) - 1} more with the same change" if len(names) > 1 else ""
        yield details(f"{names[0]}{others}", "diff", body, _SUMMARY_LIMIT // 3)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
