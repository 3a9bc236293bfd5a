"""A code location with the cluster's own executor and trainer, and one asset whose training says that it ran."""

import os
from pathlib import Path

from dagster import AssetExecutionContext, Definitions, MaterializeResult, asset, define_asset_job

from definitions_cluster import cluster_executor
from rankops.specs import ModelSpec
from resources.trainer import KubernetesTrainer

SPEC = ModelSpec(name="tiny", task="retrieval")


class TinyTrainer(KubernetesTrainer):
    """The same pod with a training that takes no time."""

    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None:
        super()._start(context, ["-m", "tests.clusters_platform.tiny_training", arguments[-1]])


@asset(key=["tiny", "checkpoint"])
def checkpoint(context: AssetExecutionContext) -> MaterializeResult:
    """Train out of process, as assets/checkpoints.py does."""
    folder = Path(os.environ["TINY_STATE"])
    trainer = TinyTrainer(
        claim="rankops-training",
        mount_path=str(folder),
        kubeconfig=os.environ["TINY_KUBECONFIG"],
        poll_seconds=0.05,
    )
    result = trainer.run(context, folder / "job.json")
    context.log.info(f"trained on {result['node']} with image {context.run.tags['docker/image']}")
    return MaterializeResult(metadata={"node": result["node"]})


defs = Definitions(
    assets=[checkpoint],
    jobs=[define_asset_job("train", [checkpoint])],
    executor=cluster_executor([SPEC], "rankops-training"),
)
