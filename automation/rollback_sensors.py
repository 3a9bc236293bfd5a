"""Sensors: from a failed verification or a firing alert to a written rollback decision and, on yes, its run.

The decision is ``rankops.overlays.rollback_decision.decide``, a pure function. A sensor collects symptoms and what
stands (Git, the records of verifications, earlier attempts), writes the record when the answer is new, and asks for
the run. A read that fails raises: the tick is marked failed and tried again, it is never taken for "all is well".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    MetadataValue,
    RunRequest,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from pydantic import BaseModel

from assets.rollbacks import rollback_job_name
from automation.checks import failed_checks
from automation.jobs import rollback_config
from rankops.specs import ModelSpec
from resources.alerts import Alerts
from resources.gitops import GitOps
from resources.store import Store, read_reference

if TYPE_CHECKING:
    from rankops.overlays.rollback_decision import RollbackAttempt, RollbackDecision, RollbackPolicy, Symptom

RELEASE_TAG = "rankops/rollback-of"
ATTEMPT_TAG = "rankops/rollback-attempt"
CAUSE_TAG = "rankops/caused-by"
_PARTITION_TAG = "dagster/partition"
_CHECK = "serves_the_release"
_RUNS_A_TICK = 20
_FIRST_LOOK = timedelta(days=1)
_WAITING = 20


class Place(BaseModel):
    """A symptom and its environment, as the cursor keeps it."""

    environment: str
    symptom: dict[str, Any]


class Cursor(BaseModel):
    """The last run failure that was read (a storage id), and symptoms that were answered "not now" or acted upon."""

    after: int | None = None
    waiting: list[Place] = []


def rollback_sensors(spec: ModelSpec, policy: RollbackPolicy | None = None) -> list[SensorDefinition]:
    """Both sensors of a model; ``policy`` (default: :class:`RollbackPolicy` as it is) says how freely they act."""
    return [verification_sensor(spec, policy), alert_sensor(spec, policy)]


def verification_sensor(spec: ModelSpec, policy: RollbackPolicy | None = None) -> SensorDefinition:
    """Watch failed runs for a verification that says the live release does not serve as it must."""

    @sensor(
        name=f"{spec.name.replace('-', '_')}_rollback_on_failed_verification",
        job_name=rollback_job_name(spec.name),
        default_status=DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=f"Turns a failed verification of {spec.name} into a written rollback decision and, on yes, a run.",
    )
    def rollback_on_failed_verification(context: SensorEvaluationContext, store: Store, gitops: GitOps) -> SensorResult:
        from rankops.overlays.rollback_decision import Symptom

        cursor = Cursor.model_validate_json(context.cursor) if context.cursor else Cursor()
        found, after = failed_verifications(context.instance, spec, cursor.after, store)
        waiting = [(place.environment, Symptom.model_validate(place.symptom)) for place in cursor.waiting]
        if not found and not waiting:
            skip = SkipReason(f"no new failed verification of {spec.name}")
            return SensorResult(skip_reason=skip, cursor=Cursor(after=after).model_dump_json())
        decisions, requests, records = consider(context.instance, spec, [*waiting, *found], store, gitops, policy)
        again = [
            Place(environment=decision.environment, symptom=decision.symptom.model_dump(mode="json"))
            for decision in decisions
            if decision.verdict in ("roll back", "not now")
        ]
        kept = Cursor(after=after, waiting=again[-_WAITING:])
        return _result(decisions, requests, records, cursor=kept.model_dump_json())

    return rollback_on_failed_verification


def alert_sensor(spec: ModelSpec, policy: RollbackPolicy | None = None) -> SensorDefinition:
    """Watch firing alerts. Stopped until a person, who has configured where alerts come from, switches it on."""

    @sensor(
        name=f"{spec.name.replace('-', '_')}_rollback_on_alert",
        job_name=rollback_job_name(spec.name),
        default_status=DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description=f"Turns a firing alert about {spec.name} (Prometheus, or Alertmanager's webhook) into a written "
        "rollback decision and, on yes, a run. Configure the resource `alerts`, then switch it on.",
    )
    def rollback_on_alert(
        context: SensorEvaluationContext, store: Store, gitops: GitOps, alerts: Alerts
    ) -> SensorResult | SkipReason:
        firing = alerts.symptoms(store.open(), spec, datetime.now(UTC))
        if not firing:
            return SkipReason(f"no alert that may roll {spec.name} back is firing")
        return _result(*consider(context.instance, spec, firing, store, gitops, policy))

    return rollback_on_alert


def consider(
    instance: DagsterInstance,
    spec: ModelSpec,
    symptoms: Iterable[tuple[str, Symptom]],
    store: Store,
    gitops: GitOps,
    policy: RollbackPolicy | None = None,
) -> tuple[list[RollbackDecision], list[RunRequest], list[AssetMaterialization]]:
    """Decide on each symptom; a run request at most for one of an environment, a record for each new answer."""
    from rankops.overlays.rollback_decision import RollbackPolicy, Situation, decide, save_decision
    from rankops.overlays.transaction import Target
    from rankops.stages.rollback import situation

    opened, stands = store.open(), dict[str, Situation]()
    decisions: list[RollbackDecision] = []
    requests: dict[str, RunRequest] = {}
    records: list[AssetMaterialization] = []
    for name, symptom in symptoms:
        if name not in stands:
            target = Target(name, spec.name, gitops.environment(name).branch)
            stands[name] = situation(opened, gitops.remote(), target, rollback_attempts(instance, spec, name))
        decision = decide(symptom, stands[name], policy or RollbackPolicy(), datetime.now(UTC))
        decisions.append(decision)
        url, new = save_decision(opened, decision)
        records += [decision_record(decision, url)] if new else []
        if decision.verdict == "roll back":
            requests.setdefault(name, rollback_request(decision))
    return decisions, list(requests.values()), records


def failed_verifications(
    instance: DagsterInstance, spec: ModelSpec, after: int | None, store: Store
) -> tuple[list[tuple[str, Symptom]], int | None]:
    """``(environment, symptom)`` of runs that failed after the storage id ``after``, oldest first; and the new id.

    The first look goes back one day, so that a daemon that is started late misses nothing that still matters.
    """
    look = None if after is not None else (datetime.now(UTC) - _FIRST_LOOK).timestamp()
    changes = instance.fetch_run_status_changes(
        RunStatusChangeRecordsFilter(DagsterEventType.RUN_FAILURE, after_storage_id=after, after_timestamp=look),
        limit=_RUNS_A_TICK,
        ascending=True,
    ).records
    found = []
    for change in changes:
        symptom = _symptom_of(instance, spec, change.run_id, store)
        found += [symptom] if symptom is not None else []
    return found, changes[-1].storage_id if changes else after


def _symptom_of(instance: DagsterInstance, spec: ModelSpec, run_id: str, store: Store) -> tuple[str, Symptom] | None:
    """What a failed run says about what is live, or None where it did not fail in this model's verification."""
    from rankops.overlays.rollback_decision import Symptom, one_line

    run = instance.get_run_by_id(run_id)
    environment = run.tags.get(_PARTITION_TAG) if run is not None else None
    key = AssetKey([spec.name, "verification"])
    for at, check in failed_checks(instance, run_id):
        if check.asset_key != key or check.check_name != _CHECK or not environment:
            continue
        said = {name: value.value for name, value in check.metadata.items()}
        symptom = Symptom(
            kind="verification",
            name=_CHECK,
            evidence=one_line(check.description or _step_error(instance, run_id, key) or "it failed"),
            release=str(said["release"]) if "release" in said else _recorded_release(store, spec, environment),
            since=at,
            source=run_id,
            about_release=said.get("about release") is not False,
        )
        return environment, symptom
    return None


