"""The benchmark harness: fair order, an honest ratio, and the fields that are promised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import names
from benchmarks.harness import compare, interleave, ratio_of_medians, table, timed, write

FIELDS = {"name", "what", "ours", "peer", "ratio", "interval", "n", "unit", "peer_version", "machine"}


def test_sides_take_turns_and_the_first_one_changes() -> None:
    order: list[str] = []

    def side(name: str):
        return lambda: order.append(name) or [1.0, 2.0]

    taken = interleave({name: side(name) for name in "ab"}, rounds=3)
    assert "".join(order) == "abbaab"
    assert taken["a"].shape == (3, 2)


def test_the_ratio_is_peer_over_ours_and_its_interval_holds_it() -> None:
    generator = np.random.default_rng(1)
    ours = generator.normal(1.0, 0.1, (5, 100))
    ratio, (low, high) = ratio_of_medians(ours, generator.normal(6.0, 0.1, (5, 100)))
    assert low < ratio < high
    assert ratio == pytest.approx(6.0, rel=0.05)
    assert ratio_of_medians(ours, ours) == (1.0, (1.0, 1.0))


def test_a_comparison_is_written_with_every_field_and_shown_in_one_line(tmp_path: Path) -> None:
    result = compare(
        "toy", "two constants", ours=lambda: [1.0, 1.0], peers={"slow": lambda: [3.0, 3.0], "slower": lambda: [9.0, 9.0]},
        peer_version="toy 1.0", rounds=2, goal=2.0,
    )  # fmt: skip
    stored = json.loads(write(result, tmp_path).read_text())
    assert set(stored) >= FIELDS
    assert (stored["ratio"], stored["interval"], stored["n"]) == (3.0, [3.0, 3.0], 4)
    assert stored["also"]["slower"]["ratio"] == 9.0
    assert "toy 1.0" in table([result]).split("\n")[-1]


def test_a_timed_block_warms_up_and_measures_each_item() -> None:
    seen: list[int] = []
    taken = timed(seen.append, [1, 2, 3, 4], warm_up=2)()
    assert seen == [1, 2, 1, 2, 3, 4]
    assert len(taken) == 4 and min(taken) >= 0


def test_query_encoding_is_among_the_benchmarks() -> None:
    assert "query_encoding" in names()
    assert "harness" not in names()
