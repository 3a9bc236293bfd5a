"""What a reviewer reads: a pull request's title and body, as Markdown, from plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rankops.forge.markdown import Rows, bullet, code, details, escape, table

__all__ = ["LIMIT", "PullRequestFacts", "build_body", "build_title", "details", "escape", "table"]

LIMIT = 65_536
"""Characters of a body that every forge takes (GitHub's limit)."""
_MARGIN = 2_000  # room for what bots and people add below
_REASONS = 20


@dataclass(frozen=True)
class PullRequestFacts:
    """Everything that the body tells. Tables are rows of plain values; an empty table is left out.

    ``metrics`` compares with the champion (with intervals), ``slices`` the same by slice, ``worst_queries`` are the
    most regressed queries with product titles, ``cost`` size, latency and what the pods ask for, ``capacity`` what
    they should ask for, ``compression`` the rungs tried, ``gates`` the verdicts. ``rolls_back`` is the release that a
    rollback takes out and quarantines.
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
    cost: Rows = ()
    capacity: Rows = ()
    compression: Rows = ()
    gates: Rows = ()
    diff: str = ""
    rendered_diff: str = ""
    rolls_back: str | None = None


def build_title(facts: PullRequestFacts) -> str:
    """One line, e.g. ``deploy(production): retriever → release 0123456789ab``."""
    verb = "rollback" if facts.rolls_back else "deploy"
    return f"{verb}({facts.environment}): {facts.model} → release {facts.release[:12]}"


def build_body(facts: PullRequestFacts, limit: int = LIMIT) -> str:
    """The body, of at most ``limit`` characters.

    What it is, why, and how to go back are always there. The rest is ordered by what a reviewer needs most, and each
    part may take half of the room that is left: so it is the diffs that are cut first, and it says so.
    """
    opening, ending = _opening(facts), _rollback(facts)
    room = limit - _MARGIN - len(opening) - len(ending)
    parts = [opening]
    for part in _tables(facts, room):
        parts.append(part)
        room -= len(part)
    for title, text, share in (
        ("Change of the overlay", facts.diff, room // 3),
        ("Change of what is applied (rendered by kustomize)", facts.rendered_diff, room // 2),
    ):
        parts.append(details(title, "diff", text, share - 200))
    return "".join(parts) + ending


def _opening(facts: PullRequestFacts) -> str:
    before = f"release `{facts.supersedes[:12]}`" if facts.supersedes else "nothing (first release)"
    lines = [
        f"**{facts.model}** in **{facts.environment}**: release `{facts.release[:12]}` replaces {before}.",
        "",
        *[f"- {escape(key)}: {code(value)}" for key, value in facts.lineage.items()],
        "",
    ]
    if facts.why:
        more = [f"… and {len(facts.why) - _REASONS} more"] if len(facts.why) > _REASONS else []
        lines += ["### Why", "", *map(bullet, [*facts.why[:_REASONS], *more]), ""]
    return "\n".join(lines)


def _tables(facts: PullRequestFacts, room: int) -> Iterator[str]:
    for title, rows in (
        ("Metrics, paired by query", facts.metrics),
        ("By slice", facts.slices),
        ("Most regressed queries", facts.worst_queries),
        ("Size, latency and cost", facts.cost),
        ("Advice on capacity (nothing is changed by it)", facts.capacity),
        ("Compression", facts.compression),
        ("Gates", facts.gates),
    ):
        if rows:
            part = f"\n### {title}\n\n{table(rows, room // 2)}\n"
            room -= len(part)
            yield part


def _rollback(facts: PullRequestFacts) -> str:
    if facts.rolls_back is not None:
        return (
            f"\n### What this does\n\nRelease `{facts.release[:12]}` verified here before and comes back. "
            f"`{facts.rolls_back[:12]}` is quarantined by the same commit: no deploy, retraining or sync brings it "
            "back until a person removes its entry from `quarantine.yaml`.\n"
        )
    if facts.supersedes is None:
        return "\n### How to roll back\n\nNothing stood here before: revert the merge commit to stop serving.\n"
    command = f"rankops rollback {facts.environment} {facts.model} --reason '...'"
    return (
        f"\n### How to roll back\n\n```sh\n{command}\n```\nThis makes a forward commit that pins the last release "
        f"that verified (now `{facts.supersedes[:12]}`) and quarantines `{facts.release[:12]}`.\n"
    )
