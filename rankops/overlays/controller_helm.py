"""Flux's HelmRelease (helm v2) and notification objects (v1, v1beta3) as their published API types have them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from rankops.overlays.controller_flux import (
    Crds,
    Dependency,
    Duration,
    IgnoreRule,
    Image,
    KubeConfig,
    LocalReference,
    Name253,
    Patch,
    ShortDuration,
    Spec,
)

Label53 = Annotated[str, StringConstraints(min_length=1, max_length=53)]
Label63 = Annotated[str, StringConstraints(min_length=1, max_length=63)]
COMMIT_STATUS = ("github", "gitlab", "gitea", "bitbucketserver", "bitbucket", "azuredevops")
"""Types of providers that post commit statuses; their Alerts may only listen to objects that know a commit."""


class ChartSource(Spec):
    """Where a chart comes from."""

    kind: Literal["HelmRepository", "GitRepository", "Bucket"]
    name: Name253
    namespace: Label63 | None = None
    api_version: str | None = None


class ChartVerification(Spec):
    """Whose signatures on the chart count."""

    provider: Literal["cosign", "notation"] = "cosign"
    secret_ref: LocalReference | None = None


class ChartSpec(Spec):
    """Which chart, which version."""

    chart: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    source_ref: ChartSource
    version: str | None = None
    interval: Duration | None = None
    reconcile_strategy: Literal["ChartVersion", "Revision"] | None = None
    values_files: list[str] | None = None
    ignore_missing_values_files: bool = False
    verify: ChartVerification | None = None


class ChartTemplate(Spec):
    """The HelmChart that is made."""

    metadata: dict[str, dict[str, str]] | None = None
    spec: ChartSpec


class ChartRef(Spec):
    """A chart that another object fetched."""

    kind: Literal["OCIRepository", "HelmChart", "ExternalArtifact"]
    name: Name253
    namespace: Label63 | None = None
    api_version: str | None = None


class InstallRemediation(Spec):
    """What happens after a failed installation."""

    retries: int = 0
    ignore_test_failures: bool | None = None
    remediate_last_failure: bool | None = None


class UpgradeRemediation(InstallRemediation):
    """What happens after a failed upgrade."""

    strategy: Literal["rollback", "uninstall"] | None = None


class Action(Spec):
    """What installing and upgrading have in common."""

    timeout: Duration | None = None
    disable_wait: bool = False
    disable_wait_for_jobs: bool = False
    disable_hooks: bool = False
    disable_open_api_validation: bool = Field(default=False, alias="disableOpenAPIValidation")
    disable_schema_validation: bool = False
    disable_take_ownership: bool = False
    crds: Crds | None = None


class Install(Action):
    """How it is installed."""

    remediation: InstallRemediation | None = None
    replace: bool = False
    create_namespace: bool = False


class Upgrade(Action):
    """How it is upgraded."""

    remediation: UpgradeRemediation | None = None
    force: bool = False
    preserve_values: bool = False
    cleanup_on_fail: bool = False


class DriftDetection(Spec):
    """Whether changes from outside are undone."""

    mode: Literal["enabled", "warn", "disabled"] | None = None
    ignore: list[IgnoreRule] | None = None


class ValuesFrom(Spec):
    """Values that lie in another object."""

    kind: Literal["Secret", "ConfigMap"]
    name: Name253
    values_key: str | None = None
    target_path: str | None = None
    optional: bool = False
    literal: bool = False


class PostRendererKustomize(Spec):
    """Patches on what the chart rendered."""

    patches: list[Patch] | None = None
    images: list[Image] | None = None


class PostRenderer(Spec):
    """One step after the chart."""

    kustomize: PostRendererKustomize | None = None


class HelmRelease(Spec):
    """helm.toolkit.fluxcd.io/v2."""

    interval: Duration
    chart: ChartTemplate | None = None
    chart_ref: ChartRef | None = None
    kube_config: KubeConfig | None = None
    suspend: bool = False
    release_name: Label53 | None = None
    target_namespace: Label63 | None = None
    storage_namespace: Label63 | None = None
    depends_on: list[Dependency] | None = None
    timeout: Duration | None = None
    max_history: int | None = None
    service_account_name: Name253 | None = None
    persistent_client: bool | None = None
    drift_detection: DriftDetection | None = None
    install: Install | None = None
    upgrade: Upgrade | None = None
    test: dict[str, Any] | None = None
    rollback: dict[str, Any] | None = None
    uninstall: dict[str, Any] | None = None
    values_from: list[ValuesFrom] | None = None
    values: dict[str, Any] | None = None
    post_renderers: list[PostRenderer] | None = None

    @model_validator(mode="after")
    def _one_chart(self) -> Self:
        if (self.chart is None) == (self.chart_ref is None):
            raise ValueError("either chart or chartRef must be set")
        return self


class EventSource(Spec):
    """Objects whose events count."""

    kind: Literal[
        "Bucket",
        "GitRepository",
        "Kustomization",
        "HelmRelease",
        "HelmChart",
        "HelmRepository",
        "ImageRepository",
        "ImagePolicy",
        "ImageUpdateAutomation",
        "OCIRepository",
        "ArtifactGenerator",
        "ExternalArtifact",
    ]
    name: Name253
    namespace: Name253 | None = None
    api_version: str | None = None
    match_labels: dict[str, str] | None = None

    @model_validator(mode="after")
    def _labels_need_a_star(self) -> Self:
        if self.match_labels and self.name != "*":
            raise ValueError("matchLabels requires the name '*'")
        return self


class Receiver(Spec):
    """notification.toolkit.fluxcd.io/v1."""

    type: Literal[
        "generic",
        "generic-hmac",
        "github",
        "gitlab",
        "bitbucket",
        "harbor",
        "dockerhub",
        "quay",
        "gcr",
        "nexus",
        "acr",
        "cdevents",
    ]
    resources: list[EventSource]
    secret_ref: LocalReference
    interval: Duration | None = None
    events: list[str] | None = None
    resource_filter: str | None = None
    suspend: bool = False


class Alert(Spec):
    """notification.toolkit.fluxcd.io/v1beta3."""

    provider_ref: LocalReference
    event_sources: list[EventSource]
    event_severity: Literal["info", "error"] = "info"
    inclusion_list: list[str] | None = None
    exclusion_list: list[str] | None = None
    event_metadata: dict[str, str] | None = None
    summary: Annotated[str, StringConstraints(max_length=255)] | None = None
    suspend: bool = False


class Provider(Spec):
    """notification.toolkit.fluxcd.io/v1beta3."""

    type: Literal[
        "slack",
        "discord",
        "msteams",
        "rocket",
        "generic",
        "generic-hmac",
        "github",
        "gitlab",
        "gitea",
        "bitbucketserver",
        "bitbucket",
        "azuredevops",
        "googlechat",
        "googlepubsub",
        "webex",
        "sentry",
        "azureeventhub",
        "telegram",
        "lark",
        "matrix",
        "opsgenie",
        "alertmanager",
        "grafana",
        "githubdispatch",
        "pagerduty",
        "datadog",
        "nats",
    ]
    channel: Annotated[str, StringConstraints(max_length=2048)] | None = None
    username: Annotated[str, StringConstraints(max_length=2048)] | None = None
    address: Annotated[str, StringConstraints(max_length=2048)] | None = None
    timeout: ShortDuration | None = None
    proxy_secret_ref: LocalReference | None = None
    secret_ref: LocalReference | None = None
    service_account_name: str | None = None
    cert_secret_ref: LocalReference | None = None
    suspend: bool = False
    commit_status_expr: str | None = None

    @model_validator(mode="after")
    def _commit_status_needs_a_forge(self) -> Self:
        if self.commit_status_expr and self.type not in COMMIT_STATUS:
            raise ValueError(f"commitStatusExpr is only for providers of type {', '.join(COMMIT_STATUS)}")
        return self
