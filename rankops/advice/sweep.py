"""The load test with one setting changed, interleaved with the default one: measured gains with an interval."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rankops
from rankops.advice.facts import Variant
from rankops.capacity.measure import Plan, server_command, side_by_side
from rankops.load.generator import Generator
from rankops.load.http import Target
from rankops.load.process import Server
from rankops.release.golden import read_golden
from rankops.release.manifest import read_manifest

Progress = Callable[[str], None]
_CLIENTS = 16


@dataclass(frozen=True)
class Change:
    """One setting of the server and another value for it."""

    setting: str
    value: Any


CHANGES = (
    Change("threads", 1),
    Change("threads", 3),
    Change("threads", 4),
    Change("batch_wait_ms", 2),
    Change("batch_wait_ms", 4),
    Change("max_search_batch", 1),
    Change("max_search_batch", 16),
)
"""What a sweep tries, where the server knows the setting."""


@dataclass(frozen=True)
class Taken:
    """One side: throughput and p99 a round."""

    throughput: list[float]
    p99_ms: list[float]


def sweep(
    folder: Path,
    public_key: Path,
    plan: Plan,
    *,
    changes: Sequence[Change] = CHANGES,
    rounds: int = 5,
    progress: Progress = lambda _: None,
) -> tuple[Variant, ...]:
    """Each change against the default settings: all servers run side by side, paused while another is measured.

    A round asks each with 16 clients (closed loop) for its share of ``plan.seconds``; the gain is the ratio of the
    medians with a 95 % bootstrap interval over rounds. Changes that the server does not know, or that are its default
    already, are left out.
    """
    from rankops.serving.config import ServerConfig

    fields = ServerConfig.model_fields
    tried = [c for c in changes if c.setting in fields and c.value != default_of(plan, c.setting)]
    manifest, each = read_manifest(folder), plan.seconds / rounds / (len(tried) + 1)
    taken = {change: Taken([], []) for change in (None, *tried)}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rankops-sweep-")))
        theirs, mine = stack.enter_context(side_by_side(plan.cores))
        servers: dict[Change | None, Server] = {}
        for number, change in enumerate(taken):
            changed = {} if change is None else {change.setting: change.value}
            server = Server(
                server_command(manifest, folder, public_key, {**plan.settings, **changed}),
                log=scratch / f"{number}.log",
                env={"PYTHONPATH": str(Path(rankops.__file__).resolve().parents[1])},
                cores=theirs,
            )
            stack.enter_context(server)
            server.wait_ready()
            server.pause()
            servers[change] = server
        stack.enter_context(mine)
        order = list(taken)
        for number in range(rounds):
            progress(f"advice: round {number + 1} of {rounds}, {len(tried)} changed settings against the default")
            for change in order[number % len(order) :] + order[: number % len(order)]:
                _measure(servers[change], folder, each, taken[change])
    return tuple(variant(change, taken[change], taken[None], plan, rounds) for change in tried)


def default_of(plan: Plan, setting: str) -> Any:
    """The value that a setting has without the change."""
    from rankops.serving.config import ServerConfig

    return plan.settings.get(setting, ServerConfig.model_fields[setting].default)


def variant(change: Change, theirs: Taken, default: Taken, plan: Plan, rounds: int) -> Variant:
    """The measured gain of one change."""
    gain, interval = gain_of(theirs.throughput, default.throughput)
    p99 = float(np.median(theirs.p99_ms))
    return Variant(
        setting=change.setting,
        value=change.value,
        default=default_of(plan, change.setting),
        gain=gain,
        interval=interval,
        p99_ms=p99,
        default_p99_ms=float(np.median(default.p99_ms)),
        rounds=rounds,
        meets_objective=p99 <= max(plan.objective_ms, float(np.median(default.p99_ms))),
    )


def gain_of(theirs: Sequence[float], default: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Median ratio of paired rounds minus 1, with a 95 % bootstrap interval over rounds."""
    ratios = np.asarray(theirs, dtype=float) / np.maximum(np.asarray(default, dtype=float), 1e-9) - 1
    draws = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), (float(low), float(high))


def _measure(server: Server, folder: Path, seconds: float, taken: Taken) -> None:
    target = Target.parse(server.url)
    asked = [target.post(entry.path, entry.request) for entry in read_golden(folder).requests]
    server.resume()
    try:
        with Generator(target, asked) as generator:
            result = generator.closed_loop(_CLIENTS, seconds, warm_up=min(0.3, seconds / 3))
    finally:
        server.pause()
    taken.throughput.append(0.0 if result.failed else result.throughput)
    taken.p99_ms.append(result.percentile_ms(99))


def as_rows(variants: Sequence[Variant]) -> list[Mapping[str, Any]]:
    """Every change that was tried, also those without a gain."""
    return [
        {
            "setting": f"{v.setting} {v.value}",
            "default": v.default,
            "gain (%)": round(100 * v.gain, 1),
            "interval (%)": f"{100 * v.interval[0]:+.1f} to {100 * v.interval[1]:+.1f}",
            "p99 (ms)": round(v.p99_ms, 1),
            "p99 of the default (ms)": round(v.default_p99_ms, 1),
        }
        for v in variants
    ]
