"""A small signed release of each task over the same 60 products, built by the library itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankops.next_item import NextItemConfig, NextItemModel
from rankops.release.manifest import ReleaseManifest
from rankops.release.ranking import build_ranker_bundle
from rankops.release.recommendation import build_recommender_bundle
from rankops.release.signing import create_key_pair, sign
from rankops.specs import Task
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_cross_encoder import make_tiny_cross_encoder
from tests.support.tiny_release import VOCABULARY, make_release, release_facts, write_catalogue

PRODUCTS = tuple(f"p{number:03}" for number in range(60))


@dataclass(frozen=True)
class TaskRelease:
    """One signed release, and whose signature it is."""

    folder: Path
    public_key: Path
    manifest: ReleaseManifest


def make_releases(root: Path) -> Mapping[Task, TaskRelease]:
    """Releases named ``retriever``, ``ranker`` and ``recommender`` under ``root``."""
    private, public = create_key_pair(root / "keys")
    catalogue = write_catalogue(root / "catalogue.parquet")
    artifact = make_tiny_artifact(root / "encoder", VOCABULARY, seed=1)
    searching = make_release(root / "retriever", artifact=artifact, catalogue=catalogue, private_key=private)
    ranking = build_ranker_bundle(
        root / "ranker",
        artifact=make_tiny_cross_encoder(root / "cross-encoder", VOCABULARY, seed=1, threshold=0.5),
        catalogue_parquet=catalogue,
        questions=[("red shoe", list(PRODUCTS[:3]))],
        facts=release_facts(model="ranker", task="ranking"),
    )
    recommending = build_recommender_bundle(
        root / "recommender",
        artifact=_next_item(root / "next-item"),
        catalogue_parquet=catalogue,
        golden_contexts=["p000 p001"],
        facts=release_facts(model="recommender", task="recommendation"),
    )
    sign(root / "ranker", private)
    sign(root / "recommender", private)
    return {
        "retrieval": TaskRelease(root / "retriever", public, searching),
        "ranking": TaskRelease(root / "ranker", public, ranking),
        "recommendation": TaskRelease(root / "recommender", public, recommending),
    }


def _next_item(folder: Path) -> Path:
    """Each product points to the next five."""
    folder.mkdir()
    count, near = len(PRODUCTS), 5
    neighbours = (np.arange(count)[:, None] + np.arange(1, near + 1)[None, :]) % count
    weights = np.tile(np.linspace(1.0, 0.2, near, dtype=np.float32), (count, 1))
    ones, popularity = np.ones(count, np.float32), np.linspace(1, 0, count, dtype=np.float32)
    config = NextItemConfig(neighbours=near)
    NextItemModel(config, list(PRODUCTS), neighbours.astype(np.int32), weights, ones, popularity).save(folder)
    return folder
