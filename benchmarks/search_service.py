"""``/search`` on this machine's cores: our server against services around the same weights, result cache off.

Each round measures every side once, in rotating order, while the others are paused: p50 with one client and with eight
(closed loop), the throughput that eight or sixteen clients reach, and the capacity, the largest rate of Poisson
arrivals with p99 <= 50 ms and no failure (open loop, coordinated-omission safe). Answers are compared too.

The load generator shares the cores with the server, ours and the peers' alike. BentoML and LitServe are given the
better of two set-ups each, chosen by throughput before the rounds. ``$RANKOPS_BENCH_LOCK`` names a lock file to hold
during each round, where a machine is shared.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, machine
from benchmarks.icecat_release import ROOT, served_shop
from benchmarks.peers.data import peer_data
from benchmarks.served import (
    Side,
    all_started,
    awake,
    bentoml_peers,
    capacity_of,
    fastapi_peer,
    litserve_peers,
    ours,
)
from rankops.compression.rungs import rungs_for
from rankops.compression.targets import detect_target
from rankops.load.capacity import Objective

_OBJECTIVE = Objective(50.0)
_GOAL = 8.0
_OVERLAP_GOAL = 0.95
_P50_GOAL = 5.0
_ROUNDS = int(os.environ.get("RANKOPS_BENCH_ROUNDS", "5"))
RUNG = os.environ.get("RANKOPS_BENCH_RUNG", "int8-smooth-blocks")
"""Of the ladder: the int8 whose answers are nearest to the weights'; the fastest swaps a tenth of the peer's top 10."""
_CLOSED_SECONDS = 2.0
Say = Callable[[str], None]


@dataclass
class Measured:
    """One side, a value a round."""

    capacity: list[float] = field(default_factory=list)
    interval: list[tuple[float, float | None]] = field(default_factory=list)
    throughput: list[float] = field(default_factory=list)
    p50_one: list[float] = field(default_factory=list)
    p50_eight: list[float] = field(default_factory=list)
    p99_one: list[float] = field(default_factory=list)
    at_capacity: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    def at_most(self) -> list[float]:
        """Its capacity a round, and where no rate met the objective the smallest that missed it: in its favour."""
        return [rate or float(bracket[1] or 0.0) for rate, bracket in zip(self.capacity, self.interval, strict=True)]

    def row(self) -> dict[str, Any]:
        """Medians over the rounds, and each round's value."""
        named = {
            "capacity (requests/s)": self.capacity,
            "closed-loop throughput (requests/s)": self.throughput,
            "p50, one client (ms)": self.p50_one,
            "p99, one client (ms)": self.p99_one,
            "p50, eight clients (ms)": self.p50_eight,
        }
        row: dict[str, Any] = {name: round(float(np.median(values)), 3) for name, values in named.items()}
        return {
            **row,
            "rounds": {name: [round(v, 3) for v in values] for name, values in named.items()},
            "brackets": self.interval,
            "at capacity": self.at_capacity,
            "requests": self.requests,
        }


def measure(progress: Say) -> Comparison:
    """Capacity at p99 <= 50 ms; ratio = ours / the FastAPI service's (or the smallest rate at which that missed it)."""
    shop = served_shop(progress, rung=next(rung for rung in rungs_for(detect_target()) if rung.name == RUNG))
    data = peer_data(shop, progress, cache=ROOT / ".rankops" / "cache" / "peers")
    first = [ours(shop), fastapi_peer(shop, data, progress)]
    with all_started(first, progress):
        overlap = answers_overlap(*first, shop.queries)
        progress(f"search_service: top-10 overlap with FastAPI {overlap[0]:.4f}, worst {overlap[1]:.2f}")
        others = [
            best_of(bentoml_peers(shop, data, progress), shop.queries, progress),
            best_of(litserve_peers(shop, data, progress), shop.queries, progress),
        ]
        with all_started(others, progress):
            sides = [*first, *others]
            taken = {side.name: Measured() for side in sides}
            for number in range(_ROUNDS):
                with quiet():
                    for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                        progress(f"search_service: round {number + 1} of {_ROUNDS}, {side.name}")
                        one_round(side, shop.queries, taken[side.name], number, progress)
            memory = {side.name: round(side.server.memory().resident) for side in sides if side.server}
    return comparison(sides, taken, overlap, memory)


