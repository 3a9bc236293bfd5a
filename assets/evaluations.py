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

from assets.metadata import evaluation_metadata, evaluation_pictures, gate_result, materialized
from rankops.artifacts import StoredArtifact
from rankops.specs import LABELS, ModelSpec
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
        description=f"Is the checkpoint good enough? {LABELS[spec.gates.metric]} and more on held-out questions of "
        f"{spec.dataset}, with intervals, against {', '.join(spec.gates.floors)} and the champion. The check `gate` "
        "decides.",
    )
    def evaluation(
        context: AssetExecutionContext,
        dataset: StoredArtifact,
        checkpoint: StoredArtifact,
        store: Store,
        gitops: GitOps,
        tracking: Tracking,
    ) -> Iterator[MaterializeResult | AssetCheckResult]:
        from rankops.evaluation.render import evaluation_markdown
        from rankops.evaluation.storage import load_evaluation
        from rankops.stages.evaluation import judge, metric_values

        opened = store.open()
        champion = gitops.champion(spec)
        made, reused = judge(opened, spec, dataset, checkpoint, champion, context.log.info)
        evaluation = load_evaluation(opened.local_path(made))
        pictures = evaluation_pictures(evaluation)
        if not reused:
            run = tracking.open(checkpoint.facts["mlflow_run"])
            run.log_metrics(metric_values(evaluation))
            run.log_bytes("evaluation.md", evaluation_markdown(evaluation).encode())
            for name, png in pictures.items():
                run.log_bytes(f"{name}.png", png)
        for reason in evaluation.decision.reasons:
            context.log.info(f"gate: {reason}")
        yield materialized(made, evaluation_metadata(evaluation, pictures), reused=reused)
        yield gate_result("gate", evaluation.decision)

    return evaluation
