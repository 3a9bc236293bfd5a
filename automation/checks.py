"""What the asset checks of a run said."""

from __future__ import annotations

from datetime import UTC, datetime

from dagster import AssetCheckEvaluation, AssetCheckSeverity, DagsterEventType, DagsterInstance


def failed_checks(instance: DagsterInstance, run_id: str) -> list[tuple[datetime, AssetCheckEvaluation]]:
    """When each check of a run failed, and what it said, in order; one that only warns has not failed."""
    found = []
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
        check = entry.dagster_event.asset_check_evaluation_data if entry.dagster_event else None
        if check is not None and not check.passed and check.severity == AssetCheckSeverity.ERROR:
            found.append((datetime.fromtimestamp(entry.timestamp, UTC), check))
    return found
