"""Deploy (the commit that pins a release in an environment) and its verification (what is live, and how well)."""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    Config,
    MaterializeResult,
    StaticPartitionsDefinition,
    asset,
)
from pydantic import Field

from assets.metadata import deploy_metadata, verification_metadata
from rankops.artifacts import StoredArtifact
from rankops.deployment import DeployRecord, VerificationRecord
from rankops.specs import ENVIRONMENTS, ModelSpec
from resources.cluster import Cluster
from resources.forge import Forge
from resources.gitops import GitOps
from resources.kustomize import Kustomize
from resources.store import Store

ENVIRONMENT_PARTITIONS = StaticPartitionsDefinition([environment.name for environment in ENVIRONMENTS])


class DeployConfig(Config):
    """Words for the commit and the pull request."""

    why: list[str] = Field(default=[], description="reasons, one line each, e.g. the causes of a drift")


def deploy_asset(spec: ModelSpec) -> AssetsDefinition:
    """Verify the evidence, render, validate, and commit or propose."""

    @asset(
        key=[spec.name, "deploy"],
        group_name=spec.name.replace("-", "_"),
        kinds={"git", "kubernetes"},
        partitions_def=ENVIRONMENT_PARTITIONS,
        ins={"release": AssetIn(key=AssetKey([spec.name, "release"]))},
        description="The commit that pins the release in an environment (staging: push; production: pull request).",
    )
    def deploy(
        context: AssetExecutionContext,
        config: DeployConfig,
        release: StoredArtifact,
        store: Store,
        gitops: GitOps,
        forge: Forge,
        kustomize: Kustomize,
    ) -> MaterializeResult:
        from rankops.stages.deploy import Delivery, deploy_release, remember_release, server_image

        remote = gitops.remote()
        outcome = deploy_release(
            store.open(),
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
        return MaterializeResult(value=DeployRecord.of(outcome), metadata=deploy_metadata(outcome))

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
        check_specs=[AssetCheckSpec("serves_the_release", asset=key, blocking=True)],
        description="Evidence that an environment serves the committed release, and serves it well.",
    )
    def verification(
        context: AssetExecutionContext,
        deployed: DeployRecord,
        gitops: GitOps,
        kustomize: Kustomize,
        cluster: Cluster,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.stages.verification import release_folder, verify_running

        if deployed.kind == "proposed":
            context.log.info(f"release {deployed.release[:12]} waits for its pull request: nothing is live to verify")
            yield MaterializeResult(value=VerificationRecord.waiting(deployed))
            yield AssetCheckResult(check_name="serves_the_release", passed=True, description="waits for a merge")
            return
        with cluster.running(
            gitops, kustomize, context.partition_key, spec.name, deployed.commit, context.log.info
        ) as live:
            report = verify_running(live, release_folder(deployed), spec, context.log.info)
        yield AssetCheckResult(
            check_name="serves_the_release", passed=report.passed, metadata=verification_metadata(report)
        )
        report.raise_for_failure()
        yield MaterializeResult(value=VerificationRecord.of(deployed, report), metadata=verification_metadata(report))

    return verification
