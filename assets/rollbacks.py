"""Rollback: what ``deploy`` does when it is asked to go back, and the decisions that the sensors write.

It is no asset of its own: what an environment pins has one owner, ``<model>/deploy``, and one record. So the job
``<model>_rollback`` materializes deploy and verification, and nobody rolls back by materializing everything.
"""

from typing import TYPE_CHECKING, Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    Config,
    MaterializeResult,
    MetadataValue,
    StaticPartitionsDefinition,
)
from pydantic import Field

from assets.metadata import deploy_metadata
from rankops.deployment import DeployRecord
from rankops.specs import ModelSpec
from resources.forge import Forge
from resources.gitops import GitOps
from resources.kustomize import Kustomize
from resources.store import Store

if TYPE_CHECKING:
    from rankops.overlays.rollback import RollbackOutcome


CODE_LOCATION = "rankops"
"""As workspace.yaml names it."""
ROLLBACK_TAG = "rankops/rollback"
"""Runs that carry it must not deploy anything new, whatever their configuration lost on the way."""


class RollbackConfig(Config):
    """Which release to take out of the environment, and why. Only the reason is needed."""

    reason: str = Field(description="what is wrong with the release, in one line; it is kept in Git")
    bad: str = Field(default="", description="digest of the release (12 digits do); empty: the one that is live")
    emergency: bool = Field(default=False, description="push at once, without the review that production asks for")
    by: str = Field(default="", description="who decides on the emergency; it is kept in Git")
    automatic: bool = Field(default=False, description="set by sensors: never undoes an earlier rollback")


def rollback_job_name(model: str) -> str:
    """The job that takes the live release out of an environment."""
    return f"{model.replace('-', '_')}_rollback"


def rollback_link(model: str) -> MetadataValue:
    """Where a person rolls back: the job's Launchpad, which the pages of asset jobs hide in a menu."""
    return MetadataValue.url(f"/locations/{CODE_LOCATION}/jobs/{rollback_job_name(model)}/playground")


def wanted(context: AssetExecutionContext, config: RollbackConfig | None) -> RollbackConfig | None:
    """The rollback that a run asks for. Raises BadInput where the rollback job was launched without a reason."""
    from rankops.errors import BadInput

    if ROLLBACK_TAG in context.run.tags and (config is None or not config.reason.strip()):
        raise BadInput(
            "the rollback job was launched without a reason, which is kept in Git; nothing was changed",
            'follow the link "roll back" on the page of the job or of deploy, choose the environment, fill in reason',
        )
    return config


def roll_back(
    context: AssetExecutionContext,
    spec: ModelSpec,
    config: RollbackConfig,
    store: Store,
    gitops: GitOps,
    forge: Forge,
    kustomize: Kustomize,
) -> MaterializeResult:
    """Pin the last release that verified in the partition's environment, and quarantine the bad one."""
    from rankops.stages.deploy import remember_release
    from rankops.stages.rollback import Means, RollbackOrder
    from rankops.stages.rollback import roll_back as take_out

    remote = gitops.remote()
    means = Means(store.open(), remote, kustomize.render, kustomize.validate_objects, forge.open(remote))
    outcome = take_out(
        means,
        spec.name,
        gitops.environment(context.partition_key),
        RollbackOrder(**config.model_dump()),
        dagster_run=context.run_id,
        progress=context.log.info,
    )
    if outcome.kind != "proposed":
        remember_release(spec, outcome.pin)
    return MaterializeResult(value=DeployRecord.of(outcome), metadata=rollback_metadata(outcome))


def rollback_metadata(outcome: "RollbackOutcome") -> dict[str, Any]:
    """What came back, what is kept out and why, then all that a deploy shows."""
    entry = outcome.quarantined
    shown: dict[str, Any] = {"came back": outcome.pin.release}
    if entry is not None:
        shown |= {"quarantined": entry.digest, "reason": entry.reason, "since": entry.since}
    if outcome.emergency:
        shown["emergency"] = outcome.emergency
    return {**shown, **deploy_metadata(outcome)}


def rollback_decision_spec(spec: ModelSpec, environments: StaticPartitionsDefinition) -> AssetSpec:
    """The written rollback decisions; the sensors report each as a materialization."""
    return AssetSpec(
        key=[spec.name, "rollback_decision"],
        group_name=spec.name.replace("-", "_"),
        kinds={"json"},
        partitions_def=environments,
        deps=[AssetDep(AssetKey([spec.name, "verification"]))],
        description="Why a failed verification or a firing alert did, or did not, roll back. Written by the sensors.",
    )