def _step_error(instance: DagsterInstance, run_id: str, key: AssetKey) -> str | None:
    """The first line of what the verification raised."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is not None and event.step_key == key.to_python_identifier():
            error = event.step_failure_data.error
            cause = error.cause or error if error is not None else None
            return cause.message.partition(": ")[2].splitlines()[0] if cause and ": " in cause.message else None
    return None


def _recorded_release(store: Store, spec: ModelSpec, environment: str) -> str:
    from rankops.deployment import DeployRecord

    record: DeployRecord = read_reference(store.open(), [spec.name, "deploy"], environment, DeployRecord)
    return record.release


def rollback_attempts(instance: DagsterInstance, spec: ModelSpec, environment: str) -> list[RollbackAttempt]:
    """Earlier runs that sensors asked for, by their tags."""
    from rankops.overlays.rollback_decision import RollbackAttempt

    wanted = RunsFilter(job_name=rollback_job_name(spec.name), tags={_PARTITION_TAG: environment})
    return [
        RollbackAttempt(
            release=record.dagster_run.tags[RELEASE_TAG],
            attempt=int(record.dagster_run.tags[ATTEMPT_TAG]),
            started_at=record.create_timestamp.replace(tzinfo=record.create_timestamp.tzinfo or UTC),
            status=_status(record.dagster_run.status),
        )
        for record in instance.get_run_records(wanted, limit=50)
        if RELEASE_TAG in record.dagster_run.tags
    ]


def rollback_request(decision: RollbackDecision) -> RunRequest:
    """The run that takes the live release out."""
    live = decision.live or ""
    return RunRequest(
        run_key=decision.run_key,
        partition_key=decision.environment,
        run_config=rollback_config(decision.model, {"reason": decision.symptom.reason, "bad": live, "automatic": True}),
        tags={
            RELEASE_TAG: live,
            ATTEMPT_TAG: str(decision.attempt),
            CAUSE_TAG: decision.symptom.source,
            "rankops/model": decision.model,
        },
    )


def decision_record(decision: RollbackDecision, url: str) -> AssetMaterialization:
    """The decision as the UI shows it."""
    from rankops.overlays.rollback_decision import decision_markdown

    return AssetMaterialization(
        asset_key=AssetKey([decision.model, "rollback_decision"]),
        partition=decision.environment,
        description=f"{decision.verdict}: {'; '.join(decision.reasons)}",
        metadata={
            "verdict": decision.verdict,
            "decision": MetadataValue.md(decision_markdown(decision)),
            "record": MetadataValue.path(url),
        },
    )


def _result(
    decisions: Sequence[RollbackDecision],
    requests: Sequence[RunRequest],
    records: Sequence[AssetMaterialization],
    *,
    cursor: str | None = None,
) -> SensorResult:
    said = "; ".join(f"{d.environment}, {d.symptom.name}: {d.verdict} ({d.reasons[0]})" for d in decisions)
    skip = None if requests else SkipReason(said[:2000])
    return SensorResult(run_requests=list(requests), asset_events=list(records), skip_reason=skip, cursor=cursor)


def _status(status: DagsterRunStatus) -> Literal["running", "succeeded", "failed"]:
    if status == DagsterRunStatus.SUCCESS:
        return "succeeded"
    return "failed" if status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED) else "running"