def one_round(side: Side, queries: Sequence[str], into: Measured, number: int, say: Say) -> None:
    """Append one value of each measure."""
    with awake(side, queries) as generator:
        one, eight, sixteen = (generator.closed_loop(clients, _CLOSED_SECONDS) for clients in (1, 8, 16))
        into.p50_one.append(one.percentile_ms(50))
        into.p99_one.append(one.percentile_ms(99))
        into.p50_eight.append(eight.percentile_ms(50))
        into.throughput.append(max(eight.throughput, sixteen.throughput))
        found = capacity_of(generator, into.throughput[-1], _OBJECTIVE, number, say)
        into.capacity.append(found.rate)
        into.interval.append(found.interval)
        into.at_capacity.append(found.at_capacity.row() if found.at_capacity else {})
        into.requests += one.sent + eight.sent + sixteen.sent + sum(probe.result.sent for probe in found.probes)
        if failures := one.failures + eight.failures:
            raise RuntimeError(f"{side.name} failed requests of a closed loop: {dict(failures)}")


def best_of(sides: Sequence[Side], queries: Sequence[str], say: Say) -> Side:
    """The set-up with the largest closed-loop throughput; all are ended again."""
    reached = []
    for side in sides:
        with all_started([side], say), awake(side, queries, warm_up=1.0) as generator:
            result = generator.closed_loop(8, 3.0)
            reached.append(0.0 if result.failed else result.throughput)
        say(f"{side.name}: {reached[-1]:.0f} requests/s with eight clients")
    return sides[int(np.argmax(reached))]


def answers_overlap(side: Side, peer: Side, queries: Sequence[str], k: int = 10) -> tuple[float, float]:
    """Mean and smallest share of the peer's first ``k`` that ours has too, over the queries."""
    tops = []
    for one in (side, peer):
        one.go_on()
        tops.append([one.top(query)[:k] for query in queries])
        one.pause()
    shares = [len(set(a) & set(b)) / len(b) for a, b in zip(*tops, strict=True)]
    return float(np.mean(shares)), float(min(shares))


def ratio(ours_: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Median of ``ours_`` / median of ``theirs``, with a 95 % bootstrap interval over paired rounds."""
    mine, peer = np.asarray(ours_, dtype=float), np.maximum(np.asarray(theirs, dtype=float), 1e-9)
    draws = np.random.default_rng(seed).integers(0, len(mine), (2000, len(mine)))
    drawn = np.median(mine[draws], axis=1) / np.median(peer[draws], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(np.median(mine) / np.median(peer)), (float(low), float(high))


def comparison(
    sides: Sequence[Side], taken: dict[str, Measured], overlap: tuple[float, float], memory: dict[str, int]
) -> Comparison:
    """The record: the headline against FastAPI, everything else beside it."""
    mine, peer = taken[sides[0].name], taken[sides[1].name]
    value, interval = ratio(mine.capacity, peer.at_most())
    p50 = ratio(peer.p50_one, mine.p50_one)
    against_best = ratio(mine.capacity, peer.throughput)
    others = {
        side.name: {
            "capacity ratio": ratio(mine.capacity, taken[side.name].at_most()),
            "throughput ratio": ratio(mine.throughput, taken[side.name].throughput),
            "p50 ratio, one client": ratio(taken[side.name].p50_one, mine.p50_one),
        }
        for side in sides[2:]
    }
    not_slower = all(found["capacity ratio"][0] >= 1 and found["throughput ratio"][0] >= 1 for found in others.values())
    within = overlap[0] >= _OVERLAP_GOAL and p50[0] >= _P50_GOAL and not_slower
    return Comparison(
        name="search_service",
        what="/search over 19,406 products, 135 queries, no result cache: requests/s at p99 <= 50 ms (more is better)",
        ours=float(np.median(mine.capacity)),
        peer=float(np.median(peer.at_most())),
        ratio=value,
        interval=interval,
        n=mine.requests,
        unit="req/s",
        peer_version=sides[1].version,
        machine=machine(),
        goal=_GOAL,
        also={
            "p50 ratio, one client": p50,
            "p50 goal": _P50_GOAL,
            "capacity / FastAPI's closed-loop throughput": against_best,
            "closed-loop throughput ratio": ratio(mine.throughput, peer.throughput),
            "rounds where FastAPI met the objective at all": sum(rate > 0 for rate in peer.capacity),
            "top-10 overlap, mean and worst": overlap,
            "others": others,
            "rung": RUNG,
            "versions": {side.name: side.version for side in sides},
            "memory (MB resident)": memory,
            "sides": {name: one.row() for name, one in taken.items()},
            "within limits": within,
        },
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Hold ``$RANKOPS_BENCH_LOCK``, where it is set, so that two measurements do not meet."""
    path = os.environ.get("RANKOPS_BENCH_LOCK")
    if not path:
        yield
        return
    with Path(path).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
