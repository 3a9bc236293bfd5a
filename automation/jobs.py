"""Jobs: named selections of assets that people and sensors start as one run."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import AssetSelection, define_asset_job
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.datasets import DAYS
from assets.deployments import ENVIRONMENT_PARTITIONS
from rankops.specs import ModelSpec

STAGES = ("checkpoint", "evaluation", "quantized", "release", "deploy", "verification")


def release_job_name(model: str) -> str:
    """The job that carries a model from the dataset to a verified deployment."""
    return f"{model.replace('-', '_')}_release"


def build_jobs(models: Sequence[ModelSpec]) -> list[UnresolvedAssetJobDefinition]:
    """One release job per model, one monitoring job per model, one ingest job per dataset."""
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
        jobs.append(
            define_asset_job(
                f"{spec.name.replace('-', '_')}_monitor",
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
