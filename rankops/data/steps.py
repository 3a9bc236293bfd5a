"""What preparation did to the tables, step by step: rows in and out, reasons with counts, and examples.

A step that dropped or changed nothing is listed too: "0 bots" is a result. The list travels as
``info["preparation"]`` of a dataset, so that whoever looks at a model can see what it was never shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from rankops.errors import BadInput

EXAMPLES = 3
_EXAMPLE_LENGTH = 60


@dataclass(frozen=True)
class Step:
    """``reasons`` counts the rows (or what ``table`` says) that were dropped or changed, by reason."""

    name: str
    table: str
    rows_in: int
    rows_out: int
    changed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


class Preparation:
    """The steps of one dataset, in the order in which they ran."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def drop(
        self, name: str, table: str, frame: pl.DataFrame, rules: Mapping[str, pl.Expr], *, show: Sequence[str]
    ) -> pl.DataFrame:
        """Keep the rows for which every expression is true, and note the step.

        A row counts under the first rule that it breaks; a null breaks a rule. Examples show the columns ``show``.
        """
        kept, reasons, examples = frame, {}, []
        for reason, good in rules.items():
            keeps = kept.select(good.fill_null(False).alias("keeps"))["keeps"]
            lost = kept.filter(~keeps)
            reasons[reason] = lost.height
            examples += [f"{reason}: {shown(row)}" for row in lost.select(show).head(EXAMPLES).iter_rows()]
            kept = kept.filter(keeps)
        self.steps.append(Step(name, table, frame.height, kept.height, 0, reasons, examples))
        return kept

    def change(
        self,
        name: str,
        table: str,
        rows: int,
        reasons: Mapping[str, int],
        examples: Sequence[str] = (),
    ) -> None:
        """Note a step that kept all ``rows`` and changed (or only found) some of them."""
        step = Step(name, table, rows, rows, sum(reasons.values()), dict(reasons), list(examples))
        self.steps.append(step)

    def facts(self) -> list[dict[str, Any]]:
        """The steps as JSON."""
        return [asdict(step) for step in self.steps]


def shown(row: Sequence[object]) -> str:
    """A row as one short line."""
    return " | ".join("" if value is None else str(value)[:_EXAMPLE_LENGTH] for value in row)


def preparation_markdown(facts: Sequence[Mapping[str, Any]]) -> str:
    """A table of the steps for people."""
    lines = ["| step | table | rows in | rows out | changed | why | examples |", "|---|---|--:|--:|--:|---|---|"]
    for step in facts:
        why = ", ".join(f"{reason} {count:,}" for reason, count in step["reasons"].items()) or "nothing to do"
        examples = "<br>".join(_cell(example) for example in step["examples"][:EXAMPLES])
        numbers = f"{step['rows_in']:,} | {step['rows_out']:,} | {step['changed']:,}"
        lines.append(f"| {step['name']} | {step['table']} | {numbers} | {_cell(why)} | {examples} |")
    return "\n".join(lines)


def require_most(name: str, before: int, after: int, share: float, remedy: str) -> None:
    """Raise :class:`BadInput` where a step left less than ``share`` of the rows: then the table is wrong, not dirty."""
    if before and after < share * before:
        raise BadInput(f"{name} would drop {before - after:,} of {before:,} rows", remedy)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
