"""One model's whole life, stage after stage, by the same jobs and sensors that the UI starts.

The tests of this module build on each other (a life has an order); each leaves the state that the next one needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from dagster import AssetKey

from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput, GateFailed, IntegrityError
from rankops.overlays.seed import create_bare_remote
from rankops.release.manifest import read_manifest
from rankops.state import REPOSITORY
from resources.store import Store, read_reference
from resources.trainer import Trainer
from tests.pipeline.conftest import SPEC, Place
from tests.support import browser

pytestmark = pytest.mark.timeout(600)


class Dying(Trainer):
    """A training process that ends with an error."""

    def _start(self, context: object, arguments: list[str]) -> None:
        raise RuntimeError("out of memory")


def mlflow_statuses(place: Place) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(place.state.tracking_uri)
    experiment = client.get_experiment_by_name("rankops")
    return [] if experiment is None else [r.info.status for r in client.search_runs([experiment.experiment_id])]


def mlflow_files(place: Place) -> set[str]:
    """Names of the files of all MLflow runs."""
    from mlflow import MlflowClient

    client = MlflowClient(place.state.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("rankops").experiment_id])
    return {file.path for run in runs for file in client.list_artifacts(run.info.run_id)}


def test_days_of_traffic_are_collected(place: Place) -> None:
    place.ingest("2026-03-02", "2026-03-05")
    assert len(place.instance.get_materialized_partitions(AssetKey(["shop", "traffic"]))) == 4


def test_a_dataset_over_days_that_were_not_collected_names_them(place: Place) -> None:
    config = {"ops": {"shop__dataset": {"config": {"last_day": "2026-03-07", "days": 3}}}}
    with pytest.raises(BadInput, match="2026-03-06, 2026-03-07"):
        place.run("retriever_release", "staging", config=config, only=["shop/dataset"])


def test_a_model_goes_from_data_to_a_verified_commit(place: Place) -> None:
    result = place.run("retriever_release", "staging")
    assert result.success
    assert place.commits()[0].startswith("deploy(staging): retriever to release")
    checks = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert checks == {
        "splits_leak_free": True,
        "gate": True,
        "gate_after_compression": True,
        "quality_budget": True,
        "serves_the_release": True,
    }
    assert mlflow_statuses(place) == ["FINISHED"]
    assert {"training.png", "evaluation.md", "systems.png", "slices.png", "model_card.md"} <= mlflow_files(place)


def test_the_same_again_reuses_everything_and_makes_no_commit(place: Place) -> None:
    before = place.commits()
    result = place.run("retriever_release", "staging")
    assert place.commits() == before
    reused = {
        "/".join(event.asset_key.path): event.step_materialization_data.materialization.metadata["reused"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key and "reused" in event.step_materialization_data.materialization.metadata
    }
    assert set(reused.values()) == {True}
    assert set(reused) >= {"shop/dataset", "retriever/checkpoint", "retriever/quantized", "retriever/release"}


def test_production_gets_a_pull_request_with_the_evidence(place: Place) -> None:
    before = place.commits()
    place.run("retriever_release", "production", only=["retriever/deploy", "retriever/verification"])
    assert place.commits() == before  # nothing is merged by itself
    (pull,) = [json.loads(p.read_text())["pull_request"] for p in (place.state.root / "forge").glob("*.json")]
    assert pull["state"] == "open"
    for part in ("nDCG@10", "this release", "int8", "Dagster run"):
        assert part in pull["body"]
    store = Store().open()
    release = read_reference(store, ["retriever", "release"], None, StoredArtifact)
    capacity = read_manifest(store.local_path(release)).capacity
    assert capacity is not None and capacity.measured, capacity
    for part in ("queries/s per core at a p99 of 500 ms", "Advice on capacity", "of them in the busiest hour"):
        assert part in pull["body"]


def test_a_release_with_one_changed_byte_is_not_deployed(place: Place) -> None:
    store = Store().open()
    release = read_reference(store, ["retriever", "release"], None, StoredArtifact)
    file = store.local_path(release) / "golden.json"
    good = file.read_bytes()
    before = place.commits()
    file.write_bytes(good.replace(b"score", b"scone", 1))
    try:
        with pytest.raises(IntegrityError, match=r"golden\.json"):
            place.run("retriever_release", "staging", only=["retriever/deploy"])
    finally:
        file.write_bytes(good)
    assert place.commits() == before


def test_a_release_whose_gate_failed_is_not_built(place: Place) -> None:
    from rankops.stages.release import ReleaseInputs, build

    store = Store().open()

    def reference(*key: str) -> StoredArtifact:
        return read_reference(store, list(key), None, StoredArtifact)

    artifact = reference("retriever", "quantized")
    gate = {**artifact.facts["compression_gate"], "passed": False}
    closed = artifact.model_copy(update={"facts": {**artifact.facts, "compression_gate": gate}})
    inputs = ReleaseInputs(
        reference("shop", "dataset"), reference("retriever", "checkpoint"), reference("retriever", "evaluation"), closed
    )
    with pytest.raises(GateFailed, match="compression"):
        build(store, SPEC, inputs, signing_key=place.state.signing_key, dagster_run="x", progress=lambda _: None)


def test_later_days_are_served_by_the_model_and_logged(place: Place) -> None:
    import polars as pl

    place.ingest("2026-03-06", "2026-03-07")
    store = Store().open()
    day = read_reference(store, ["shop", "traffic"], "2026-03-07", StoredArtifact)
    release = read_reference(store, ["retriever", "release"], None, StoredArtifact)
    requests = pl.read_parquet(store.local_path(day) / "requests.parquet")
    assert requests["release"].unique().to_list() == [release.digest]
    assert requests["day"].unique().cast(pl.String).to_list() == ["2026-03-07"]
    assert requests.height == day.facts["requests"] > 200


def days_read(place: Place) -> list[str]:
    """Of the drift report of 7 March."""
    from rankops.stages.drift import load

    store = Store().open()
    reference = read_reference(store, ["retriever", "drift_report"], "2026-03-07", StoredArtifact)
    return load(store, reference).widest.days


def test_a_drift_becomes_a_decision_a_run_and_a_commit(place: Place) -> None:
    place.run("retriever_monitor", "2026-03-07", only=["retriever/drift_report"])
    assert days_read(place) == ["2026-03-06", "2026-03-07"]  # 300 searches a day are few: the day before is read too
    sensor = place.defs.resolve_sensor_def("retriever_retrain_on_drift")
    tick = sensor.evaluate_tick(place.sensor_context())
    (request,) = tick.run_requests or []
    (record,) = tick.asset_events
    assert record.metadata["retrain"].value is True
    before = place.commits()
    place.run("retriever_release", request.partition_key, config=request.run_config, tags=request.tags)
    after = place.commits()
    assert len(after) == len(before) + 1
    assert mlflow_statuses(place) == ["FINISHED", "FINISHED"]


def test_the_answer_no_is_written_too(place: Place) -> None:
    place.run("retriever_monitor", "2026-03-07", only=["retriever/drift_report"])
    assert days_read(place) == ["2026-03-07"]  # the new release has learned from the day before
    sensor = place.defs.resolve_sensor_def("retriever_retrain_on_drift")
    tick = sensor.evaluate_tick(place.sensor_context())
    assert not tick.run_requests
    (record,) = tick.asset_events
    assert record.metadata["retrain"].value is False
    written = Store().open().read_json(record.metadata["record"].value.split("/store/")[1])
    assert any("already learned" in reason for reason in written["reasons"])


def test_a_tick_without_a_new_report_skips_with_a_reason(place: Place) -> None:
    sensor = place.defs.resolve_sensor_def("retriever_retrain_on_drift")
    first = sensor.evaluate_tick(place.sensor_context())
    again = sensor.evaluate_tick(place.sensor_context(first.cursor))
    assert not again.run_requests
    assert "no new drift report" in (again.skip_message or "")


def test_a_failed_training_ends_its_mlflow_run_as_failed(place: Place) -> None:
    impossible = SPEC.training.model_copy(update={"seed": 99})
    from definitions import build_defs

    broken = build_defs(
        models=[SPEC.model_copy(update={"training": impossible})], resource_overrides={"trainer": Dying()}
    )
    job = broken.resolve_job_def("retriever_release")
    result = job.execute_in_process(
        instance=place.instance,
        partition_key="staging",
        asset_selection=[AssetKey(["retriever", "checkpoint"])],
        raise_on_error=False,
    )
    assert not result.success
    assert "FAILED" in mlflow_statuses(place)


def subjects(remote: Path) -> list[str]:
    """Subjects of a bare repository's commits, newest first."""
    command = ["git", "-C", str(remote), "log", "--format=%s", "main"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.browser
@pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
def test_materialize_in_the_browser_commits_the_overlay(place: Place, tmp_path: Path) -> None:
    """The UI that ``make ui`` starts does the same job as the command: a person presses Materialize on deploy."""
    remote = tmp_path / "fresh.git"
    create_bare_remote(remote, REPOSITORY / "k8s-overlays", place.state.public_key)
    environment = {**os.environ, "RANKOPS_GIT_URL": remote.as_uri()}
    with browser.dagster_ui(environment, tmp_path / "ui.log") as url, browser.browser() as driver:
        driver.get(f"{url}/assets/retriever/deploy")
        browser.see(driver, "The commit that pins the release")
        browser.click(driver, "Materialize")
        browser.choose_partition(driver, "staging")
        deadline = time.monotonic() + 150
        while len(subjects(remote)) < 2 and time.monotonic() < deadline:
            time.sleep(1)
    assert subjects(remote)[0].startswith("deploy(staging): retriever to release")
