"""Small data sets, rankings of a known quality, and an encoder that needs no model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from rankops.dataset import COLUMNS, Dataset

CATEGORIES = ("shoes", "lamps", "books")


class WordEncoder:
    """Vectors of hashed words: two texts are near when they share words."""

    def __init__(self, dimension: int = 256) -> None:
        self.dimension = dimension
        self.encoded = 0

    def encode(self, texts: Sequence[str], *, role: str) -> np.ndarray:
        self.encoded += len(texts)
        vectors = np.full((len(texts), self.dimension), 1e-6, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", " ").split():
                vectors[row, zlib.crc32(word.encode()) % self.dimension] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def small_shop(queries: int = 60, *, seed: int = 0) -> Dataset:
    """Each query has ten products of its own, graded 3, 2, 2, 1 and 0, titled with the query's words."""
    rng = np.random.default_rng(seed)
    asked, shown, judged = [], [], []
    for i in range(queries):
        category, name = CATEGORIES[i % 3], f"thing{i} kind{i % 7}"
        popularity = ("head", "torso", "tail")[(i // 3) % 3]
        asked.append((f"q{i:03d}", name, f"g{i // 2:03d}", "test", popularity, category))
        for j, grade in enumerate([3, 2, 2, 1, *([0] * 6)]):
            words = name if grade >= 2 else f"other{i} kind{j}"
            product = f"p{i:03d}-{j}"
            shown.append((product, f"{words} no {j}", "", category, "acme", "", 9.5, None))
            judged.append((f"q{i:03d}", product, grade))
    rng.shuffle(shown)
    return Dataset(
        catalogue=pl.DataFrame(shown, schema=COLUMNS["catalogue"], orient="row"),
        interactions=pl.DataFrame([], schema=COLUMNS["interactions"]),
        queries=pl.DataFrame(asked, schema=COLUMNS["queries"], orient="row"),
        judgements=pl.DataFrame(judged, schema=COLUMNS["judgements"], orient="row"),
        info={"name": "small"},
    )


def noisy_run(dataset: Dataset, noise: float, seed: int) -> dict[str, list[str]]:
    """The judged products ordered by grade plus normal noise: 0 is the ideal order, much noise is a random one."""
    rng = np.random.default_rng(seed)
    run: dict[str, list[str]] = {}
    for (query_id,), rows in dataset.judgements.sort("query_id", "product_id").group_by(
        "query_id", maintain_order=True
    ):
        order = np.argsort(-(rows["grade"].to_numpy() + rng.normal(0, noise, rows.height)), kind="stable")
        run[str(query_id)] = [rows["product_id"][int(i)] for i in order]
    return run
