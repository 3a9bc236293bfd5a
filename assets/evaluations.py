"""Evaluation of the checkpoint against floors and champion; the gate is a blocking check."""

from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    MaterializeResult,
    asset,
)

from assets.metadata import artifact, evaluation_metadata, gate_result
from rankops.artifacts import StoredArtifact
from rankops.specs import ModelSpec
from resources.gitops import GitOps
from resources.store import Store
from resources.tracking import Tracking


def evaluation_asset(spec: ModelSpec) -> AssetsDefinition:
    """Per-query metrics with intervals on the held-out split, and the gate's decision."""
    key = AssetKey([spec.name, "evaluation"])

    @asset(
        key=key,
        group_name=spec.name.replace("-", "_"),
        kinds={"polars"},
        ins={
            "dataset": AssetIn(key=AssetKey([spec.dataset, "dataset"])),
            "checkpoint": AssetIn(key=AssetKey([spec.name, "checkpoint"])),
        },
        check_specs=[AssetCheckSpec("gate", asset=key, blocking=True)],
        description=f"{spec.gates.metric}, Recall@100 and MRR@10 against floors and champion, with intervals.",
    )
    def evaluation(
        context: AssetExecutionContext,
        dataset: StoredArtifact,
        checkpoint: StoredArtifact,
        store: Store,
        gitops: GitOps,
        tracking: Tracking,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.evaluation.storage import load_evaluation
        from rankops.stages.evaluation import judge, metric_values

        opened = store.open()
        champion = gitops.champion(spec)
        made, reused = judge(opened, spec, dataset, checkpoint, champion, context.log.info)
        evaluation = load_evaluation(opened.local_path(made))
        if not reused:
            tracking.open(checkpoint.facts["mlflow_run"]).log_metrics(metric_values(evaluation))
        yield MaterializeResult(
            value=made, metadata={**artifact(made, reused=reused), **evaluation_metadata(evaluation)}
        )
        yield gate_result("gate", evaluation.decision)

    return evaluation
