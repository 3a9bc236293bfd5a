"""What the CPU says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankops.cpu import cpu_flags


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2\nvmx flags\t: ept\n\nprocessor\t: 1\nflags\t\t: fpu\n", {"fpu", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimddp i8mm\n", {"fp", "asimddp", "i8mm"}),
        ("processor\t: 0\n", set()),
    ],
)
def test_flags_are_those_of_the_first_core_on_x86_and_on_arm(tmp_path: Path, content: str, expected: set[str]) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(content)
    assert cpu_flags(cpuinfo) == expected


def test_where_nothing_is_told_there_are_no_flags(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "absent") == frozenset()
