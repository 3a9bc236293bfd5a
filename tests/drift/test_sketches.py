from hypothesis import given, settings
from hypothesis import strategies as some

from rankops.drift.sketches import Counts, kept_at, smallest

ROWS = some.dictionaries(
    some.text("abcdefgh", min_size=1, max_size=3),
    some.tuples(some.integers(1, 9), some.integers(1, 50), some.integers(50, 99)),
    max_size=60,
)


def build(rows: dict[str, tuple[int, int, int]], bound: int) -> Counts:
    return Counts.build(((key, *row) for key, row in rows.items()), bound)


def added(a: dict, b: dict) -> dict:
    total = dict(a)
    for key, (count, first, last) in b.items():
        was = total.get(key, (0, first, last))
        total[key] = (was[0] + count, min(was[1], first), max(was[2], last))
    return total


@given(ROWS, ROWS, some.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_a_merged_table_is_the_table_of_the_sum_also_when_it_is_sampled(a: dict, b: dict, bound: int) -> None:
    assert build(a, bound).merge(build(b, bound)) == build(added(a, b), bound)


@given(ROWS, ROWS, ROWS)
@settings(max_examples=100, deadline=None)
def test_merging_is_associative_and_commutative(a: dict, b: dict, c: dict) -> None:
    x, y, z = (build(rows, 8) for rows in (a, b, c))
    assert x.merge(y).merge(z) == x.merge(y.merge(z)) == z.merge(x).merge(y)


def test_a_table_never_exceeds_its_bound_and_estimates_how_many_keys_there_were() -> None:
    table = Counts.build(((f"word{i}", 1, 1, 1) for i in range(50_000)), 2_000)
    assert 0 < len(table.entries) <= 2_000
    assert abs(table.distinct - 50_000) < 50_000 * 4 * 1.2 / 2_000**0.5
    assert all(kept_at(key, table.level) for key in table.entries)


def test_a_table_that_fits_is_exact() -> None:
    table = Counts.build([("a", 3, 1, 2), ("b", 1, 2, 2)], 2)
    assert (table.level, table.entries) == (0, {"a": (3, 1, 2), "b": (1, 2, 2)})


def test_the_row_sample_of_a_union_comes_from_the_samples_of_its_parts() -> None:
    left, right = {f"l{i}" for i in range(500)}, {f"r{i}" for i in range(300)}
    parts = smallest(left, 50, "s") | smallest(right, 50, "s")
    assert smallest(parts, 50, "s") == smallest(left | right, 50, "s")
    assert smallest(left, 50, "s") != smallest(left, 50, "another seed")
