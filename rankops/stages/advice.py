"""Advice on a release: from its own manifest and the dataset that it was made of; and, by hand, from a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.specs import ModelSpec

if TYPE_CHECKING:
    from rankops.advice.facts import Advice, Facts, Replay
    from rankops.release.manifest import ReleaseManifest

Progress = Callable[[str], None]
_SEARCHES = 200_000  # the latest that are replayed


def release_facts(manifest: ReleaseManifest, spec: ModelSpec | None, dataset: Path | None) -> Facts:
    """What is known without another measurement."""
    from rankops.advice.facts import Facts
    from rankops.overlays.rules_pods import quantity
    from rankops.serving.config import ServerConfig

    cached = ServerConfig.model_fields.get("cache_entries")
    asked = None if spec is None else quantity(spec.serving.resources.memory)
    return Facts(
        capacity=manifest.capacity,
        rungs=tuple(manifest.compression),
        quality_budget=None if spec is None else spec.compression.quality_budget,
        memory_mib=None if asked is None else float(asked) / 2**20,
        replays=() if dataset is None or manifest.task != "retrieval" else replays_of(dataset),
        cache_entries=None if cached is None else int(cached.default),
    )


def replays_of(dataset: Path) -> tuple[Replay, ...]:
    """The dataset's searches, by day, through result caches of several sizes; none where there are no interactions."""
    import polars as pl

    from rankops.advice.replay import replay

    table = dataset / "interactions.parquet"
    if not table.is_file():
        return ()
    searches = pl.scan_parquet(table).select("day", "search_id", "query").unique().sort("day", "search_id").collect()
    return replay(searches["query"].to_list()[-_SEARCHES:])


def advice_on(manifest: ReleaseManifest, spec: ModelSpec | None, dataset: Path | None) -> tuple[list[Advice], Facts]:
    """What to do, and what it is made from."""
    from rankops.advice.rules import advise

    facts = release_facts(manifest, spec, dataset)
    return advise(facts), facts


def advice_by_sweep(
    folder: Path,
    public_key: Path,
    facts: Facts,
    *,
    objective_ms: float,
    cores: int,
    seconds: float,
    rounds: int,
    machine: str,
    progress: Progress,
) -> tuple[list[Advice], Facts]:
    """Measure capacity (where the release's was not measured here) and each changed setting, then advise."""
    from rankops.advice.rules import advise
    from rankops.advice.sweep import sweep
    from rankops.capacity.measure import Plan, measure_release

    plan = Plan(objective_ms, seconds, cores)
    capacity = facts.capacity
    if capacity is None or not capacity.measured or capacity.machine != machine:
        progress("advice: measuring the capacity first")
        capacity = measure_release(folder, public_key, replace(plan, seconds=12.0), machine=machine, progress=progress)
    known = replace(
        facts, capacity=capacity, variants=sweep(folder, public_key, plan, rounds=rounds, progress=progress)
    )
    return advise(known), known


def pictures(facts: Facts) -> dict[str, bytes]:
    """The plots there are for these facts, by file name."""
    from rankops.advice.render import stages_png, sweep_png

    drawn = {"sweep.png": sweep_png(facts.variants)} if facts.variants else {}
    stages: Sequence[str] = [name for name in facts.observed if name.startswith("stage_ms.")]
    return {**drawn, "stages.png": stages_png(facts)} if stages else drawn
