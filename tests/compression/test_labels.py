"""Names beside marks: near, inside, and on nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.compression.labels import Box, place_names

BOUNDS = Box(0, 0, 800, 300)
NAME = (80.0, 13.0)


def mark(x: float, y: float) -> Box:
    return Box(x - 6, y - 6, x + 6, y + 6)


def test_a_mark_alone_has_its_name_beside_it_and_one_at_the_edge_on_the_other_side() -> None:
    (beside,) = place_names([mark(100, 150)], [NAME], BOUNDS)
    assert beside.left > 106 and abs(beside.middle[1] - 150) < 1
    (other,) = place_names([mark(790, 150)], [NAME], BOUNDS)
    assert other.right < 784 and abs(other.middle[1] - 150) < 1


def test_a_name_keeps_off_a_line_where_that_is_near() -> None:
    line = Box(120, 140, 122, 160)
    (name,) = place_names([mark(100, 150)], [NAME], BOUNDS, [line])
    assert not name.meets(line)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(20, 780), st.floats(20, 280)), min_size=1, max_size=12))
def test_names_lie_on_no_mark_and_no_other_name(points: list[tuple[float, float]]) -> None:
    marks = [mark(*point) for point in points]
    names = place_names(marks, [NAME] * len(marks), BOUNDS)
    for number, name in enumerate(names):
        assert BOUNDS.holds(name)
        assert not any(name.meets(other) for other in [*marks, *names[:number]])


def test_a_dozen_marks_in_one_place_have_a_dozen_names() -> None:
    names = place_names([mark(100, 150)] * 12, [NAME] * 12, BOUNDS)
    assert not any(a.meets(b) for number, a in enumerate(names) for b in names[:number])


def test_where_there_is_no_room_a_name_is_still_placed() -> None:
    assert len(place_names([mark(10, 10)] * 2, [NAME] * 2, Box(0, 0, 20, 20))) == 2
