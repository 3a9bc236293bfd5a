"""The code location, loaded as production loads it."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from dagster import AssetKey, DefaultSensorStatus

from rankops.specs import ENVIRONMENTS
from rankops.state import REPOSITORY

MODELS = ("retriever", "ranker", "recommender")
KEYS = {
    "shop/traffic",
    "shop/dataset",
    *(
        f"{model}/{name}"
        for model in MODELS
        for name in (
            [
                "search",
                "checkpoint",
                "evaluation",
                "quantized",
                "release",
                "deploy",
                "verification",
                "drift_report",
                "retrain_decision",
                "rollback_decision",
            ]
        )
    ),
}


@pytest.fixture(scope="module")
def repository():
    from definitions import defs

    return defs.get_repository_def()


def test_the_workspace_file_loads_every_asset(repository) -> None:
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    origins = location_origins_from_yaml_paths([str(REPOSITORY / "workspace.yaml")])
    assert [origin.location_name for origin in origins] == ["rankops", "published"]
    assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == KEYS


def test_pyproject_does_not_shadow_the_workspace_file() -> None:
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]
    assert not {"dagster", "dg"} & set(tools)


def test_gates_block(repository) -> None:
    graph = repository.asset_graph
    blocking = {
        f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys if graph.get(key).blocking
    }
    assert blocking == {
        "shop/traffic:catalogue_schema",
        "shop/traffic:interactions_schema",
        "shop/dataset:splits_leak_free",
        *(
            f"{model}/{check}"
            for model in MODELS
            for check in (
                "evaluation:gate",
                "quantized:gate_after_compression",
                "quantized:quality_budget",
                "verification:serves_the_release",
            )
        ),
    }


def test_sensors_run_by_default_but_alerts_are_switched_on_by_people(repository) -> None:
    status = {s.name: s.default_status for s in repository.sensor_defs}
    assert {status.pop(f"{model}_rollback_on_alert") for model in MODELS} == {DefaultSensorStatus.STOPPED}
    assert set(status) == {
        *(
            f"{model}_{sensor}"
            for model in MODELS
            for sensor in ("retrain_on_drift", "rollback_on_failed_verification")
        ),
        "mlflow_close_failed",
        "mlflow_close_canceled",
    }
    assert set(status.values()) == {DefaultSensorStatus.RUNNING}


def test_a_drift_report_depends_on_the_days_that_it_may_read() -> None:
    from assets.drift import _WEEK
    from rankops.retrain_spec import WINDOW_DAYS

    assert _WEEK.end_offset - _WEEK.start_offset + 1 == WINDOW_DAYS


def test_jobs_and_their_assets(repository) -> None:
    names = {job.name for job in repository.get_all_jobs()}
    assert names >= {"shop_ingest"} | {
        f"{model}_{job}" for model in MODELS for job in ("release", "rollback", "monitor")
    }
    for model in MODELS:
        job = repository.get_job(f"{model}_release")
        assert AssetKey([model, "deploy"]) in job.asset_layer.executable_asset_keys


def test_the_template_has_a_model_a_task_and_each_has_its_overlays() -> None:
    from assets.models import MODELS as SPECS

    assert {spec.name: spec.task for spec in SPECS} == {
        "retriever": "retrieval",
        "ranker": "ranking",
        "recommender": "recommendation",
    }
    overlays = REPOSITORY / "k8s-overlays"
    wanted = {spec.name for spec in SPECS}
    assert {folder.name for folder in (overlays / "base").iterdir()} == {*wanted, "server"}
    for environment in ENVIRONMENTS:
        assert {folder.name for folder in (overlays / "overlays" / environment.name).iterdir()} == wanted


def test_no_two_models_share_a_name() -> None:
    """References, decisions and memos in the store are by name, and both code locations may use one store."""
    from assets.models import MODELS as SPECS
    from assets.models import PUBLISHED

    names = [spec.name for spec in (*SPECS, *PUBLISHED)]
    assert len(names) == len(set(names))


def test_the_rollback_link_leads_to_the_job_of_this_code_location(repository) -> None:
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    origin, _ = location_origins_from_yaml_paths([str(REPOSITORY / "workspace.yaml")])
    link = repository.get_job("retriever_rollback").metadata["roll back"].value
    assert link == f"/locations/{origin.location_name}/jobs/retriever_rollback/playground"


def test_loading_the_code_location_imports_nothing_heavy() -> None:
    heavy = "torch transformers sentence_transformers mlflow evidently optimum onnxruntime pandas matplotlib sklearn"
    code = f"import sys, definitions, definitions_published; print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_published_sets_have_a_model_a_task_by_the_same_factories() -> None:
    from definitions_published import defs

    repository = defs.get_repository_def()
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    stages = ("search", "checkpoint", "evaluation", "quantized", "release")
    models = {f"{model}/{stage}" for model in ("icecat", "matcher", "retail") for stage in stages}
    assert keys == models | {f"{dataset}/dataset" for dataset in ("icecat", "matching", "retail")}
    assert {job.name for job in repository.get_all_jobs()} >= {"icecat_fit", "matcher_fit", "retail_fit"}
    assert not repository.sensor_defs and not repository.schedule_defs


def test_nothing_imports_definitions() -> None:
    found = [
        str(path.relative_to(REPOSITORY))
        for folder in ("rankops", "assets", "resources", "automation")
        for path in (REPOSITORY / folder).rglob("*.py")
        if "import definitions" in path.read_text() or "from definitions" in path.read_text()
    ]
    assert found == []
