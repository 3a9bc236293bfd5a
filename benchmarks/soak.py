"""Half an hour at 80 % of capacity with a hot swap every two minutes: no failure, no growth of memory.

``python -m benchmarks.soak [--minutes 30] [--rate R] [--share 0.8] [--swap-seconds 120]``. Two releases of the same
products take turns through the server's pin file; load is an open loop of Poisson arrivals, result cache off. It warms
up by the same load with twenty quick swaps, until the allocator has seen what a swap asks of it. Memory is what the
process has resident, averaged over each swap's cycle (a swap holds two releases for a moment), and its growth is the
slope of a straight line through the cycles after the first third, with a 95 % interval (Student's t).
``$RANKOPS_SOAK_MINUTES`` sets the length where ``make bench`` runs it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, machine, table, write
from benchmarks.icecat_release import ROOT, served_shop
from benchmarks.served import Side, awake, capacity_of, ours
from rankops.errors import BadInput
from rankops.files import combine_digests, write_json
from rankops.load.arrivals import arrivals
from rankops.load.capacity import Objective
from rankops.load.generator import Generator
from rankops.load.result import StageResult

_OBJECTIVE = Objective(50.0)
_SEGMENT = 60.0
_WARM_SWAPS, _WARM_SECONDS = 20, 4.0  # quick ones before the clock starts; an even number
_WARM_SHARE = 1 / 3  # of the time: what the allocator keeps has settled by then
_GROWTH = 0.01  # of the memory in an hour: less is called none
Say = Callable[[str], None]


@dataclass(frozen=True)
class Swapped:
    """A release that takes turns."""

    folder: Path
    digest: str


@dataclass
class SoakReport:
    """What a soak found. ``memory`` are (seconds, MB resident) about once a second, ``swaps`` seconds of pin writes."""

    rate: float
    seconds: float
    result: StageResult
    minutes: list[dict[str, Any]] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    swaps: list[float] = field(default_factory=list)

    def cycles(self) -> list[tuple[float, float]]:
        """(middle in seconds, mean MB) of each whole time between two swaps after the first third."""
        edges = [at for at in self.swaps if at >= self.seconds * _WARM_SHARE]
        if len(edges) < 4:  # too few swaps: equal parts of the second half
            edges = np.linspace(self.seconds / 2, self.seconds, 6).tolist()
        taken = np.asarray(self.memory)
        found = []
        for begin, end in itertools.pairwise(edges):
            inside = taken[(taken[:, 0] >= begin) & (taken[:, 0] < end), 1]
            if len(inside):
                found.append(((begin + end) / 2, float(inside.mean())))
        return found

    def growth(self) -> tuple[float, tuple[float, float]]:
        """MB an hour, with a 95 % interval; see :func:`slope`."""
        cycles = self.cycles()
        value, (low, high) = slope([c[0] for c in cycles], [c[1] for c in cycles])
        return value * 3600, (low * 3600, high * 3600)

    def grows(self) -> bool:
        """Whether growth is proven and matters: the whole interval above zero, and 1 % of the memory an hour."""
        value, (low, _) = self.growth()
        return low > 0 and value > _GROWTH * float(np.mean([mb for _, mb in self.memory]))


def slope(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Least squares slope of ``y`` over ``x``, interval by Student's t; (0, everything) for under three points."""
    from scipy import stats

    if len(x) < 3:
        return 0.0, (-np.inf, np.inf)
    line = stats.linregress(x, y)
    around = float(stats.t.ppf((1 + confidence) / 2, len(x) - 2) * line.stderr)
    return float(line.slope), (float(line.slope) - around, float(line.slope) + around)


def second_release(release: Path, private_key: Path, folder: Path) -> Swapped:
    """The same release with one golden answer less: another digest, the same answers. Made once."""
    from rankops.release.golden import read_golden
    from rankops.release.manifest import SIGNATURE, STORE_MARKER, payload_digests, read_manifest
    from rankops.release.signing import sign

    if not folder.is_dir():
        scratch = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(release, scratch, ignore=shutil.ignore_patterns(SIGNATURE, STORE_MARKER))
        golden = read_golden(scratch)
        type(golden)(requests=golden.requests[:-1], inference=golden.inference).write(scratch)
        files = payload_digests(scratch)
        read_manifest(scratch).model_copy(update={"files": files, "digest": combine_digests(files)}).write(scratch)
        sign(scratch, private_key)
        scratch.rename(folder)
    return Swapped(folder, read_manifest(folder).digest)


