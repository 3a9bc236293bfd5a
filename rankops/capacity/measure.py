"""The real server process on a bundle, under load: queries a second at the latency objective."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rankops
from rankops.capacity.observed import observed
from rankops.errors import RankopsError
from rankops.load.arrivals import arrivals
from rankops.load.capacity import Capacity, Objective, Probe, find_capacity
from rankops.load.generator import Generator
from rankops.load.http import Target
from rankops.load.process import Memory, Server, busy_cores_seconds
from rankops.load.result import StageResult
from rankops.release.capacity import ReleaseCapacity
from rankops.release.golden import read_golden
from rankops.release.manifest import ReleaseManifest, read_manifest

Progress = Callable[[str], None]
_CLIENTS = 16
_RESOLUTION = 0.08
_READY_TIMEOUT = 60.0


@dataclass(frozen=True)
class Plan:
    """How long is measured, on how many cores, and with which settings of the server beside its defaults.

    The result cache is off: the golden queries are asked over and over, and would all be in it.
    """

    objective_ms: float
    seconds: float = 12.0
    cores: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def stage_seconds(self) -> float:
        """Of one rate."""
        return max(0.3, self.seconds * 0.07)


@dataclass(frozen=True)
class Load:
    """What one server did under load."""

    one_client: StageResult
    found: Capacity
    cores_used: float
    others_cores: float
    memory: Memory
    ready_seconds: float
    metrics: str


def measure_release(
    folder: Path, public_key: Path, plan: Plan, *, machine: str, progress: Progress = lambda _: None
) -> ReleaseCapacity:
    """Start ``python -m rankops.serving`` on a signed bundle and find its capacity.

    The server is pinned to ``plan.cores`` cores and the generator to the others, where there are any. A server that
    cannot be measured gives a result with ``reason``, not an exception: capacity is advice and gates nothing.
    """
    begun, manifest = time.monotonic(), read_manifest(folder)
    shared = len(os.sched_getaffinity(0)) <= plan.cores if hasattr(os, "sched_getaffinity") else True
    base = ReleaseCapacity(
        objective_ms=plan.objective_ms,
        target=manifest.target,
        cores=plan.cores,
        shared_cores=shared,
        settings=dict(plan.settings),
        machine=machine,
    )
    try:
        load = load_release(folder, public_key, plan, progress)
    except (RankopsError, OSError) as error:
        reason = error.problem if isinstance(error, RankopsError) else str(error)
        return base.model_copy(update={"reason": reason, "seconds": round(time.monotonic() - begun, 1)})
    return base.model_copy(update={**_told(load, plan), "seconds": round(time.monotonic() - begun, 1)})


def load_release(folder: Path, public_key: Path, plan: Plan, progress: Progress = lambda _: None) -> Load:
    """The same, with everything that was seen; raises :class:`RankopsError` where the server does not come up."""
    manifest = read_manifest(folder)
    with (
        tempfile.TemporaryDirectory(prefix="rankops-capacity-") as scratch,
        side_by_side(plan.cores) as (theirs, mine),
        Server(
            server_command(manifest, folder, public_key, plan.settings),
            log=Path(scratch) / "server.log",
            env={"PYTHONPATH": str(Path(rankops.__file__).resolve().parents[1])},
            cores=theirs,
        ) as server,
        mine,
    ):
        ready = server.wait_ready(timeout=_READY_TIMEOUT)
        target = Target.parse(server.url)
        asked = [target.post(entry.path, entry.request) for entry in read_golden(folder).requests]
        with Generator(target, asked) as generator:
            return _Run(server, generator, plan, progress).all(ready)


def server_command(manifest: ReleaseManifest, folder: Path, public_key: Path, settings: Mapping[str, Any]) -> list[str]:
    """The server's command line; ``{port}`` stands for its port."""
    from rankops.serving.config import ServerConfig

    known = ServerConfig.model_fields
    given: dict[str, Any] = {"release": folder, "public_key": public_key, "digest": manifest.digest}
    given |= {"cache_entries": 0} if "cache_entries" in known else {}
    given |= dict(settings)
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "rankops.serving", "--port", "{port}", *words]


