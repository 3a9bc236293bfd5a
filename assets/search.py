"""Hyper-parameter search: advice for people, materialized by hand and part of no release."""

from dagster import AssetExecutionContext, AssetIn, AssetKey, AssetsDefinition, MaterializeResult, asset

from assets.metadata import materialized, search_metadata
from rankops.artifacts import StoredArtifact
from rankops.specs import ModelSpec
from rankops.stages.search import PlannedSearch
from resources.store import Store
from resources.tracking import Tracking
from resources.trainer import Trainer


def search_asset(spec: ModelSpec) -> AssetsDefinition:
    """Try settings of ``spec.search`` on the dev split; the result is a diff of the model spec."""

    @asset(
        key=[spec.name, "search"],
        group_name=spec.name.replace("-", "_"),
        kinds={"pytorch", "optuna"},
        ins={"dataset": AssetIn(key=AssetKey([spec.dataset, "dataset"]))},
        description=f"Best settings of {spec.search.trials} short trainings, to paste into the model spec "
        "(by hand: it is part of no release).",
        op_tags={"rankops/stage": "training"},
    )
    def search(
        context: AssetExecutionContext, dataset: StoredArtifact, store: Store, trainer: Trainer, tracking: Tracking
    ) -> MaterializeResult:
        from rankops.stages.search import plan

        opened = store.open()
        planned = plan(opened, spec, dataset, context.log.info)
        made = opened.find("search", planned.key)
        reused = made is not None
        if made is None:
            made = _search(context, spec, dataset, planned, store, trainer, tracking)
        return materialized(made, search_metadata(spec, opened, made), reused=reused)

    return search


def _search(
    context: AssetExecutionContext,
    spec: ModelSpec,
    dataset: StoredArtifact,
    planned: PlannedSearch,
    store: Store,
    trainer: Trainer,
    tracking: Tracking,
) -> StoredArtifact:
    """One tracked search, out of process; each trial becomes a child of its MLflow run."""
    from rankops.stages.search import pictures, publish
    from rankops.training.search import SearchResult

    with tracking.run(context, {"model": spec.name, "dataset": dataset.digest, "stage": "search"}) as run:
        result = SearchResult.model_validate(trainer.run(context, planned.job_file))
        for trial in result.trials:
            run.log_child(f"trial {trial.number}", trial.settings, trial.curve, ok=trial.state != "failed")
        for name, png in pictures(result).items():
            run.log_bytes(f"{name}.png", png)
        run.log_metrics({"best_dev": float(result.winner.value or 0.0), "gain": result.gain})
        return publish(store.open(), spec, dataset, planned, result.model_dump(mode="json"))