class Soak:
    """Load in segments of a minute on one generator, with memory samples and swaps on the way."""

    def __init__(self, side: Side, pin: Path, releases: Sequence[Swapped], swap_seconds: float, say: Say) -> None:
        self._side, self._pin, self._releases, self._every, self._say = side, pin, releases, swap_seconds, say
        self._begun = 0.0
        self._sampled = -1.0

    def run(self, generator: Generator, rate: float, seconds: float, record: Path | None = None) -> SoakReport:
        """Hold ``rate`` for ``seconds``."""
        report = SoakReport(rate, seconds, StageResult(rate))
        self._begun = time.perf_counter()
        number = 0
        while (left := seconds - (time.perf_counter() - self._begun)) > 0.05:
            length = min(_SEGMENT, left)
            offsets = arrivals("poisson", rate, length, seed=number)
            result = generator.open_loop(offsets, rate=rate, tick=lambda _: self._tick(report))
            report.result.merge(result)
            report.minutes.append(result.row())
            number += 1
            if record is not None:
                write_json(record, {"minutes": report.minutes, "memory": report.memory, "swaps": report.swaps})
            self._tell(report, result)
        return report

    def _tell(self, report: SoakReport, result: StageResult) -> None:
        row = result.row()
        self._say(
            f"soak: {time.perf_counter() - self._begun:.0f} s, p50 {row['p50']} p99 {row['p99']} p99.9 {row['p99.9']}, "
            f"{report.result.failed} failures, {len(report.swaps)} swaps, {report.memory[-1][1]:.0f} MB"
        )

    def _tick(self, report: SoakReport) -> None:
        now = time.perf_counter() - self._begun
        if now - self._sampled >= min(1.0, report.seconds / 50):
            self._sampled = now
            assert self._side.server is not None
            report.memory.append((round(now, 2), round(self._side.server.memory().resident, 2)))
        if now >= (len(report.swaps) + 1) * self._every:
            report.swaps.append(round(now, 2))
            write_pin(self._pin, self._releases[len(report.swaps) % len(self._releases)])


def write_pin(pin: Path, release: Swapped) -> None:
    """Name the release that is to be served (whole or not at all)."""
    write_json(pin, {"digest": release.digest, "release": str(release.folder)})


def unanswered(report: SoakReport, releases: Sequence[Swapped]) -> list[str]:
    """Releases that no answer came from."""
    labels = Counter(report.result.labels)
    return [release.digest[:12] for release in releases if not labels[release.digest]]


def verdict(report: SoakReport, releases: Sequence[Swapped]) -> list[str]:
    """What went wrong; empty when nothing did."""
    wrong = [f"{count} x {kind}" for kind, count in report.result.failures.items()]
    if report.swaps and (missing := unanswered(report, releases)):
        wrong.append(f"no answer came from {', '.join(missing)}")
    if strangers := set(report.result.labels) - {release.digest for release in releases}:
        wrong.append(f"answers of {', '.join(sorted(strangers))}")
    if report.grows():
        value, (low, high) = report.growth()
        wrong.append(f"memory grows by {value:.1f} [{low:.1f}, {high:.1f}] MB/h")
    return wrong


