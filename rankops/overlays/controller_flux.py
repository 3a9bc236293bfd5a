"""Flux's objects as its published API types have them (Flux 2.6: source v1, kustomize v1, helm v2, notification).

What belongs here: the fields of ``spec``, their types, enumerations, patterns and cross-field rules. A field that is
not in the API is an error: Kubernetes drops it silently, and a misspelled ``dependsOn`` is then no order at all.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$")]
ShortDuration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$")]
Name253 = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Crds = Literal["Skip", "Create", "CreateReplace"]


class Spec(BaseModel):
    """A part of an API object: camelCase names, nothing unknown, no coercion (``"true"`` is not ``true``)."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class LocalReference(Spec):
    """An object in the same namespace."""

    name: str


class GitRef(Spec):
    """What is checked out."""

    branch: str | None = None
    tag: str | None = None
    semver: str | None = None
    name: str | None = None
    commit: str | None = None


class GitVerification(Spec):
    """Whose signatures count."""

    mode: Literal["head", "HEAD", "Tag", "TagAndHEAD"] = "HEAD"
    secret_ref: LocalReference


class GitInclude(Spec):
    """Another repository's content inside this one's artifact."""

    repository: LocalReference
    from_path: str | None = None
    to_path: str | None = None


class GitRepository(Spec):
    """source.toolkit.fluxcd.io/v1."""

    url: Annotated[str, StringConstraints(pattern=r"^(http|https|ssh)://.*$")]
    interval: Duration
    secret_ref: LocalReference | None = None
    provider: Literal["generic", "aws", "azure", "github"] | None = None
    service_account_name: str | None = None
    timeout: ShortDuration | None = None
    ref: GitRef | None = None
    verify: GitVerification | None = None
    proxy_secret_ref: LocalReference | None = None
    ignore: str | None = None
    suspend: bool = False
    recurse_submodules: bool = False
    include: list[GitInclude] | None = None
    sparse_checkout: list[str] | None = None

    @model_validator(mode="after")
    def _service_account_needs_a_cloud(self) -> Self:
        if self.service_account_name and self.provider not in ("azure", "aws"):
            raise ValueError("serviceAccountName can only be set when provider is 'azure' or 'aws'")
        return self


class HelmRepository(Spec):
    """source.toolkit.fluxcd.io/v1."""

    url: Annotated[str, StringConstraints(pattern=r"^(http|https|oci)://.*$")]
    interval: Duration | None = None
    secret_ref: LocalReference | None = None
    cert_secret_ref: LocalReference | None = None
    pass_credentials: bool = False
    insecure: bool = False
    timeout: ShortDuration | None = None
    suspend: bool = False
    access_from: dict[str, Any] | None = None
    type: Literal["default", "oci"] | None = None
    provider: Literal["generic", "aws", "azure", "gcp"] | None = None


class OciRef(Spec):
    """Which artifact."""

    digest: str | None = None
    semver: str | None = None
    semver_filter: str | None = None
    tag: str | None = None


class OciLayer(Spec):
    """Which layer of it."""

    media_type: str | None = None
    operation: Literal["extract", "copy"] | None = None


class OciIdentity(Spec):
    """Who may have signed without a key."""

    issuer: str
    subject: str


class OciVerification(Spec):
    """Whose signatures count."""

    provider: Literal["cosign", "notation"] = "cosign"
    secret_ref: LocalReference | None = None
    match_oidc_identity: list[OciIdentity] | None = Field(default=None, alias="matchOIDCIdentity")


class OCIRepository(Spec):
    """source.toolkit.fluxcd.io/v1."""

    url: Annotated[str, StringConstraints(pattern=r"^oci://.*$")]
    interval: Duration
    ref: OciRef | None = None
    layer_selector: OciLayer | None = None
    provider: Literal["generic", "aws", "azure", "gcp"] | None = None
    secret_ref: LocalReference | None = None
    verify: OciVerification | None = None
    service_account_name: str | None = None
    cert_secret_ref: LocalReference | None = None
    proxy_secret_ref: LocalReference | None = None
    timeout: ShortDuration | None = None
    ignore: str | None = None
    insecure: bool = False
    suspend: bool = False


class Dependency(Spec):
    """Another object that must be ready first."""

    name: str
    namespace: str | None = None
    ready_expr: str | None = None


class SourceRef(Spec):
    """Where a Kustomization's files are."""

    kind: Literal["OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"]
    name: str
    namespace: str | None = None
    api_version: str | None = None


class Selector(Spec):
    """Which objects a patch or a rule is about."""

    group: str | None = None
    version: str | None = None
    kind: str | None = None
    name: str | None = None
    namespace: str | None = None
    label_selector: str | None = None
    annotation_selector: str | None = None


class Patch(Spec):
    """An inline patch."""

    patch: str
    target: Selector | None = None


class Image(Spec):
    """A replaced image."""

    name: str
    new_name: str | None = None
    new_tag: str | None = None
    digest: str | None = None


class HealthCheck(Spec):
    """An object whose health counts."""

    api_version: str | None = None
    kind: str
    name: str
    namespace: str | None = None


class HealthExpression(Spec):
    """Health of a custom resource in CEL."""

    api_version: str
    kind: str
    current: str
    in_progress: str | None = None
    failed: str | None = None


class IgnoreRule(Spec):
    """Fields that are not corrected."""

    paths: list[str]
    target: Selector | None = None


class Decryption(Spec):
    """How secrets in Git are opened."""

    provider: Literal["sops"]
    service_account_name: str | None = None
    secret_ref: LocalReference | None = None


class SubstituteFrom(Spec):
    """Where variables come from."""

    kind: Literal["Secret", "ConfigMap"]
    name: Name253
    optional: bool = False


class PostBuild(Spec):
    """Substitution of ``${VAR}``."""

    substitute: dict[str, str] | None = None
    substitute_from: list[SubstituteFrom] | None = None


class CommonMetadata(Spec):
    """Labels and annotations on everything."""

    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class KubeConfig(Spec):
    """Another cluster."""

    secret_ref: dict[str, str] | None = None
    config_map_ref: LocalReference | None = None


class Kustomization(Spec):
    """kustomize.toolkit.fluxcd.io/v1."""

    source_ref: SourceRef
    interval: Duration
    prune: bool
    path: str | None = None
    depends_on: list[Dependency] | None = None
    retry_interval: Duration | None = None
    timeout: Duration | None = None
    wait: bool = False
    force: bool = False
    suspend: bool = False
    service_account_name: str | None = None
    target_namespace: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    name_prefix: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    name_suffix: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    deletion_policy: Literal["MirrorPrune", "Delete", "WaitForTermination", "Orphan"] | None = None
    health_checks: list[HealthCheck] | None = None
    health_check_exprs: list[HealthExpression] | None = None
    drift_ignore_rules: list[IgnoreRule] | None = None
    patches: list[Patch] | None = None
    images: list[Image] | None = None
    components: list[str] | None = None
    ignore_missing_components: bool = False
    common_metadata: CommonMetadata | None = None
    decryption: Decryption | None = None
    post_build: PostBuild | None = None
    kube_config: KubeConfig | None = None
