"""Flagger's kinds, ``flagger.app/v1beta1``: Canary and MetricTemplate."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rankops.overlays.custom.parts import Count, FlaggerInterval, Part, Reference, Resource, Strings, Text


class ReplicaBounds(Part):
    """Bounds of the promoted Deployment's autoscaler where they differ."""

    min_replicas: Annotated[int, Field(ge=1)] | None = None
    max_replicas: Annotated[int, Field(ge=1)] | None = None


class CanaryTarget(Reference):
    """What Flagger delivers."""

    kind: Literal["Deployment", "DaemonSet", "Service"]


class CanaryAutoscaler(Reference):
    """The autoscaler that Flagger copies for the promoted Deployment."""

    kind: Literal["HorizontalPodAutoscaler", "ScaledObject"]
    primary_scaler_queries: Strings | None = None
    primary_scaler_replicas: ReplicaBounds | None = None


class ParentReference(Part):
    """A Gateway (or, in a mesh, a Service) that the route hangs on."""

    name: Text
    namespace: str | None = None
    group: str | None = None
    kind: str | None = None
    section_name: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class CustomMetadata(Part):
    """Labels and annotations of a Service that Flagger makes."""

    labels: Strings | None = None
    annotations: Strings | None = None


class CanaryService(Part):
    """The Service and the route that Flagger manages."""

    port: int = Field(ge=1, le=65535)
    name: str | None = None
    port_name: str | None = None
    target_port: int | str | None = None
    app_protocol: str | None = None
    port_discovery: bool | None = None
    headless: bool | None = None
    traffic_distribution: Literal["PreferClose", "PreferSameZone", "PreferSameNode"] | None = None
    timeout: str | None = None
    backend_timeout: str | None = None
    gateways: list[str] | None = None
    gateway_refs: list[ParentReference] | None = Field(default=None, max_length=32)
    hosts: list[Text] | None = None
    delegation: bool | None = None
    apex: CustomMetadata | None = None
    primary: CustomMetadata | None = None
    canary: CustomMetadata | None = None
    unmanaged_metadata: dict[str, list[str]] | None = None
    match: list[dict[str, Any]] | None = None
    rewrite: dict[str, Any] | None = None
    retries: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None
    mirror: list[dict[str, Any]] | None = None
    cors_policy: dict[str, Any] | None = None
    traffic_policy: dict[str, Any] | None = None


class ThresholdRange(Part):
    """Bounds that a metric must keep."""

    min: float | None = None
    max: float | None = None


class TemplateReference(Part):
    """A MetricTemplate."""

    name: Text
    namespace: str | None = None


class CanaryMetric(Part):
    """One check of the analysis."""

    name: Text
    interval: FlaggerInterval | None = None
    threshold: float | None = None
    threshold_range: ThresholdRange | None = None
    query: str | None = None
    template_ref: TemplateReference | None = None
    template_variables: Strings | None = None

    @model_validator(mode="after")
    def _can_fail(self) -> CanaryMetric:
        bounds = self.threshold_range
        if self.threshold is None and (bounds is None or (bounds.min is None and bounds.max is None)):
            raise ValueError("has no bound, so it can never fail")
        return self


class CanaryWebhook(Part):
    """A call that Flagger makes during the analysis."""

    name: Text
    url: Text
    type: Literal[
        "", "confirm-rollout", "pre-rollout", "rollout", "confirm-promotion", "post-rollout", "event", "rollback",
        "confirm-traffic-increase",
    ] = ""  # fmt: skip
    timeout: FlaggerInterval | None = None
    retries: Count | None = None
    mute_alert: bool | None = None
    disable_tls: bool | None = Field(default=None, alias="disableTLS")
    metadata: Strings | None = None


class CanaryAnalysis(Part):
    """How a new release is tried."""

    interval: FlaggerInterval
    threshold: int = Field(ge=1)
    metrics: list[CanaryMetric] = Field(min_length=1)
    iterations: Annotated[int, Field(ge=1)] | None = None
    max_weight: Annotated[int, Field(ge=1, le=100)] | None = None
    step_weight: Annotated[int, Field(ge=1, le=100)] | None = None
    step_weights: list[Annotated[int, Field(ge=1, le=100)]] | None = None
    step_weight_promotion: Annotated[int, Field(ge=0, le=100)] | None = None
    mirror: bool | None = None
    mirror_weight: Annotated[int, Field(ge=0, le=100)] | None = None
    primary_ready_threshold: Annotated[int, Field(ge=0, le=100)] | None = None
    canary_ready_threshold: Annotated[int, Field(ge=0, le=100)] | None = None
    match: list[dict[str, Any]] | None = None
    alerts: list[dict[str, Any]] | None = None
    webhooks: list[CanaryWebhook] | None = None
    session_affinity: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_one_strategy(self) -> CanaryAnalysis:
        given = [self.iterations is not None, self.step_weight is not None, self.step_weights is not None]
        if sum(given) != 1:
            raise ValueError("needs exactly one of iterations, stepWeight and stepWeights")
        return self


class CanarySpec(Part):
    """Target, route and analysis."""

    target_ref: CanaryTarget
    analysis: CanaryAnalysis
    service: CanaryService
    provider: Literal[
        "apisix", "appmesh", "appmesh:v1beta2", "contour", "gatewayapi:v1", "gatewayapi:v1beta1", "gloo", "istio",
        "knative", "kubernetes", "kuma", "linkerd", "nginx", "osm", "skipper", "smi:v1alpha1", "smi:v1alpha2",
        "smi:v1alpha3", "traefik",
    ] | None = None  # fmt: skip
    metrics_server: str | None = None
    progress_deadline_seconds: Count | None = None
    autoscaler_ref: CanaryAutoscaler | None = None
    ingress_ref: Reference | None = None
    route_ref: Reference | None = None
    skip_analysis: bool | None = None
    revert_on_deletion: bool | None = None
    suspend: bool | None = None


class Canary(Resource):
    """Progressive delivery by Flagger."""

    spec: CanarySpec


class MetricProvider(Part):
    """Where the metric comes from."""

    type: Literal[
        "prometheus", "influxdb", "datadog", "externalmetrics", "stackdriver", "cloudwatch", "newrelic", "graphite",
        "dynatrace", "keptn", "splunk",
    ]  # fmt: skip
    address: str | None = None
    headers: dict[str, list[str]] | None = None
    secret_ref: dict[str, str] | None = None
    region: str | None = None
    insecure_skip_verify: bool | None = None


class MetricTemplateSpec(Part):
    """A query with Flagger's variables."""

    provider: MetricProvider
    query: Text


class MetricTemplate(Resource):
    """A query that a canary analysis asks."""

    spec: MetricTemplateSpec