def soak(
    say: Say, *, minutes: float, rate: float | None = None, share: float = 0.8, swap_seconds: float = 120.0
) -> Comparison:
    """Find the capacity where no rate is given, then hold ``share`` of it."""
    shop = served_shop(say)
    folder = ROOT / ".rankops" / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    # beside the first one and the key that signed it: one made with another key would be refused at every swap
    other = second_release(shop.release, shop.private_key, shop.release.with_name(f"second-{shop.digest[:16]}"))
    releases = [Swapped(shop.release, shop.digest), other]
    pin = folder / "pin.json"
    write_pin(pin, releases[0])
    side = pinned(ours(shop), pin)
    side.start(say)
    assert side.server is not None
    try:
        with awake(side, shop.queries, warm_up=3.0) as generator:
            found = None
            if rate is None:
                ceiling = generator.closed_loop(16, 4.0).throughput
                found = capacity_of(generator, ceiling, _OBJECTIVE, 1, say)
                rate = share * found.rate
            say(f"soak: {_WARM_SWAPS} quick swaps to warm up")
            warming = Soak(side, pin, releases, _WARM_SECONDS, say)
            warm = warming.run(generator, rate, (_WARM_SWAPS + 0.5) * _WARM_SECONDS)
            if missing := unanswered(warm, releases):
                raise BadInput(f"no answer came from {', '.join(missing)}", "read why the server refused the swap")
            say(f"soak: {rate:.0f} requests/s for {minutes:g} minutes, a swap every {swap_seconds:g} s")
            report = Soak(side, pin, releases, swap_seconds, say).run(
                generator, rate, minutes * 60, folder / "progress.json"
            )
    finally:
        side.server.stop()
    return comparison(report, releases, found.rate if found else None)


def pinned(side: Side, pin: Path) -> Side:
    """The same server told by a pin what to serve, looked at every second."""
    kept = list(side.command)
    for name in ("--release", "--digest"):
        at = kept.index(name)
        del kept[at : at + 2]
    side.command = [*kept, "--pin", str(pin), "--pin-seconds", "1"]
    return side


def comparison(report: SoakReport, releases: Sequence[Swapped], capacity: float | None) -> Comparison:
    """Memory of the first cycles after warm-up over that of the last (1: no growth); everything else beside it."""
    means = [mb for _, mb in report.cycles()]
    third = max(1, len(means) // 3)
    before, after = float(np.mean(means[:third])), float(np.mean(means[-third:]))
    value, (low, high) = report.growth()
    span = (report.cycles()[-1][0] - report.cycles()[0][0]) / 3600
    wrong = verdict(report, releases)
    summary = report.result.latency.summary_ms()
    return Comparison(
        name="soak",
        what=f"{report.seconds / 60:g} minutes at {report.rate:.0f} requests/s with {len(report.swaps)} hot swaps: "
        "MB resident after warm-up / at the end",
        ours=after,
        peer=before,
        ratio=before / after,
        interval=(before / (before + max(high, 0) * span + 1e-9), before / max(before + min(low, 0) * span, 1e-9)),
        n=report.result.sent,
        unit="MB",
        peer_version="the same process, earlier",
        machine=machine(),
        goal=0.98,
        also={
            "latency (ms)": summary,
            "failures": dict(report.result.failures),
            "reconnects": report.result.reconnects,
            "answers by release": dict(report.result.labels),
            "memory slope (MB/h)": [value, low, high],
            "capacity before (requests/s)": capacity,
            "rate": report.rate,
            "swaps": report.swaps,
            "minutes": report.minutes,
            "cycles (s, MB)": report.cycles(),
            "generator late, p99.9 (ms)": round(1e3 * report.result.lag.percentile(99.9), 3),
            "wrong": wrong,
            "within limits": not wrong,
        },
    )


def measure(progress: Say) -> Comparison:
    """Half an hour, or ``$RANKOPS_SOAK_MINUTES``."""
    return soak(progress, minutes=float(os.environ.get("RANKOPS_SOAK_MINUTES", "30")))


def main(arguments: list[str] | None = None) -> int:
    """Soak by hand; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, help="requests/s instead of a share of the capacity")
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity that is measured first")
    parser.add_argument("--swap-seconds", type=float, default=120.0)
    options = parser.parse_args(arguments)
    result = soak(
        lambda line: print(line, file=sys.stderr, flush=True),
        minutes=options.minutes,
        rate=options.rate,
        share=options.share,
        swap_seconds=options.swap_seconds,
    )
    print(f"wrote {write(result)}", file=sys.stderr)
    print(table([result]))
    print(json.dumps({k: v for k, v in result.also.items() if k != "minutes"}, indent=1, default=asdict))
    return int(not result.also["within limits"])


if __name__ == "__main__":
    sys.exit(main())
