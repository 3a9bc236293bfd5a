"""Argo CD's objects as their published API types have them (Argo CD 3: ``argoproj.io/v1alpha1``)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rankops.overlays.controller_flux import Spec


class KustomizeSource(Spec):
    """What is changed on the way from the folder to the cluster."""

    name_prefix: str | None = None
    name_suffix: str | None = None
    images: list[str] | None = None
    common_labels: dict[str, str] | None = None
    version: str | None = None
    common_annotations: dict[str, str] | None = None
    force_common_labels: bool = False
    force_common_annotations: bool = False
    namespace: str | None = None
    common_annotations_envsubst: bool = False
    replicas: list[dict[str, Any]] | None = None
    patches: list[dict[str, Any]] | None = None
    components: list[str] | None = None
    ignore_missing_components: bool = False
    label_without_selector: bool = False
    kube_version: str | None = None
    api_versions: list[str] | None = None


class HelmSource(Spec):
    """How a chart is rendered."""

    value_files: list[str] | None = None
    parameters: list[dict[str, Any]] | None = None
    release_name: str | None = None
    values: str | None = None
    file_parameters: list[dict[str, str]] | None = None
    version: str | None = None
    pass_credentials: bool = False
    ignore_missing_value_files: bool = False
    skip_crds: bool = False
    values_object: dict[str, Any] | None = None
    namespace: str | None = None
    kube_version: str | None = None
    api_versions: list[str] | None = None
    skip_tests: bool = False
    skip_schema_validation: bool = False


class Source(Spec):
    """Where manifests come from."""

    repo_url: str = Field(alias="repoURL")
    path: str | None = None
    target_revision: str | None = None
    helm: HelmSource | None = None
    kustomize: KustomizeSource | None = None
    directory: dict[str, Any] | None = None
    plugin: dict[str, Any] | None = None
    chart: str | None = None
    ref: str | None = None
    name: str | None = None


class Destination(Spec):
    """Where manifests go."""

    server: str | None = None
    namespace: str | None = None
    name: str | None = None


class Backoff(Spec):
    """How long between attempts."""

    duration: str | None = None
    factor: int | None = None
    max_duration: str | None = None


class Retry(Spec):
    """How often a failed sync is tried again."""

    limit: int | None = None
    backoff: Backoff | None = None
    refresh: bool = False


class Automated(Spec):
    """Sync without being asked."""

    prune: bool = False
    self_heal: bool = False
    allow_empty: bool = False
    enabled: bool | None = None


class SyncPolicy(Spec):
    """When and how a sync is done."""

    automated: Automated | None = None
    sync_options: list[str] | None = None
    retry: Retry | None = None
    managed_namespace_metadata: dict[str, dict[str, str]] | None = None


class IgnoreDifference(Spec):
    """Fields that do not count as different."""

    group: str | None = None
    kind: str
    name: str | None = None
    namespace: str | None = None
    json_pointers: list[str] | None = None
    jq_path_expressions: list[str] | None = None
    managed_fields_managers: list[str] | None = None


class Application(Spec):
    """One folder or chart in one namespace."""

    destination: Destination
    project: str
    source: Source | None = None
    sources: list[Source] | None = None
    source_hydrator: dict[str, Any] | None = None
    sync_policy: SyncPolicy | None = None
    ignore_differences: list[IgnoreDifference] | None = None
    info: list[dict[str, str]] | None = None
    revision_history_limit: int | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if sum(value is not None for value in (self.source, self.sources, self.source_hydrator)) != 1:
            raise ValueError("exactly one of source, sources and sourceHydrator must be set")
        return self


class GroupKind(Spec):
    """A kind of object."""

    group: str
    kind: str


class ClusterGroupKind(GroupKind):
    """A kind of object of the whole cluster, or one of them."""

    name: str | None = None


class ProjectRole(Spec):
    """People's rights in a project."""

    name: str
    description: str | None = None
    policies: list[str] | None = None
    groups: list[str] | None = None
    jwt_tokens: list[dict[str, Any]] | None = None


class AppProject(Spec):
    """What its Applications may do."""

    source_repos: list[str] | None = None
    destinations: list[Destination] | None = None
    description: str | None = Field(default=None, max_length=255)
    roles: list[ProjectRole] | None = None
    cluster_resource_whitelist: list[ClusterGroupKind] | None = None
    cluster_resource_blacklist: list[ClusterGroupKind] | None = None
    namespace_resource_whitelist: list[GroupKind] | None = None
    namespace_resource_blacklist: list[GroupKind] | None = None
    orphaned_resources: dict[str, Any] | None = None
    sync_windows: list[dict[str, Any]] | None = None
    signature_keys: list[dict[str, str]] | None = None
    source_namespaces: list[str] | None = None
    permit_only_project_scoped_clusters: bool = False
    destination_service_accounts: list[dict[str, str]] | None = None


class GitDirectory(Spec):
    """Folders that make one Application each."""

    path: str
    exclude: bool = False


class GitFile(Spec):
    """Files that make one Application each."""

    path: str
    exclude: bool = False


class GitGenerator(Spec):
    """Applications out of a repository's folders or files."""

    repo_url: str = Field(alias="repoURL")
    revision: str
    directories: list[GitDirectory] | None = None
    files: list[GitFile] | None = None
    requeue_after_seconds: int | None = None
    template: dict[str, Any] | None = None
    path_param_prefix: str | None = None
    values: dict[str, str] | None = None


class Generator(Spec):
    """One source of parameters; those that are not used here are not looked into."""

    git: GitGenerator | None = None
    list: dict[str, Any] | None = None
    clusters: dict[str, Any] | None = None
    scm_provider: dict[str, Any] | None = None
    cluster_decision_resource: dict[str, Any] | None = None
    pull_request: dict[str, Any] | None = None
    matrix: dict[str, Any] | None = None
    merge: dict[str, Any] | None = None
    plugin: dict[str, Any] | None = None
    selector: dict[str, Any] | None = None


class MatchExpression(Spec):
    """A condition on an Application's label."""

    key: str
    operator: Literal["In", "NotIn"]
    values: list[str]


class RolloutStep(Spec):
    """Applications that are synced together."""

    match_expressions: list[MatchExpression] | None = None
    max_update: int | str | None = None


class RollingSync(Spec):
    """The steps, in order."""

    steps: list[RolloutStep] | None = None


class Strategy(Spec):
    """The order in which Applications are updated and deleted."""

    type: Literal["RollingSync", "AllAtOnce"] | None = None
    rolling_sync: RollingSync | None = None
    deletion_order: Literal["AllAtOnce", "Reverse"] | None = None


class TemplateMetadata(Spec):
    """Names and labels of the Applications that are made."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None


class Template(Spec):
    """The Application that is made."""

    metadata: TemplateMetadata
    spec: Application


class ApplicationSetSyncPolicy(Spec):
    """How Applications follow their set."""

    preserve_resources_on_deletion: bool = False
    applications_sync: Literal["create-only", "create-update", "create-delete", "sync"] | None = None


class ApplicationSet(Spec):
    """Applications out of a template."""

    generators: list[Generator]
    template: Template
    go_template: bool = False
    go_template_options: list[str] | None = None
    sync_policy: ApplicationSetSyncPolicy | None = None
    strategy: Strategy | None = None
    preserved_fields: dict[str, list[str]] | None = None
    apply_nested_selectors: bool = False
    ignore_application_differences: list[dict[str, Any]] | None = None
    template_patch: str | None = None
