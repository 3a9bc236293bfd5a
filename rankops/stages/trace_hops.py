"""One step of a lineage, and whether it was proved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "failed", "absent", "note"]
"""``ok``: recomputed and equal. ``failed``: recomputed and different. ``absent``: there is nothing to recompute from.
``note``: said by something that was verified, but not itself a digest."""


@dataclass(frozen=True)
class Hop:
    """``what`` (``dataset``) is ``value``; ``detail`` is a sentence, ``children`` are what it was made of."""

    what: str
    value: str
    status: Status
    detail: str = ""
    children: tuple[Hop, ...] = ()

    def walk(self) -> Iterator[Hop]:
        """This hop and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def failures(self) -> list[Hop]:
        """Every failed hop, from the top down."""
        return [hop for hop in self.walk() if hop.status == "failed"]

    def as_json(self) -> dict[str, Any]:
        """The hop for machines."""
        shown: dict[str, Any] = {"what": self.what, "value": self.value, "status": self.status}
        if self.detail:
            shown["detail"] = self.detail
        if self.children:
            shown["made_of"] = [child.as_json() for child in self.children]
        return shown


def compared(what: str, value: str, found: str | None, *, by: str, children: tuple[Hop, ...] = ()) -> Hop:
    """A hop for a digest that ``by`` recomputed as ``found``."""
    if found == value:
        return Hop(what, value, "ok", f"recomputed from {by.rstrip(',')}", children)
    return Hop(what, value, "failed", f"{by} give {found or 'nothing'}", children)
