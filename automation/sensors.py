"""Sensors: from a drift report to a written retrain decision and its run; and MLflow runs of dead processes closed.

The decision is ``rankops.drift.decision.decide``, a pure function. A sensor here collects what it needs (reports
since the cursor, earlier attempts from the run storage), writes the record also when the answer is no, and asks for
the run. A read that fails raises: the tick is marked failed and tried again, it is never taken for "no drift".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    MetadataValue,
    RunRequest,
    RunsFilter,
    RunStatusSensorContext,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    run_status_sensor,
    sensor,
)

from automation.checks import failed_checks
from automation.jobs import release_job_name
from automation.rollback_sensors import rollback_sensors
from rankops.artifacts import StoredArtifact
from rankops.specs import ModelSpec
from resources.gitops import GitOps
from resources.store import Store, read_reference
from resources.tracking import Tracking

if TYPE_CHECKING:
    from rankops.drift.decision import RetrainHistory

FINGERPRINT_TAG = "rankops/drift-fingerprint"
ATTEMPT_TAG = "rankops/retrain-attempt"
_REPORTS_A_TICK = 20


def build_sensors(models: Sequence[ModelSpec]) -> list[SensorDefinition]:
    """Retraining and rollback sensors of each model, and the sensors that close what killed runs left open."""
    closing = [
        _closing_sensor("mlflow_close_failed", DagsterRunStatus.FAILURE, "FAILED"),
        _closing_sensor("mlflow_close_canceled", DagsterRunStatus.CANCELED, "KILLED"),
    ]
    rollbacks = [made for spec in models for made in rollback_sensors(spec)]
    return [*(retrain_sensor(spec) for spec in models), *rollbacks, *closing]


def retrain_sensor_name(model: str) -> str:
    """The sensor that decides on a model's retraining."""
    return f"{model.replace('-', '_')}_retrain_on_drift"


def retrain_sensor(spec: ModelSpec) -> SensorDefinition:
    """Watch ``<model>/drift_report``; decide; write the record; start the run that ends in a new commit."""

    @sensor(
        name=retrain_sensor_name(spec.name),
        job_name=release_job_name(spec.name),
        default_status=DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=f"Turns a drift report of {spec.name} into a written retrain decision and, on yes, a run.",
    )
    def retrain_on_drift(context: SensorEvaluationContext, store: Store, gitops: GitOps) -> SensorResult | SkipReason:
        days, cursor = new_reports(context.instance, spec, context.cursor)
        if not days:
            return SkipReason(f"no new drift report of {spec.name}")
        requests: list[RunRequest] = []
        records: list[AssetMaterialization] = []
        for day in days:
            request, record = _decide_day(context.instance, spec, day, store, gitops)
            records.append(record)
            requests += [request] if request and not requests else []  # one retraining at a time
        return SensorResult(run_requests=requests, asset_events=records, cursor=cursor)

    return retrain_on_drift


def new_reports(instance: DagsterInstance, spec: ModelSpec, cursor: str | None) -> tuple[list[str], str | None]:
    """Days whose drift report was materialized after ``cursor`` (a storage id), newest day first, and the new cursor.

    The newest day comes first because a retraining on it learns from the earlier ones too.
    """
    after = int(cursor) if cursor else None
    records = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=AssetKey([spec.name, "drift_report"]), after_storage_id=after),
        limit=_REPORTS_A_TICK,
        ascending=True,
    ).records
    if not records:
        return [], cursor
    return sorted({r.partition_key for r in records if r.partition_key}, reverse=True), str(records[-1].storage_id)


def _decide_day(
    instance: DagsterInstance, spec: ModelSpec, day: str, store: Store, gitops: GitOps
) -> tuple[RunRequest | None, AssetMaterialization]:
    from rankops.drift.decision import decide, policy_for, save_decision
    from rankops.drift.render import decision_markdown
    from rankops.stages.drift import load

    opened = store.open()
    reference = read_reference(opened, [spec.name, "drift_report"], day, StoredArtifact)
    report = load(opened, reference)
    history = retrain_history(instance, spec, gitops)
    decision = decide(report, history, policy_for(spec), datetime.now(UTC))
    record = AssetMaterialization(
        asset_key=AssetKey([spec.name, "retrain_decision"]),
        partition=day,
        description="; ".join(decision.reasons),
        metadata={
            "retrain": MetadataValue.bool(decision.decision),
            "decision": MetadataValue.md(decision_markdown(decision)),
            "record": MetadataValue.path(save_decision(opened, decision)),
        },
    )
    if not decision.decision:
        return None, record
    window = (decision.window_last_day - decision.window_first_day).days + 1
    config = {
        "ops": {
            f"{spec.dataset}__dataset": {"config": {"last_day": day, "days": window}},
            f"{spec.name}__deploy": {"config": {"why": [f"drift of {day}: {', '.join(decision.causes)}"]}},
        }
    }
    tags = {FINGERPRINT_TAG: decision.fingerprint, ATTEMPT_TAG: str(decision.attempt), "rankops/model": spec.name}
    request = RunRequest(
        run_key=decision.run_key, run_config=config, partition_key=gitops.champion_environment, tags=tags
    )
    return request, record


def retrain_history(instance: DagsterInstance, spec: ModelSpec, gitops: GitOps) -> RetrainHistory:
    """Earlier retrainings by their run tags, and what the live release learned from."""
    from rankops.drift.decision import RetrainAttempt, RetrainHistory
    from rankops.release.manifest import read_manifest

    runs = instance.get_run_records(RunsFilter(job_name=release_job_name(spec.name)), limit=100)
    attempts = tuple(
        RetrainAttempt(
            fingerprint=record.dagster_run.tags[FINGERPRINT_TAG],
            attempt=int(record.dagster_run.tags[ATTEMPT_TAG]),
            started_at=record.create_timestamp.replace(tzinfo=record.create_timestamp.tzinfo or UTC),
            status=_status(instance, spec, record.dagster_run),
            run_id=record.dagster_run.run_id,
        )
        for record in runs
        if FINGERPRINT_TAG in record.dagster_run.tags
    )
    champion = gitops.champion(spec)
    dataset = read_manifest(champion.folder).dataset if champion else None
    collected = instance.get_materialized_partitions(AssetKey([spec.dataset, "traffic"]))
    return RetrainHistory(
        attempts=attempts,
        live_trained_through=date.fromisoformat(dataset.last_day) if dataset and dataset.last_day else None,
        first_day=date.fromisoformat(min(collected)) if collected else None,
    )


def _status(
    instance: DagsterInstance, spec: ModelSpec, run: DagsterRun
) -> Literal["running", "succeeded", "refused", "failed"]:
    """A run that one of the model's own checks stopped was refused; data that fails its checks is a broken run."""
    if run.status == DagsterRunStatus.SUCCESS:
        return "succeeded"
    if run.status not in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        return "running"
    checks = failed_checks(instance, run.run_id)
    return "refused" if any(check.asset_key.path[0] == spec.name for _, check in checks) else "failed"


def _closing_sensor(name: str, status: DagsterRunStatus, mlflow_status: str) -> SensorDefinition:
    @run_status_sensor(
        name=name,
        run_status=status,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Ends MLflow runs that a run with status {status.value} left RUNNING.",
    )
    def close(context: RunStatusSensorContext, tracking: Tracking) -> SkipReason:
        closed = tracking.close_abandoned(context.dagster_run.run_id, mlflow_status)
        return SkipReason(f"closed {json.dumps(closed)}" if closed else "no MLflow run was left open")

    return close
