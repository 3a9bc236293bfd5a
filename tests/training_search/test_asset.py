"""The asset: one materialization is a search, its page and its MLflow runs; the next one finds it in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import AssetExecutionContext, AssetKey, DagsterInstance, asset, materialize
from mlflow import MlflowClient

from assets.search import search_asset
from rankops.artifacts import StoredArtifact
from rankops.search_spec import SearchSpec
from rankops.specs import BaseModelSpec, ModelSpec, TrainingSpec
from rankops.store import ArtifactStore
from rankops.training.__main__ import main
from resources.store import ReferenceIOManager, Store
from resources.tracking import Tracking
from resources.trainer import Trainer
from tests.training_search.conftest import SPACE


class HereTrainer(Trainer):
    """The training command in this process: no second import of PyTorch."""

    def _start(self, context: AssetExecutionContext, arguments: list[str]) -> None:
        assert arguments[:2] == ["-m", "rankops.training"]
        assert main(arguments[2:]) == 0


def test_a_search_is_materialized_once_with_its_page_and_its_child_runs(
    tiny_model: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    stored = ArtifactStore(str(tmp_path / "store")).publish("dataset", tiny_dataset)
    spec = ModelSpec(
        name="retriever",
        task="retrieval",
        base_model=BaseModelSpec(name=str(tiny_model)),
        training=TrainingSpec(max_steps=2, evaluate_every=1, batch_size=8, hard_negatives=0, max_product_tokens=8),
        search=SearchSpec(space=SPACE, trials=3, startup_trials=2),
    )

    @asset(key=["shop", "dataset"])
    def dataset() -> StoredArtifact:
        return stored

    root = str(tmp_path / "store")
    resources = {
        "store": Store(root=root),
        "io_manager": ReferenceIOManager(root=root),
        "trainer": HereTrainer(),
        "tracking": Tracking(),
    }
    instance = DagsterInstance.ephemeral()
    shown = []
    for _ in range(2):
        done = materialize([dataset, search_asset(spec)], resources=resources, instance=instance)
        (event,) = done.asset_materializations_for_node(AssetKey(["retriever", "search"]).to_python_identifier())
        shown.append({name: value.value for name, value in event.metadata.items()})
    assert [page["reused"] for page in shown] == [False, True]
    page = shown[0]
    assert page["dev best"] >= page["dev now"] and page["digest"] == shown[1]["digest"]
    assert page["trials"].count("\n") == 4 and page["history"].startswith("![history of the search](data:image/png")
    folder = ArtifactStore(root).local_path(StoredArtifact(kind="search", digest=page["digest"], uri=page["uri"]))
    assert {"search.json", "search.md", "history.png", "parallel.png"} <= {path.name for path in folder.iterdir()}

    client = MlflowClient(Tracking()._uri())
    runs = client.search_runs([client.get_experiment_by_name("rankops").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1 and len(children) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all("training.learning_rate" in run.data.params for run in children)
