"""Names beside the marks of a plot, so that none lies on another or on a mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_GAP = 6.0
_LINE_COST, _SHIFT_COST, _LEFT_COST = 40.0, 6.0, 2.0
"""Pixels that a name may be further away rather than lie on a line, above or below its mark, or left of it."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, by its edges."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def meets(self, other: Box) -> bool:
        """Whether they share a point."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def holds(self, other: Box) -> bool:
        """Whether all of the other lies in this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of this box that is nearest to another."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


def place_names(
    marks: Sequence[Box], sizes: Sequence[tuple[float, float]], bounds: Box, lines: Sequence[Box] = ()
) -> list[Box]:
    """A box of each size (width, height) for each mark, inside ``bounds``, on no mark and no other box.

    Boxes lie as near to their marks as they can, right or left of them, or shifted up and down from there, and on
    ``lines`` only where anywhere else is far. Marks choose from the right to the left, because names lie to the right.
    Where there is no room at all a box lies on others.
    """
    placed: dict[int, Box] = {}
    for number in sorted(range(len(marks)), key=lambda n: (-marks[n].right, marks[n].bottom)):
        options = [box for box in _options(marks[number], sizes[number], bounds) if bounds.holds(box)]
        taken = [*marks, *placed.values()]
        free = [box for box in options if not any(box.meets(other) for other in taken)]
        first = next(_options(marks[number], sizes[number], bounds))
        placed[number] = min(free, key=lambda box: _cost(box, marks[number], lines), default=first)
    return [placed[number] for number in range(len(marks))]


def _options(mark: Box, size: tuple[float, float], bounds: Box) -> Iterator[Box]:
    """Where a name may lie: first beside its mark, then in steps of a third of its height up and down."""
    width, height = size
    _, middle = mark.middle
    steps = int(3 * (bounds.top - bounds.bottom) / height)
    for shift in sorted(range(-steps, steps + 1), key=abs):
        bottom = middle - height / 2 + shift * height / 3
        for left in (mark.right + _GAP, mark.left - _GAP - width, mark.left):
            yield Box(left, bottom, left + width, bottom + height)


def _cost(box: Box, mark: Box, lines: Sequence[Box]) -> float:
    x, y = mark.middle
    near_x, near_y = box.nearest(x, y)
    crossed = sum(box.meets(line) for line in lines)
    unusual = _LEFT_COST * (box.right < x) + _SHIFT_COST * (not box.bottom < y < box.top)
    return float(((near_x - x) ** 2 + (near_y - y) ** 2) ** 0.5) + unusual + _LINE_COST * crossed
