"""Jobs: named selections of assets that people and sensors start as one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetKey, AssetSelection, define_asset_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.datasets import DAYS
from assets.deployments import ENVIRONMENT_PARTITIONS
from assets.rollbacks import ROLLBACK_TAG, rollback_job_name, rollback_link
from rankops.specs import ModelSpec

STAGES = ("checkpoint", "evaluation", "quantized", "release", "deploy", "verification")


def release_job_name(model: str) -> str:
    """The job that carries a model from the dataset to a verified deployment."""
    return f"{model.replace('-', '_')}_release"


def monitor_job_name(model: str) -> str:
    """The job that collects a day and looks for drift in it."""
    return f"{model.replace('-', '_')}_monitor"


def rollback_config(model: str, rollback: Mapping[str, Any]) -> dict[str, Any]:
    """Run configuration of the rollback job; ``rollback`` are fields of :class:`~assets.rollbacks.RollbackConfig`."""
    deploy = AssetKey([model, "deploy"]).to_python_identifier()
    return {"ops": {deploy: {"config": {"rollback": dict(rollback)}}}}


def rollback_job(spec: ModelSpec) -> UnresolvedAssetJobDefinition:
    """The button: choose the environment, write the reason, launch.

    It ends in a verification, so that a green run says that the release that came back really serves.
    """
    return define_asset_job(
        rollback_job_name(spec.name),
        selection=AssetSelection.assets([spec.name, "deploy"], [spec.name, "verification"]),
        partitions_def=ENVIRONMENT_PARTITIONS,
        config=rollback_config(spec.name, {"reason": "", "emergency": False, "by": "", "bad": ""}),  # a form to fill in
        description=f"Take the live release of {spec.name} out of an environment: the last release that verified comes "
        "back by a forward commit, the bad one is quarantined, and what came back is verified. Follow the link "
        "`roll back` below, choose the environment, fill in the reason.",
        metadata={"roll back": rollback_link(spec.name)},
        tags={"rankops/model": spec.name, ROLLBACK_TAG: "true"},
    )


def build_jobs(models: Sequence[ModelSpec]) -> list[UnresolvedAssetJobDefinition]:
    """A release, a rollback and a monitoring job per model, one ingest job per dataset."""
    jobs = []
    for spec in models:
        chain = AssetSelection.assets(*([spec.name, stage] for stage in STAGES))
        jobs.append(
            define_asset_job(
                release_job_name(spec.name),
                selection=AssetSelection.assets([spec.dataset, "dataset"]) | chain,
                partitions_def=ENVIRONMENT_PARTITIONS,
                description=f"Dataset → {' → '.join(STAGES)} for {spec.name}; the partition is the environment.",
                tags={"rankops/model": spec.name},
            )
        )
        jobs.append(rollback_job(spec))
        jobs.append(
            define_asset_job(
                monitor_job_name(spec.name),
                selection=AssetSelection.assets([spec.dataset, "traffic"], [spec.name, "drift_report"]),
                partitions_def=DAYS,
                description=f"Collect a day of traffic and compare it with what {spec.name} was trained on.",
                tags={"rankops/model": spec.name},
            )
        )
    for dataset in sorted({spec.dataset for spec in models}):
        jobs.append(
            define_asset_job(
                f"{dataset}_ingest",
                selection=AssetSelection.assets([dataset, "traffic"]),
                partitions_def=DAYS,
                description=f"Collect days of {dataset}'s catalogue, search events and request log.",
            )
        )
    return jobs
