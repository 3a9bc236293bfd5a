"""All assets of a repository's models: a dozen coarse ones per model, none per query or product."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import AssetsDefinition, AssetSpec

from assets.checkpoints import checkpoint_asset
from assets.datasets import dataset_asset, traffic_asset
from assets.deployments import ENVIRONMENT_PARTITIONS, deploy_asset, verification_asset
from assets.drift import decision_spec, drift_asset
from assets.evaluations import evaluation_asset
from assets.quantized import quantized_asset
from assets.releases import release_asset
from assets.rollbacks import rollback_decision_spec
from assets.search import search_asset
from rankops.specs import ModelSpec


def build_assets(models: Sequence[ModelSpec]) -> list[AssetsDefinition | AssetSpec]:
    """Assets of the data sets that the models use, then of each model.

    A simulated shop's users meet the first model of their data set.
    """
    assets: list[AssetsDefinition | AssetSpec] = []
    first_model = {spec.dataset: spec.name for spec in reversed(models)}
    for dataset, model in sorted(first_model.items()):
        assets += [traffic_asset(dataset, model), dataset_asset(dataset)]
    for spec in models:
        assets += [
            *_model_assets(spec),
            deploy_asset(spec),
            verification_asset(spec),
            rollback_decision_spec(spec, ENVIRONMENT_PARTITIONS),
            drift_asset(spec),
            decision_spec(spec),
        ]
    return assets


def build_published_assets(models: Sequence[ModelSpec]) -> list[AssetsDefinition]:
    """From datasets that lie in folders to releases: no traffic to collect, and no environment to deploy to."""
    datasets = [dataset_asset(name, collected=False) for name in sorted({spec.dataset for spec in models})]
    return [*datasets, *(asset for spec in models for asset in _model_assets(spec))]


def _model_assets(spec: ModelSpec) -> list[AssetsDefinition]:
    """What makes a release of a dataset."""
    return [
        search_asset(spec),
        checkpoint_asset(spec),
        evaluation_asset(spec),
        quantized_asset(spec),
        release_asset(spec),
    ]
