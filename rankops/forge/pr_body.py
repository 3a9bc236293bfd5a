"""What a reviewer reads: a pull request's title and body, as Markdown, from plain values.

Queries and product titles were written by strangers: nothing in them may become markup, a mention or a link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Sequence[Mapping[str, Any]]

LIMIT = 60_000
"""Forges refuse bodies above 65,536 characters; the rest is room for their own footers."""


@dataclass(frozen=True)
class PullRequestFacts:
    """Everything that the body tells. Tables are rows of plain values; an empty table is left out.

    ``metrics`` compares with the champion (with intervals), ``slices`` the same by slice, ``worst_queries`` are the
    most regressed queries with product titles, ``compression`` the rungs tried, ``cost`` size, latency and capacity.
    """

    model: str
    environment: str
    release: str
    commit: str
    supersedes: str | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)
    why: Sequence[str] = ()
    metrics: Rows = ()
    slices: Rows = ()
    worst_queries: Rows = ()
    compression: Rows = ()
    cost: Rows = ()
    diff: str = ""
    rendered_diff: str = ""


def build_title(facts: PullRequestFacts) -> str:
    """One line, e.g. ``deploy(production): retriever → release 0123456789ab``."""
    return f"deploy({facts.environment}): {facts.model} → release {facts.release[:12]}"


def build_body(facts: PullRequestFacts) -> str:
    """The body; where it would be too long for a forge, the diffs are cut, and it says so."""
    head = "\n".join(_head(facts))
    room = LIMIT - len(head)
    change = _details("Change of the overlay", "diff", facts.diff, room // 3)
    rendered = _details("Change of what is applied (rendered by kustomize)", "diff", facts.rendered_diff, room // 2)
    return f"{head}\n{change}{rendered}{_rollback(facts)}"[:LIMIT]


def table(rows: Rows) -> str:
    """Rows as a Markdown table; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(map(escape, columns)) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def escape(text: str) -> str:
    """``text`` as plain text in Markdown: no markup, no HTML, no mention, no link, no line break."""
    flat = " ".join(text.split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = re.sub(r"([\\`*_{}\[\]|~])", r"\\\1", flat)
    # A zero-width space stops forges from reading @people, #issues and bare URLs; `ndcg@10` mentions nobody.
    flat = re.sub(r"((?<!\w)@|[#!])(?=[\w\[])", "\\1\u200b", flat)
    return re.sub(r"(?i)\b(https?|ftp)://", "\\1:\u200b//", re.sub(r"(?i)\bwww\.", "www\u200b.", flat))


def _head(facts: PullRequestFacts) -> list[str]:
    before = f"release `{facts.supersedes[:12]}`" if facts.supersedes else "nothing (first release)"
    lines = [
        f"**{facts.model}** in **{facts.environment}**: release `{facts.release[:12]}` replaces {before}.",
        "",
        *[f"- {escape(key)}: `{_code(value)}`" for key, value in facts.lineage.items()],
        "",
    ]
    if facts.why:
        lines += ["### Why", "", *[f"- {escape(reason)}" for reason in facts.why], ""]
    for title, rows in (
        ("Metrics against the champion", facts.metrics),
        ("By slice", facts.slices),
        ("Most regressed queries", facts.worst_queries),
        ("Size, latency and cost", facts.cost),
        ("Compression", facts.compression),
    ):
        if rows:
            lines += [f"### {title}", "", table(rows[:50]), ""]
            if len(rows) > 50:
                lines += [f"… and {len(rows) - 50} more", ""]
    return lines


def _rollback(facts: PullRequestFacts) -> str:
    if facts.supersedes is None:
        return "\n### How to roll back\n\nNothing stood here before: revert the merge commit to stop serving.\n"
    command = f"rankops rollback {facts.model} --environment {facts.environment} --reason '...'"
    return (
        f"\n### How to roll back\n\n```sh\n{command}\n```\nThis makes a forward commit that pins the last release "
        f"that verified (now `{facts.supersedes[:12]}`) and quarantines `{facts.release[:12]}`.\n"
    )


def _details(title: str, language: str, text: str, room: int) -> str:
    if not text.strip():
        return ""
    if len(text) > room:
        text = text[: max(room, 0)].rsplit("\n", 1)[0] + "\n… cut: too long for a pull request; see the commit\n"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"\n<details><summary>{title}</summary>\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n</details>\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return (
            f"{value:.4g}" if abs(value) >= 1000 or 0 < abs(value) < 0.001 else f"{value:.4f}".rstrip("0").rstrip(".")
        )
    if isinstance(value, (list, tuple)):
        return "; ".join(_cell(item) for item in value)
    return escape(str(value))


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
