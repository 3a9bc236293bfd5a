"""Capacity: measured once for every new release, on the bundle that was just signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import RankopsError
from rankops.specs import ModelSpec

if TYPE_CHECKING:
    from rankops.capacity.measure import Plan
    from rankops.capacity.sizing import Peak
    from rankops.release.capacity import MeasuredSession, ReleaseCapacity
    from rankops.release.manifest import ReleaseManifest

Progress = Callable[[str], None]


def add_capacity(
    bundle: Path, manifest: ReleaseManifest, spec: ModelSpec, *, signing_key: Path, progress: Progress
) -> ReleaseManifest:
    """Measure, write the result into ``release.json``, and sign again.

    The manifest is no part of the release digest, so a measurement makes no other release of the same files; and a
    release that stands in the store is not measured again.
    """
    from rankops.release.manifest import SIGNATURE
    from rankops.release.signing import sign

    found = measured_capacity(bundle, manifest, spec, signing_key=signing_key, progress=progress)
    progress(f"release: {found.sentence()}")
    told = manifest.model_copy(update={"capacity": found})
    (bundle / SIGNATURE).unlink()
    told.write(bundle)
    sign(bundle, signing_key)
    return told


def measured_capacity(
    bundle: Path, manifest: ReleaseManifest, spec: ModelSpec, *, signing_key: Path, progress: Progress
) -> ReleaseCapacity:
    """What the server carries here; without a figure, but with the reason, where this machine is not its target."""
    import tempfile

    from rankops.advice.session import as_settings
    from rankops.capacity.measure import Plan, measure_release
    from rankops.compression.targets import can_measure, cpu_name
    from rankops.release.capacity import ReleaseCapacity
    from rankops.release.signing import public_half

    serving = spec.serving
    reason = None
    if not serving.capacity_seconds:
        reason = "serving.capacity_seconds is 0"
    elif not can_measure(manifest.target):
        reason = f"the release is for {manifest.target}, and this machine is not; measure it with rankops advise there"
    if reason is not None:
        return ReleaseCapacity(objective_ms=serving.latency_objective_ms, target=manifest.target, reason=reason)
    plan = Plan(serving.latency_objective_ms, serving.capacity_seconds, server_cores(serving.resources.cpu))
    progress(f"release: measuring capacity for about {2.5 * plan.seconds:.0f} s on {plan.cores} core(s)")
    with tempfile.TemporaryDirectory(prefix="rankops-key-") as scratch:
        public = public_half(signing_key, Path(scratch))
        session = measured_session(bundle, manifest, public, plan, progress)
        if session is not None:
            plan = replace(plan, settings=as_settings(session))
        found = measure_release(bundle, public, plan, machine=cpu_name(), progress=progress)
    return found.model_copy(update={"session": session})


def measured_session(
    bundle: Path, manifest: ReleaseManifest, public_key: Path, plan: Plan, progress: Progress
) -> MeasuredSession | None:
    """How the server opens the model on a CPU; None where that is no question, or the server does not come up."""
    from rankops.advice.session import measure_session

    if manifest.task == "recommendation" or not manifest.target.startswith("cpu-"):
        return None
    try:
        return measure_session(bundle, public_key, replace(plan, seconds=plan.seconds / 2), progress=progress)
    except (RankopsError, OSError):
        return None  # the measurement of the capacity says why


def server_cores(cpu_request: str) -> int:
    """Whole cores of a pod's CPU request, at least 1, and leaving one of this machine to the load generator."""
    from rankops.compression.targets import available_cores
    from rankops.overlays.rules_pods import quantity

    asked = ceil(float(quantity(cpu_request) or 1))
    return max(1, min(asked, available_cores() - 1))


def expected_peak(spec: ModelSpec, dataset: Path | None) -> Peak | None:
    """The spec's figure, else from the busiest day of the dataset's searches; None where nothing is known."""
    from rankops.capacity.sizing import Peak, peak_of_days

    if (stated := spec.serving.peak_requests_per_second) is not None:
        return Peak(stated, "serving.peak_requests_per_second")
    if dataset is None:
        return None
    found = busiest_day(dataset)
    return None if found is None else peak_of_days(*found)


def busiest_day(dataset: Path) -> tuple[int, str] | None:
    """Searches of the busiest day in a dataset's interactions, and that day; None for a dataset without any."""
    import polars as pl

    table = dataset / "interactions.parquet"
    if not table.is_file():
        return None
    days = pl.scan_parquet(table).group_by("day").agg(pl.col("search_id").n_unique().alias("searches")).collect()
    if days.is_empty():
        return None
    day, searches = days.sort("searches", "day", descending=[True, False]).row(0)
    return int(searches), str(day)


def busiest_hour(requests: Any) -> tuple[int, str] | None:
    """Requests of the busiest hour in a request log (a table with ``timestamp``), and that hour; None for none."""
    import polars as pl

    hours = requests.lazy().group_by(pl.col("timestamp").dt.truncate("1h").alias("hour")).len().collect()
    if hours.is_empty():
        return None
    hour, count = hours.sort("len", "hour", descending=[True, False]).row(0)
    return int(count), f"{hour:%Y-%m-%d %H:%M}"
