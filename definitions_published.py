"""A second code location: one model a task on published data sets, from the folder to the signed release.

The stages and asset factories are those of the shop's models. There is no traffic to collect here and nothing to deploy
to: a model that is to live gets overlay folders and its place in ``MODELS`` (assets/models.py). `rankops fit` does the
same without Dagster, and learns once more from the held-out part for the owner of the test labels.
"""

from __future__ import annotations

from dagster import AssetSelection, Definitions, define_asset_job, multiprocess_executor

from assets.build import build_published_assets
from assets.models import PUBLISHED
from definitions import default_resources
from resources.datasets import SharedData

FOLDERS = {"icecat": "search_icecat", "matching": "matching_wdc", "retail": "retail"}
"""Folders of the shared data by dataset."""

STAGES = ("checkpoint", "evaluation", "quantized", "release")


def build_published_defs() -> Definitions:
    """Assets, and a job a model that makes its release."""
    jobs = [
        define_asset_job(
            f"{spec.name}_fit",
            selection=AssetSelection.assets([spec.dataset, "dataset"], *([spec.name, stage] for stage in STAGES)),
            description=f"Dataset → {' → '.join(STAGES)} for {spec.name}.",
            tags={"rankops/model": spec.name},
        )
        for spec in PUBLISHED
    ]
    return Definitions(
        assets=build_published_assets(PUBLISHED),
        jobs=jobs,
        resources={**default_resources(), "imported": SharedData(folders=FOLDERS)},
        executor=multiprocess_executor.configured({"max_concurrent": 1}),
    )


defs = build_published_defs()
