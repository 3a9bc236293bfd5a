"""Schedules: once a day, the day that ended is collected and checked for drift."""

from __future__ import annotations

from collections.abc import Iterable

from dagster import ScheduleDefinition, build_schedule_from_partitioned_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_schedules(jobs: Iterable[UnresolvedAssetJobDefinition]) -> list[ScheduleDefinition]:
    """Daily monitoring at 02:00 of every model; stopped by default, since the demo's calendar is not today's."""
    return [
        build_schedule_from_partitioned_job(  # type: ignore[misc]
            job,
            description="Every night: the day that ended is collected and checked for drift.",
            hour_of_day=2,
            minute_of_hour=0,
        )
        for job in jobs
        if job.name.endswith("_monitor")
    ]
