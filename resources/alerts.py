"""Firing alerts: asked of Prometheus, and told by Alertmanager's webhook (``rankops alert-webhook``)."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

from dagster import ConfigurableResource
from pydantic import Field

if TYPE_CHECKING:
    from rankops.overlays.rollback_decision import Symptom
    from rankops.specs import ModelSpec
    from rankops.store import ArtifactStore


class Alerts(ConfigurableResource):
    """Where alerts come from and which of them may roll a release back. RANKOPS_PROMETHEUS_TOKEN is its token."""

    prometheus_url: str = Field(default="", description="root of a Prometheus server; empty: only the webhook's inbox")
    names: list[str] = Field(
        default=["RankopsErrors"], description='rules that may roll back without the label rankops_rollback="true"'
    )
    namespaces: dict[str, str] = Field(
        default={}, description="namespace: environment, where it is not rankops-<environment>"
    )

    def symptoms(self, store: ArtifactStore, spec: ModelSpec, now: datetime) -> list[tuple[str, Symptom]]:
        """``(environment, symptom)`` of what fires now; raises RemoteUnavailable where that cannot be found out."""
        from rankops.specs import ENVIRONMENTS
        from rankops.stages.alerts import Inbox, prometheus_alerts, symptoms

        firing = Inbox(store).firing(now)
        if self.prometheus_url:
            token = os.environ.get("RANKOPS_PROMETHEUS_TOKEN") or None
            firing += prometheus_alerts(self.prometheus_url, token=token)
        environments = [environment.name for environment in ENVIRONMENTS]
        return symptoms(firing, spec.name, environments, names=self.names, namespaces=self.namespaces)
