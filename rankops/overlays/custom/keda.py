"""KEDA's kind ``ScaledObject``, ``keda.sh/v1alpha1``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rankops.overlays.custom.parts import Count, Part, Resource, Strings, Text


class ScalingPolicy(Part):
    """How much may change in how long."""

    type: Literal["Pods", "Percent"]
    value: int = Field(gt=0)
    period_seconds: int = Field(gt=0, le=1800)


class ScalingRules(Part):
    """One direction of scaling."""

    policies: list[ScalingPolicy] | None = None
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    stabilization_window_seconds: int | None = Field(default=None, ge=0, le=3600)
    tolerance: str | float | None = None


class Behavior(Part):
    """Scaling behaviour of the autoscaler that KEDA makes."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class AutoscalerConfig(Part):
    """The autoscaler that KEDA makes."""

    behavior: Behavior | None = None
    name: str | None = None


class ScalingModifiers(Part):
    """A formula over the triggers."""

    formula: str | None = None
    target: str | None = None
    activation_target: str | None = None
    metric_type: Literal["AverageValue", "Value"] | None = None


class Advanced(Part):
    """Options beyond triggers and bounds."""

    horizontal_pod_autoscaler_config: AutoscalerConfig | None = None
    restore_to_original_replica_count: bool | None = None
    scaling_modifiers: ScalingModifiers | None = None


class Fallback(Part):
    """What happens when a trigger has no answer."""

    failure_threshold: Count
    replicas: Count
    behavior: Literal["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"] = "static"


class Trigger(Part):
    """One source of load. ``metadata`` is text throughout, numbers too."""

    type: Text
    metadata: Strings
    name: str | None = None
    use_cached_metrics: bool | None = None
    authentication_ref: dict[str, str] | None = None
    metric_type: Literal["AverageValue", "Value", "Utilization"] | None = None

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Trigger:
        needed = {"prometheus": ("serverAddress", "query", "threshold"), "cpu": ("value",), "memory": ("value",)}
        if missing := [key for key in needed.get(self.type, ()) if not self.metadata.get(key)]:
            raise ValueError(f"a {self.type} trigger needs {', '.join(missing)} in its metadata")
        return self


class ScaleTarget(Part):
    """What is scaled."""

    name: Text
    api_version: str | None = None
    kind: str | None = None
    env_source_container_name: str | None = None


class ScaledObjectSpec(Part):
    """Bounds and triggers."""

    scale_target_ref: ScaleTarget
    triggers: list[Trigger] = Field(min_length=1)
    polling_interval: Annotated[int, Field(gt=0)] | None = None
    initial_cooldown_period: Count | None = None
    cooldown_period: Count | None = None
    idle_replica_count: Count | None = None
    min_replica_count: Count = 0
    max_replica_count: Count = 100
    advanced: Advanced | None = None
    fallback: Fallback | None = None

    @model_validator(mode="after")
    def _bounds(self) -> ScaledObjectSpec:
        if self.min_replica_count > self.max_replica_count:
            raise ValueError("minReplicaCount is above maxReplicaCount")
        if self.idle_replica_count is not None and self.idle_replica_count >= self.min_replica_count:
            raise ValueError("idleReplicaCount must be below minReplicaCount")
        if self.fallback and not self.min_replica_count <= self.fallback.replicas <= self.max_replica_count:
            raise ValueError("fallback.replicas is not between minReplicaCount and maxReplicaCount")
        if self.fallback and not any(
            trigger.type not in ("cpu", "memory") and trigger.metric_type in (None, "AverageValue")
            for trigger in self.triggers
        ):
            raise ValueError("the fallback needs a trigger of metricType AverageValue that is not cpu or memory")
        return self


class ScaledObject(Resource):
    """Autoscaling by KEDA."""

    spec: ScaledObjectSpec
