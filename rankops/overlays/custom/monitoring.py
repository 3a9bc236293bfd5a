"""The Prometheus operator's kinds, ``monitoring.coreos.com/v1``: PodMonitor and PrometheusRule."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from rankops.overlays.custom.parts import Count, Duration, Part, Resource, Selector, Strings, Text


class Relabeling(Part):
    """One step of relabeling."""

    source_labels: list[str] | None = None
    separator: str | None = None
    target_label: str | None = None
    regex: str | None = None
    modulus: int | None = None
    replacement: str | None = None
    action: Literal[
        "replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase",
        "keepequal", "dropequal",
    ] = "replace"  # fmt: skip


class PodMetricsEndpoint(Part):
    """One endpoint that is scraped."""

    port: Text
    path: str | None = None
    scheme: Literal["http", "https"] | None = None
    params: dict[str, list[str]] | None = None
    interval: Duration | None = None
    scrape_timeout: Duration | None = None
    honor_labels: bool | None = None
    honor_timestamps: bool | None = None
    track_timestamps_staleness: bool | None = None
    metric_relabelings: list[Relabeling] | None = None
    relabelings: list[Relabeling] | None = None
    proxy_url: str | None = None
    follow_redirects: bool | None = None
    filter_running: bool | None = None
    enable_http2: bool | None = Field(default=None, alias="enableHttp2")
    tls_config: dict[str, Any] | None = None
    basic_auth: dict[str, Any] | None = None
    oauth2: dict[str, Any] | None = None
    authorization: dict[str, Any] | None = None


class NamespaceSelector(Part):
    """Which namespaces are looked into; absent: the monitor's own."""

    any: bool | None = None
    match_names: list[str] | None = None


class PodMonitorSpec(Part):
    """Which pods are scraped, and how."""

    selector: Selector
    pod_metrics_endpoints: list[PodMetricsEndpoint] = Field(min_length=1)
    namespace_selector: NamespaceSelector | None = None
    job_label: str | None = None
    pod_target_labels: list[str] | None = None
    sample_limit: Count | None = None
    target_limit: Count | None = None
    label_limit: Count | None = None
    label_name_length_limit: Count | None = None
    label_value_length_limit: Count | None = None
    keep_dropped_targets: Count | None = None
    scrape_protocols: list[str] | None = None
    scrape_class: Text | None = None
    attach_metadata: dict[str, bool] | None = None


class PodMonitor(Resource):
    """Scraping of pods."""

    spec: PodMonitorSpec


class PrometheusRuleItem(Part):
    """An alert or a recording rule."""

    expr: Text
    alert: Text | None = None
    record: Text | None = None
    for_: Duration | None = Field(default=None, alias="for")
    keep_firing_for: Duration | None = Field(default=None, alias="keep_firing_for")
    labels: Strings | None = None
    annotations: Strings | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> PrometheusRuleItem:
        if (self.alert is None) == (self.record is None):
            raise ValueError("needs either `alert` or `record`")
        if self.record is not None and (self.for_ or self.annotations or self.keep_firing_for):
            raise ValueError("a recording rule has no `for`, `keep_firing_for` or `annotations`")
        return self


class PrometheusRuleGroup(Part):
    """Rules that are evaluated one after another."""

    name: Text
    rules: list[PrometheusRuleItem] = Field(min_length=1)
    interval: Duration | None = None
    labels: Strings | None = None
    limit: int | None = None
    query_offset: Duration | None = Field(default=None, alias="query_offset")
    partial_response_strategy: str | None = Field(default=None, alias="partial_response_strategy")


class PrometheusRuleSpec(Part):
    """Groups of rules; their names are unique."""

    groups: list[PrometheusRuleGroup] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> PrometheusRuleSpec:
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError("two groups have the same name")
        return self


class PrometheusRule(Resource):
    """Alerts and recording rules."""

    spec: PrometheusRuleSpec
