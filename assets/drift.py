"""Drift reports (one partition a day) and the retrain decisions that the sensor writes."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    MaterializeResult,
    TimeWindowPartitionMapping,
    asset,
)

from assets.datasets import DAYS
from assets.metadata import artifact, drift_metadata
from rankops.artifacts import StoredArtifact
from rankops.retrain_spec import WINDOW_DAYS
from rankops.specs import ModelSpec
from resources.gitops import GitOps
from resources.store import Store, find_reference, read_reference, reference_name

if TYPE_CHECKING:
    from rankops.store import ArtifactStore

_WEEK = TimeWindowPartitionMapping(
    start_offset=1 - WINDOW_DAYS, end_offset=0, allow_nonexistent_upstream_partitions=True
)


def drift_asset(spec: ModelSpec) -> AssetsDefinition:
    """One day of traffic against the days that the live release learned from."""
    key = AssetKey([spec.name, "drift_report"])

    @asset(
        key=key,
        group_name=spec.name.replace("-", "_"),
        kinds={"evidently"},
        partitions_def=DAYS,
        backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=1),
        deps=[AssetDep(AssetKey([spec.dataset, "traffic"]), partition_mapping=_WEEK)],
        check_specs=[AssetCheckSpec("no_drift", asset=key)],
        description=f"One day of traffic against the days that the live {spec.name} learned from: named causes, and "
        "Evidently's page. What a day is too small to prove is asked of the days since then, a week at most. A sensor "
        "turns it into a retrain decision.",
    )
    def drift_report(
        context: AssetExecutionContext, store: Store, gitops: GitOps
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.stages.drift import Subject, load, report_day, report_url

        opened = store.open()
        day = context.partition_key
        traffic = read_reference(opened, [spec.dataset, "traffic"], day, StoredArtifact)
        subject = Subject(date.fromisoformat(day), traffic, _earlier(opened, spec.dataset, date.fromisoformat(day)))
        made, reused = report_day(opened, spec, subject, gitops.champion(spec), context.log.info)
        report = load(opened, made)
        opened.write_json(reference_name([spec.name, "drift_report"], day), made.model_dump(mode="json"))
        context.log.info(f"drift of {day}: {', '.join(report.names) or 'none'}")
        yield MaterializeResult(
            metadata={**drift_metadata(report, report_url(made), opened, made), **artifact(made, reused=reused)}
        )
        yield AssetCheckResult(
            check_name="no_drift",
            passed=not report.drifted,
            severity=AssetCheckSeverity.WARN,
            metadata={"causes": ", ".join(report.names) or "none"},
        )

    return drift_report


def _earlier(store: "ArtifactStore", dataset: str, day: date) -> list[tuple[date, StoredArtifact]]:
    """The days before it that a report may read, newest first; days that were never collected are left out."""
    days = [day - timedelta(days=back) for back in range(1, WINDOW_DAYS)]
    found = ((one, find_reference(store, [dataset, "traffic"], one.isoformat(), StoredArtifact)) for one in days)
    return [(one, traffic) for one, traffic in found if traffic is not None]


def decision_spec(spec: ModelSpec) -> AssetSpec:
    """The written retrain decisions; the sensor reports each as a materialization."""
    return AssetSpec(
        key=[spec.name, "retrain_decision"],
        group_name=spec.name.replace("-", "_"),
        kinds={"json"},
        partitions_def=DAYS,
        deps=[AssetDep(AssetKey([spec.name, "drift_report"]))],
        description="Why we did, or did not, retrain after a day's drift report. Written by the sensor.",
    )
