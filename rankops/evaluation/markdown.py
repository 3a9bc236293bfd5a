"""Pieces of GitHub-flavoured Markdown: tables, intervals, and text that people typed, made harmless."""

from __future__ import annotations

from collections.abc import Sequence

from rankops.evaluation.bootstrap import Interval


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub-flavoured Markdown table; cells must be escaped already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_cell(interval: Interval, *, bold: bool = False) -> str:
    """``0.412 [0.391, 0.433]``, the mean in bold where asked."""
    mean = f"**{interval.mean:.3f}**" if bold else f"{interval.mean:.3f}"
    return f"{mean} [{interval.low:.3f}, {interval.high:.3f}]"


def difference_cell(interval: Interval) -> str:
    """``+0.031 [+0.012, +0.050]``."""
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def cell(text: str) -> str:
    """Escaped text on one line, safe inside a table."""
    return escape(" ".join(text.split())).replace("|", "\\|")


def escape(text: str) -> str:
    """Text in which Markdown and HTML mean nothing, and ``@name`` and ``#1`` refer to nobody and nothing."""
    for special in "\\`*_<>[]~":
        text = text.replace(special, f"\\{special}")
    return text.replace("@", "@\u200b").replace("#", "#\u200b")