class _Run:
    """The stages of one measurement."""

    def __init__(self, server: Server, generator: Generator, plan: Plan, progress: Progress) -> None:
        self._server, self._generator, self._plan, self._progress = server, generator, plan, progress
        self._deadline = time.monotonic() + 0.8 * plan.seconds
        self._used: dict[float, list[tuple[float, float]]] = {}

    def all(self, ready: float) -> Load:
        """Closed loops for the latency without a queue and the ceiling, then the search."""
        stage = self._plan.stage_seconds()
        self._generator.closed_loop(2, stage / 2)  # warm: arenas, threads, connections
        one = self._generator.closed_loop(1, stage)
        ceiling = self._generator.closed_loop(_CLIENTS, 1.5 * stage)
        if not ceiling.answered:
            raise RankopsError(f"the server answered none of {ceiling.sent} requests: {dict(ceiling.failures)}")
        self._progress(f"capacity: {ceiling.throughput:,.0f} queries/s with {_CLIENTS} clients")
        objective = Objective(self._plan.objective_ms)
        if 1e3 * one.latency.minimum > objective.ms:  # no request meets it: no rate does
            found = Capacity(objective, ceiling.throughput)
            found.probes.append(Probe(one.throughput, one, objective.refusal(one)))
            return Load(one, found, 0.0, 0.0, self._server.memory(), ready, "")
        found = find_capacity(
            self._stage,
            objective,
            ceiling.throughput,
            resolution=_RESOLUTION,
            confirm=3,
            spent=lambda: time.monotonic() > self._deadline,
            progress=self._progress,
        )
        used = self._used.get(found.rate, [(0.0, 0.0)])
        cores, others = (sum(values) / len(used) for values in zip(*used, strict=True))
        metrics = self._server.get("/metrics") or ""
        return Load(one, found, cores, others, self._server.memory(), ready, metrics)

    def _stage(self, rate: float, seed: int) -> StageResult:
        cpu, busy, begun = self._server.cpu_seconds(), busy_cores_seconds(), time.monotonic()
        result = self._generator.open_loop(arrivals("poisson", rate, self._plan.stage_seconds(), seed), rate=rate)
        taken = time.monotonic() - begun
        ours = self._server.cpu_seconds() - cpu
        others = busy_cores_seconds() - busy - ours - result.generator_cpu_seconds
        self._used.setdefault(rate, []).append((ours / taken, max(0.0, others / taken)))
        return result


def _told(load: Load, plan: Plan) -> dict[str, Any]:
    """The fields of a :class:`ReleaseCapacity`."""
    found = load.found
    told: dict[str, Any] = {
        "queries_per_second": round(found.rate, 1),
        "interval": (round(found.interval[0], 1), found.interval[1] and round(found.interval[1], 1)),
        "per_core": round(found.rate / plan.cores, 1),
        "p50_one_client_ms": round(load.one_client.percentile_ms(50), 3),
        "memory_mb": round(load.memory.resident, 1),
        "memory_peak_mb": round(load.memory.peak, 1),
        "memory_private_mb": round(load.memory.private, 1),
        "ready_seconds": round(load.ready_seconds, 2),
        "requests": load.one_client.sent + sum(probe.result.sent for probe in found.probes),
        "observed": observed(load.metrics),
        "stages": [
            {"rate": round(p.rate, 1), "p99_ms": round(p.result.percentile_ms(99), 3), "missed": p.refusal}
            for p in found.probes
        ],
    }
    if (best := found.at_capacity) is None:
        last = next((probe.refusal for probe in reversed(found.probes) if probe.refusal), "nothing was answered")
        return {**told, "reason": last}
    return {
        **told,
        "cores_used": round(load.cores_used, 3),
        "others_cores": round(load.others_cores, 2),
        "cpu_ms_per_query": round(1e3 * load.cores_used / found.rate, 3),
        **{f"p{percent}_ms": round(best.percentile_ms(percent), 3) for percent in (50, 95, 99)},
        "send_lag_p99_ms": round(1e3 * best.lag.percentile(99), 3),
    }


@contextmanager
def side_by_side(count: int) -> Iterator[tuple[Sequence[int] | None, Any]]:
    """``count`` cores for the server and a context in which this thread runs on the others; None where it cannot be."""
    if not hasattr(os, "sched_getaffinity"):
        yield None, _on(None)
        return
    every = sorted(os.sched_getaffinity(0))
    others = every[count:]
    yield every[:count], _on(others or None)


@contextmanager
def _on(cores: Sequence[int] | None) -> Iterator[None]:
    """This thread on these cores for a while."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
