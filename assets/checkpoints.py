"""The fine-tuned checkpoint: training out of process, tracked, resumable, remembered by its inputs."""

from dagster import AssetDep, AssetExecutionContext, AssetIn, AssetKey, AssetsDefinition, MaterializeResult, asset

from assets.metadata import materialized, model_kinds, training_metadata
from rankops.artifacts import StoredArtifact
from rankops.specs import ModelSpec, Task
from rankops.store import ArtifactStore
from resources.gitops import GitOps
from resources.store import Store, read_reference
from resources.tracking import Tracking
from resources.trainer import Trainer

_LEARNED: dict[Task, str] = {
    "retrieval": "{base} fine-tuned on clicks ({method}).",
    "ranking": "{base} fine-tuned on judged pairs ({method}), blended with what words tell.",
    "recommendation": "Item-item weights fitted on baskets and on product texts as {base} reads them.",
}


def checkpoint_asset(spec: ModelSpec) -> AssetsDefinition:
    """What the model learned: ``spec.base_model`` fine-tuned, or item-item weights fitted, on what is not held out."""

    @asset(
        key=[spec.name, "checkpoint"],
        group_name=spec.name.replace("-", "_"),
        kinds=model_kinds(spec.task, "pytorch", "huggingface"),
        ins={"dataset": AssetIn(key=AssetKey([spec.dataset, "dataset"]))},
        deps=[AssetDep(AssetKey([first, "checkpoint"]))] if (first := spec.ranking.first_stage) else [],
        description=_described(spec),
        op_tags={"rankops/stage": "training"},
    )
    def checkpoint(
        context: AssetExecutionContext,
        dataset: StoredArtifact,
        store: Store,
        gitops: GitOps,
        trainer: Trainer,
        tracking: Tracking,
    ) -> MaterializeResult:
        from rankops.stages.checkpoint import standing

        opened = store.open()
        found_by = _first_stage(opened, spec)
        made = standing(opened, spec, dataset, context.log.info, found_by)
        reused = made is not None
        if made is None:
            made = _train(context, spec, dataset, found_by, store, gitops, trainer, tracking)
        return materialized(made, training_metadata(made), reused=reused)

    return checkpoint


def _described(spec: ModelSpec) -> str:
    told = _LEARNED[spec.task].format(base=spec.base_model.name, method=spec.training.method)
    if spec.training.teacher is None:
        return told
    return f"{told} Before that the base model learns from {spec.training.teacher.model.name}, without labels."


def _first_stage(store: ArtifactStore, spec: ModelSpec) -> StoredArtifact | None:
    """The checkpoint that finds a ranker's candidates: the one that stands, also where it learned from other days."""
    if spec.ranking.first_stage is None:
        return None
    made: StoredArtifact = read_reference(store, [spec.ranking.first_stage, "checkpoint"], None, StoredArtifact)
    return made


def _train(
    context: AssetExecutionContext,
    spec: ModelSpec,
    dataset: StoredArtifact,
    found_by: StoredArtifact | None,
    store: Store,
    gitops: GitOps,
    trainer: Trainer,
    tracking: Tracking,
) -> StoredArtifact:
    """One tracked training, out of process; its MLflow run ends FINISHED, or FAILED with whatever this raises."""
    from rankops.stages.checkpoint import plan, publish
    from rankops.training.job import TrainingResult
    from rankops.training.plots import training_curve

    opened = store.open()
    planned = plan(opened, spec, dataset, gitops.champion(spec), context.log.info, found_by)
    with tracking.run(context, {"model": spec.name, "dataset": dataset.digest}) as run:
        run.log_params(spec.training.model_dump())
        result = TrainingResult.model_validate(trainer.run(context, planned.job_file))
        metric = f"dev_{result.metric.lower()}"
        run.log_metrics({f"{metric}_before": result.dev_metric_before, metric: result.dev_metric_best})
        run.log_bytes("training.png", training_curve(result))
        facts = result.model_dump(mode="json")
        return publish(opened, spec, dataset, planned, result=facts, mlflow_run=run.run_id)
