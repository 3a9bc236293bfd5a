"""Markdown for forges from texts that strangers wrote: nothing in them may become markup, a mention or a link.

Both dialects (GitHub's and GitLab's) are CommonMark with tables; both turn ``@name`` into a message to somebody,
``#1`` and ``!1`` into a link that shows up in another discussion, and ``$x$`` into mathematics.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]

CELL = 200
"""Characters of a cell or a list item; the evidence itself is in the store."""
ROWS = 50

_JOINERS = "\u200c\u200d"  # some scripts and emoji need them; other invisible characters only mislead
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_CUT = "… cut: too long for a pull request; see the commit\n"


def escape(text: str) -> str:
    """``text`` as plain text in Markdown: no markup, no HTML, no mention, no link, no line break."""
    seen = "".join(c for c in " ".join(text.split()) if c in _JOINERS or unicodedata.category(c) not in _INVISIBLE)
    safe = seen.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", safe)
    # A zero-width space stops forges from reading @people, #issues and bare URLs; `ndcg@10` mentions nobody. What a
    # word is they decide by ASCII, so that the @ of "é@ada" begins a mention.
    safe = re.sub(r"((?<![A-Za-z0-9])@|[#!%])(?=[\w\[\\])", "\\1\u200b", safe)
    safe = re.sub(r"(?i)\bGH-(?=\d)", lambda found: found[0] + "\u200b", safe)
    return re.sub(r"(?i)\b([a-z]{2,20})://", "\\1:\u200b//", re.sub(r"(?i)\bwww\.", "www\u200b.", safe))


def bullet(text: str) -> str:
    """``text`` as one item of a list."""
    return "- " + re.sub(r"^([#+=-])", r"\\\1", re.sub(r"^(\d+)([.)])", r"\1\\\2", escape(shorten(text, 2 * CELL))))


def code(text: str) -> str:
    """``text`` in a code span."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def shorten(text: str, length: int) -> str:
    """``text``, cut with an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def table(rows: Rows, room: int | None = None) -> str:
    """Rows as a Markdown table; columns in the order in which they first appear.

    With ``room`` (characters) at most :data:`ROWS` rows are shown, cells are cut to :data:`CELL` characters, and what
    was left out is counted below.
    """
    width = None if room is None else CELL
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = ["| " + " | ".join(map(escape, columns)) + " |", "|" + "---|" * len(columns)]
    shown = rows if room is None else rows[:ROWS]
    lines = ["| " + " | ".join(cell(row.get(column), width) for column in columns) + " |" for row in shown]
    if room is not None:
        lines = _fitting(lines, room - len("\n".join(head)) - 40)
    if len(lines) == len(rows):
        return "\n".join([*head, *lines])
    more = f"… and {len(rows) - len(lines)} more"
    return "\n".join([*head, *lines, "", more]) if lines else more


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """The first lines that have room together."""
    taken = itertools.accumulate(len(line) + 1 for line in lines)
    return [line for line, end in zip(lines, taken, strict=True) if end <= room]


def details(title: str, language: str, text: str, room: int) -> str:
    """A folded block of code, cut to ``room`` characters, or nothing where ``text`` is blank."""
    if not text.strip():
        return ""
    if len(text) > room:
        text = text[: max(room, 0)].rsplit("\n", 1)[0] + "\n" + _CUT
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"\n<details><summary>{title}</summary>\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n</details>\n"


def cell(value: Any, width: int | None = None) -> str:
    """One value as people read it: numbers with four digits, yes and no, nothing for None; texts cut to ``width``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        tiny_or_huge = abs(value) >= 1000 or 0 < abs(value) < 0.001
        return f"{value:.4g}" if tiny_or_huge else f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, tuple)):
        return "; ".join(cell(item, width) for item in value)
    return escape(str(value) if width is None else shorten(str(value), width))
