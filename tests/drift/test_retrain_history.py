"""What the retrain sensor tells the decision of earlier runs: real runs of the release job, real checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    DagsterInstance,
    MaterializeResult,
    asset,
    materialize,
)

from automation.checks import failed_checks
from automation.sensors import ATTEMPT_TAG, FINGERPRINT_TAG, retrain_history
from resources.gitops import GitOps
from tests.rollback.conftest import SPEC, NothingServes, Place, make_place


def retrained(place: Place, attempt: int, *steps: str, ok: bool) -> str:
    """The last steps of a run that the sensor asked for."""
    tags = {FINGERPRINT_TAG: "f" * 64, ATTEMPT_TAG: str(attempt)}
    return place.run("retriever_release", only=[f"retriever/{step}" for step in steps], tags=tags, ok=ok).run_id


def test_a_run_that_a_check_stopped_was_refused_and_one_that_broke_has_failed(tmp_path: Path) -> None:
    with make_place(tmp_path, cluster=NothingServes()) as place:
        broke = retrained(place, 1, "deploy", "verification", ok=False)  # there is no release to deploy
        release = place.make("first")
        place.offer(release)
        refused = retrained(place, 2, "deploy", "verification", ok=False)
        place.deploy(release, ok=False)  # a person's run is no retraining
        history = retrain_history(place.instance, SPEC, GitOps())
    assert {item.run_id: item.status for item in history.attempts} == {broke: "failed", refused: "refused"}


def test_a_run_that_ended_well_has_succeeded(tmp_path: Path) -> None:
    with make_place(tmp_path) as place:
        place.offer(place.make("first"))
        run = retrained(place, 1, "deploy", ok=True)
        history = retrain_history(place.instance, SPEC, GitOps())
    assert [(item.run_id, item.attempt, item.status) for item in history.attempts] == [(run, 1, "succeeded")]


def test_a_check_that_only_warns_has_not_failed() -> None:
    names = ("holds", "warns", "stops")

    @asset(check_specs=[AssetCheckSpec(name, asset="thing") for name in names])
    def thing() -> Iterator[MaterializeResult | AssetCheckResult]:
        yield MaterializeResult()
        yield AssetCheckResult(check_name="holds", passed=True)
        yield AssetCheckResult(check_name="warns", passed=False, severity=AssetCheckSeverity.WARN)
        yield AssetCheckResult(check_name="stops", passed=False)

    with DagsterInstance.ephemeral() as instance:
        run = materialize([thing], instance=instance)
        assert [check.check_name for _, check in failed_checks(instance, run.run_id)] == ["stops"]
