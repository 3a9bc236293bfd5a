"""Interleaved rounds of ours and its peers in one process, and what is written about them.

Both sides of a ratio meet the same machine in the same minute: each round runs one block of every side, in rotating
order. The ratio is peer / ours, so above 1 means that ours takes less.
"""

from __future__ import annotations

import gc
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rankops.compression.targets import available_cores, cpu_name
from rankops.files import write_json

Block = Callable[[], Sequence[float]]
"""Runs one side once over all items and returns one measurement per item, smaller is better."""

DEFAULT_FOLDER = Path(".rankops/bench")


@dataclass(frozen=True)
class Comparison:
    """What a benchmark found. ``ours`` and ``peer`` are medians in ``unit``, ``interval`` the ratio's 95 % interval."""

    name: str
    what: str
    ours: float
    peer: float
    ratio: float
    interval: tuple[float, float]
    n: int
    unit: str
    peer_version: str
    machine: str
    goal: float | None = None
    also: dict[str, Any] = field(default_factory=dict)


def timed(call: Callable[[Any], object], items: Sequence[Any], *, warm_up: int = 3) -> Block:
    """A block that calls ``call`` with each item and measures milliseconds; the first few items also warm it up."""

    def block() -> list[float]:
        for item in items[:warm_up]:
            call(item)
        taken = []
        for item in items:
            start = time.perf_counter()
            call(item)
            taken.append((time.perf_counter() - start) * 1e3)
        return taken

    return block


def interleave(sides: Mapping[str, Block], rounds: int) -> dict[str, np.ndarray]:
    """``(rounds, items)`` measurements per side, sides in rotating order, garbage collection off."""
    names = list(sides)
    taken: dict[str, list[Sequence[float]]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                taken[name].append(sides[name]())
    finally:
        gc.enable()
    return {name: np.asarray(blocks, dtype=float) for name, blocks in taken.items()}


def ratio_of_medians(
    ours: np.ndarray, peer: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Median of ``peer`` / median of ``ours``, both ``(rounds, items)``, with a 95 % bootstrap interval.

    Rounds and items are both drawn with replacement, the same ones for both sides: they share the machine's noise.
    """
    generator = np.random.default_rng(seed)
    rounds, items = ours.shape
    ratios = np.empty(resamples)
    for index in range(resamples):
        draw = np.ix_(generator.integers(0, rounds, rounds), generator.integers(0, items, items))
        ratios[index] = np.median(peer[draw]) / np.median(ours[draw])
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(peer) / np.median(ours)), (float(low), float(high))


def compare(
    name: str,
    what: str,
    *,
    ours: Block,
    peers: Mapping[str, Block],
    peer_version: str,
    unit: str = "ms",
    rounds: int = 5,
    goal: float | None = None,
    also: Mapping[str, Any] | None = None,
) -> Comparison:
    """Measure ``ours`` against the first of ``peers``; the others are reported under ``also``."""
    taken = interleave({"": ours, **peers}, rounds)
    mine = taken.pop("")
    first, *others = peers
    ratio, interval = ratio_of_medians(mine, taken[first])
    beside: dict[str, Any] = {"p95": float(np.percentile(mine, 95)), "peer p95": float(np.percentile(taken[first], 95))}
    for other in others:
        value, around = ratio_of_medians(mine, taken[other])
        beside[other] = {"median": float(np.median(taken[other])), "ratio": value, "interval": around}
    return Comparison(
        name=name,
        what=what,
        ours=float(np.median(mine)),
        peer=float(np.median(taken[first])),
        ratio=ratio,
        interval=interval,
        n=int(mine.size),
        unit=unit,
        peer_version=peer_version,
        machine=machine(),
        goal=goal,
        also={**(also or {}), **beside},
    )


def machine() -> str:
    """CPU, cores and Python, for people reading the numbers."""
    return f"{cpu_name()}, {available_cores()} cores, Python {platform.python_version()}"


def write(result: Comparison, folder: Path = DEFAULT_FOLDER) -> Path:
    """Write ``<folder>/<name>.json`` and return its path."""
    path = folder / f"{result.name}.json"
    write_json(path, json.loads(json.dumps(asdict(result))))
    return path


def table(results: Sequence[Comparison]) -> str:
    """One line per benchmark, for a terminal."""
    head = (
        f"{'benchmark':<18} {'ours':>9} {'peer':>9} {'unit':<6} {'ratio':>6}  {'95 % interval':<15} {'goal':>5}  peer"
    )
    lines = [head, "-" * len(head)]
    for r in results:
        goal = "" if r.goal is None else f"{r.goal:g}"
        around = f"{r.interval[0]:.2f} to {r.interval[1]:.2f}"
        lines.append(
            f"{r.name:<18} {r.ours:>9.3f} {r.peer:>9.3f} {r.unit:<6} {r.ratio:>6.2f}  {around:<15} {goal:>5}  "
            f"{r.peer_version}"
        )
    return "\n".join(lines)
