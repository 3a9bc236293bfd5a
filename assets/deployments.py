"""Deploy (the commit that pins a release in an environment) and its verification (what is live, and how well)."""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    Config,
    MaterializeResult,
    MetadataValue,
    StaticPartitionsDefinition,
    asset,
)
from pydantic import Field

from assets.metadata import deploy_metadata, sizing_metadata, verification_metadata
from assets.rollbacks import RollbackConfig, roll_back, rollback_link, wanted
from rankops.artifacts import StoredArtifact
from rankops.deployment import DeployRecord, VerificationRecord
from rankops.errors import RankopsError, VerificationFailed
from rankops.specs import ENVIRONMENTS, ModelSpec
from resources.cluster import Cluster
from resources.forge import Forge
from resources.gitops import GitOps
from resources.kustomize import Kustomize
from resources.store import Store, read_reference

_SERVES = "serves_the_release"
ENVIRONMENT_PARTITIONS = StaticPartitionsDefinition([environment.name for environment in ENVIRONMENTS])


class DeployConfig(Config):
    """Words for the commit and the pull request; or the wish to go back instead (see the job ``<model>_rollback``)."""

    why: list[str] = Field(default=[], description="reasons, one line each, e.g. the causes of a drift")
    rollback: RollbackConfig | None = Field(default=None, description="take the live release out, deploy nothing new")


def deploy_asset(spec: ModelSpec) -> AssetsDefinition:
    """Verify the evidence, render, validate, and commit or propose."""

    @asset(
        key=[spec.name, "deploy"],
        group_name=spec.name.replace("-", "_"),
        kinds={"git", "kubernetes"},
        partitions_def=ENVIRONMENT_PARTITIONS,
        deps=[AssetDep(AssetKey([spec.name, "release"]))],  # read below: a rollback must not need it
        metadata={"roll back": rollback_link(spec.name)},
        description="The commit that pins the release in an environment (staging: push; production: pull request).",
    )
    def deploy(
        context: AssetExecutionContext,
        config: DeployConfig,
        store: Store,
        gitops: GitOps,
        forge: Forge,
        kustomize: Kustomize,
    ) -> MaterializeResult:
        from rankops.stages.deploy import Delivery, deploy_release, remember_release, server_image

        if (rollback := wanted(context, config.rollback)) is not None:
            return roll_back(context, spec, rollback, store, gitops, forge, kustomize)
        opened, remote = store.open(), gitops.remote()
        release = read_reference(opened, [spec.name, "release"], None, StoredArtifact)
        outcome, evidence = deploy_release(
            opened,
            spec,
            gitops.environment(context.partition_key),
            release,
            Delivery(
                remote, kustomize.render, kustomize.validate_objects, forge.open(remote), server_image(gitops.image)
            ),
            dagster_run=context.run_id,
            why=config.why,
            progress=context.log.info,
        )
        if outcome.kind != "proposed":
            remember_release(spec, outcome.pin)
        metadata = {**deploy_metadata(outcome), **sizing_metadata(evidence.sizing)}
        return MaterializeResult(value=DeployRecord.of(outcome), metadata=metadata)

    return deploy


def verification_asset(spec: ModelSpec) -> AssetsDefinition:
    """Start (or reach) what the overlay at the commit says, and compare its answers with the offline artifact's."""
    key = AssetKey([spec.name, "verification"])

    @asset(
        key=key,
        group_name=spec.name.replace("-", "_"),
        kinds={"kubernetes"},
        partitions_def=ENVIRONMENT_PARTITIONS,
        ins={"deployed": AssetIn(key=AssetKey([spec.name, "deploy"]))},
        check_specs=[AssetCheckSpec(_SERVES, asset=key, blocking=True)],
        description="Evidence that an environment serves the committed release, and serves it well.",
    )
    def verification(
        context: AssetExecutionContext,
        deployed: DeployRecord,
        gitops: GitOps,
        kustomize: Kustomize,
        cluster: Cluster,
        store: Store,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.stages.verification import commit_to_verify, release_folder, verify_running
        from rankops.stages.verified import record_verification

        environment = context.partition_key
        commit = commit_to_verify(gitops.remote(), gitops.environment(environment), deployed)
        if commit is None:
            context.log.info(f"release {deployed.release[:12]} waits for its pull request: nothing is live to verify")
            yield MaterializeResult(value=VerificationRecord.waiting(deployed))
            yield AssetCheckResult(check_name=_SERVES, passed=True, description="waits for a merge")
            return
        try:
            with cluster.running(gitops, kustomize, environment, spec.name, commit, context.log.info) as live:
                report = verify_running(live, release_folder(deployed), spec, context.log.info)
        except RankopsError as error:
            yield _failed(error, deployed.release)
            raise
        metadata, seconds = verification_metadata(report, live), live.commit_to_live_seconds
        yield AssetCheckResult(check_name=_SERVES, passed=report.passed, metadata=metadata)
        report.raise_for_failure()
        record = VerificationRecord.of(deployed, report, commit=live.commit, commit_to_live_seconds=seconds)
        record_verification(store.open(), record)
        yield MaterializeResult(value=record, metadata=metadata)

    return verification


def _failed(error: RankopsError, release: str) -> AssetCheckResult:
    """The failed check of a service that could not be verified, with the controller's or the pod's own words.

    ``about release`` is False where the failure says nothing about the release (no cluster, a suspended controller):
    then a rollback would not help.
    """
    about_release = getattr(error, "about_release", isinstance(error, VerificationFailed))
    metadata: dict[str, MetadataValue] = {
        "problem": MetadataValue.md(f"```\n{error.problem}\n```"),
        "release": MetadataValue.text(release),
        "about release": MetadataValue.bool(about_release),
    }
    if error.remedy:
        metadata["remedy"] = MetadataValue.text(error.remedy)
    return AssetCheckResult(
        check_name=_SERVES, passed=False, description=error.problem.splitlines()[0][:500], metadata=metadata
    )
