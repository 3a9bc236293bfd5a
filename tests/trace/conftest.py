"""The overlay repository of the deploy tests, and a store with a whole lineage in it: real bytes, real signature."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rankops.artifacts import StoredArtifact
from rankops.dataset import COLUMNS, Dataset
from rankops.files import write_json
from rankops.overlays.deploy import DeployRequest
from rankops.overlays.seed import create_bare_remote
from rankops.release.manifest import BaseModelRef, DatasetRef, ReleaseManifest
from rankops.release.retrieval import build_bundle
from rankops.release.signing import sign
from rankops.store import ArtifactStore
from tests.overlays_deploy.conftest import keys, make_pin, overlays, remote, run_deploy, write_overlays  # noqa: F401
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import GOLDEN, VOCABULARY, release_facts, write_catalogue

BASE = "5" * 64


@pytest.fixture
def bare(tmp_path: Path, overlays: Path, keys: tuple[Path, Path]) -> Path:  # noqa: F811
    """The remote, trusting the key that the tests sign with."""
    create_bare_remote(tmp_path / "remote.git", overlays, keys[1])
    return tmp_path / "remote.git"


@dataclass(frozen=True)
class Lineage:
    """A store and what lies in it."""

    root: Path
    dataset: StoredArtifact
    checkpoint: StoredArtifact
    evaluation: StoredArtifact
    artifact: StoredArtifact
    manifest: ReleaseManifest

    def folder(self, kind: str) -> Path:
        digest = self.manifest.digest if kind == "release" else getattr(self, kind).digest
        return self.root / kind / digest


def write_dataset(folder: Path) -> None:
    tables: dict[str, Any] = {name: pl.DataFrame(schema=columns) for name, columns in COLUMNS.items()}
    folder.mkdir()
    write_catalogue(folder / "catalogue.parquet")
    tables["catalogue"] = pl.read_parquet(folder / "catalogue.parquet").with_columns(
        pl.lit(date(2026, 1, 1)).alias("added_day")
    )
    info = {"name": "shop", "first_day": "2026-01-01", "last_day": "2026-01-31"}
    Dataset(**tables, info=info).save(folder)


def make_lineage(root: Path, private_key: Path) -> Lineage:
    """Dataset → checkpoint → evaluation → artifact → signed release, published as the stages publish them."""
    store = ArtifactStore(str(root / "store"))
    write_dataset(root / "dataset")
    dataset = store.publish("dataset", root / "dataset", lineage={"name": "shop"}, input_key="1" * 64)
    (root / "checkpoint").mkdir()
    (root / "checkpoint" / "model.safetensors").write_bytes(b"weights" * 50)
    trained = {"model": "retriever", "dataset": dataset.digest, "base_model": BASE, "started_from": BASE}
    checkpoint = store.publish("checkpoint", root / "checkpoint", lineage=trained, input_key="2" * 64)
    chain = {"dataset": dataset.digest, "checkpoint": checkpoint.digest}
    (root / "evaluation").mkdir()
    write_json(root / "evaluation" / "evaluation.json", {"ndcg@10": 0.8})
    evaluation = store.publish("evaluation", root / "evaluation", lineage=chain, input_key="3" * 64)
    make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    lineage = {**chain, "evaluation": evaluation.digest}
    artifact = store.publish("artifact", root / "artifact", lineage=lineage, input_key="4" * 64)
    facts = release_facts(
        checkpoint=checkpoint.digest,
        dataset=DatasetRef(name="shop", digest=dataset.digest, first_day="2026-01-01", last_day="2026-01-31"),
        base_model=BaseModelRef(name="tiny", revision="main", digest=BASE),
        dagster_run="built-by",
        mlflow_run="1234",
    )
    catalogue = root / "dataset" / "catalogue.parquet"
    manifest = build_bundle(
        root / "release", artifact=root / "artifact", catalogue_parquet=catalogue, golden_queries=GOLDEN, facts=facts
    )
    sign(root / "release", private_key)
    store.publish(
        "release",
        root / "release",
        lineage={"model": "retriever", "artifact": artifact.digest, **chain},
        input_key="6" * 64,
        digest=manifest.digest,
    )
    return Lineage(root / "store", dataset, checkpoint, evaluation, artifact, manifest)


@pytest.fixture(scope="session")
def _lineage(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Lineage:  # noqa: F811
    return make_lineage(tmp_path_factory.mktemp("lineage"), keys[0])


@pytest.fixture
def lineage(_lineage: Lineage, tmp_path: Path) -> Lineage:
    """A store of its own for each test, to be spoilt."""
    shutil.copytree(_lineage.root, tmp_path / "store")
    return Lineage(tmp_path / "store", *list(vars(_lineage).values())[1:])


@pytest.fixture
def pin_lineage(lineage: Lineage, run_deploy: Any) -> Callable[..., str]:  # noqa: F811
    """Pin the release of the lineage; returns the commit."""

    def run(environment: str = "staging", **more: Any) -> str:
        pin = make_pin(
            environment=environment,
            release=lineage.manifest.digest,
            uri=f"{lineage.root.as_uri()}/release/{lineage.manifest.digest}",
            dataset=lineage.dataset.digest,
            checkpoint=lineage.checkpoint.digest,
            dagster_run="deployed-by",
            mlflow_run="1234",
        )
        return run_deploy(DeployRequest(pin, **more.pop("request", {})), **more).commit

    return run
