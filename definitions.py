"""The code location: what Dagster loads (see workspace.yaml). Built by a factory that takes overrides.

``build_defs`` takes models and resources, so that tests and forks swap what they need without patching; nothing is
read from disk, network or environment here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import Definitions, ExecutorDefinition, multiprocess_executor

from assets.build import build_assets
from assets.models import MODELS
from automation.jobs import build_jobs
from automation.schedules import build_schedules
from automation.sensors import build_sensors
from rankops.specs import ModelSpec
from resources.alerts import Alerts
from resources.cluster import LocalCluster
from resources.datasets import ImportedDatasets
from resources.forge import Forge
from resources.gitops import GitOps
from resources.kustomize import Kustomize
from resources.shop import GeneratedShop
from resources.store import ReferenceIOManager, Store
from resources.tracking import Tracking
from resources.trainer import SubprocessTrainer


def default_resources() -> dict[str, Any]:
    """Embedded defaults: everything works on a laptop, with no cluster, hub or account."""
    return {
        "alerts": Alerts(),
        "cluster": LocalCluster(),
        "forge": Forge(),
        "gitops": GitOps(),
        "imported": ImportedDatasets(),
        "io_manager": ReferenceIOManager(),
        "kustomize": Kustomize(),
        "shop": GeneratedShop(),
        "store": Store(),
        "tracking": Tracking(),
        "trainer": SubprocessTrainer(),
    }


def build_defs(
    *,
    models: Sequence[ModelSpec] = MODELS,
    resource_overrides: Mapping[str, Any] | None = None,
    executor: ExecutorDefinition | None = None,
    loggers: Mapping[str, Any] | None = None,
) -> Definitions:
    """Definitions of these models. ``resource_overrides`` replaces defaults by name."""
    jobs = build_jobs(models)
    return Definitions(
        assets=build_assets(models),
        jobs=jobs,
        schedules=build_schedules(jobs),
        sensors=build_sensors(models),
        resources={**default_resources(), **(resource_overrides or {})},
        executor=executor or multiprocess_executor.configured({"max_concurrent": 1}),
        loggers=loggers,
    )


defs = build_defs()
