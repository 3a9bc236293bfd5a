"""The next-item model: for each product the products it points to, and how strongly.

A folder holds ``next_item.json`` (see :class:`NextItemConfig`), ``items.json`` (product ids, sorted),
``neighbours.npy`` int32 ``(n, k)`` (-1 where a product has fewer), ``weights.npy`` ``(n, k)`` as float32, float16 or
int8, ``scales.npy`` float32 ``(n,)`` (what a stored weight is multiplied by) and ``popularity.npy`` float32 ``(n,)``
in 0..1. The score of a product for a context is the sum of the weights by which the context's products point to it,
plus a trace of popularity that orders what nothing points to (and everything, where the context is empty or unknown).
Where the folder has a sequential part (:mod:`rankops.sequence`), its weighted probabilities are added: both say how
likely a product is to be in the basket.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput, IntegrityError
from rankops.files import combine_digests, sha256_file, write_bytes, write_json
from rankops.sequence import SEQUENCE_FILES, SequenceScorer, load_sequence

FILES = ("next_item.json", "items.json", "neighbours.npy", "weights.npy", "scales.npy", "popularity.npy")
_POPULARITY = 1e-6
_REBUILD = "rematerialize the quantized artifact; if this is a release, roll back to the last one that verified"


@dataclass(frozen=True)
class NextItemConfig:
    """``next_item.json``: how the weights were fitted and stored."""

    kind: str = "item-item"
    storage: str = "float32"
    neighbours: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recommendation:
    """Product ids and scores, best first, and the products of the context that the model knows."""

    product_ids: list[str]
    scores: list[float]
    known: list[str]


@dataclass(frozen=True)
class NextItemModel:
    """A fitted model. Safe to share between threads. See the module for the arrays."""

    config: NextItemConfig
    ids: list[str]
    neighbours: NDArray[np.int32]
    weights: NDArray[Any]
    scales: NDArray[np.float32]
    popularity: NDArray[np.float32]
    sequence: SequenceScorer | None = None

    @cached_property
    def place(self) -> dict[str, int]:
        """Row of each product."""
        return {product: row for row, product in enumerate(self.ids)}

    def scores(self, context: Sequence[str]) -> NDArray[np.float32]:
        """float32 ``(n,)``; products of the context that the model does not know count nothing."""
        rows = [self.place[product] for product in dict.fromkeys(context) if product in self.place]
        found = self.popularity * np.float32(_POPULARITY)
        if rows:
            pointed = self.neighbours[rows].ravel()
            strength = (self.weights[rows].astype(np.float32) * self.scales[rows, None]).ravel()
            there = pointed >= 0
            found = found + np.bincount(pointed[there], strength[there], minlength=len(self.ids)).astype(np.float32)
        if rows and self.sequence is not None:
            found = found + np.float32(self.sequence.config.weight) * self.sequence.probabilities(rows)
        return found

    def recommend(
        self,
        context: Sequence[str],
        k: int,
        *,
        exclude: Collection[str] = (),
        categories: Mapping[str, str | None] | None = None,
        max_per_category: int | None = None,
    ) -> Recommendation:
        """The ``k`` best products that are neither in the context nor excluded (out of stock, for instance).

        With ``max_per_category`` no more than so many of one category (as ``categories`` names it) are returned: the
        best list is walked down and what is full is passed over. Equal scores are ordered by product id.
        """
        scores = self.scores(context)
        barred = [self.place[product] for product in {*context, *exclude} if product in self.place]
        scores[barred] = -np.inf
        depth = k if max_per_category is None else len(self.ids)
        rows = [int(row) for row in _best(scores, depth) if np.isfinite(scores[row])]
        if max_per_category is not None:
            rows = _spread(rows, self.ids, categories or {}, max_per_category, k)
        return Recommendation(
            product_ids=[self.ids[row] for row in rows],
            scores=[round(float(scores[row]), 6) for row in rows],
            known=[product for product in dict.fromkeys(context) if product in self.place],
        )

    def rank(
        self, contexts: Sequence[Sequence[str]], k: int = 100, *, exclude: Collection[str] = ()
    ) -> list[list[str]]:
        """The ``k`` best products of each context; see :meth:`recommend`."""
        return [self.recommend(context, k, exclude=exclude).product_ids for context in contexts]

    def save(self, folder: Path) -> None:
        """Write the six files, and those of the sequential part, into an existing folder (deterministic bytes)."""
        write_json(folder / "next_item.json", asdict(self.config))
        write_json(folder / "items.json", self.ids)
        for name in ("neighbours", "weights", "scales", "popularity"):
            buffer = io.BytesIO()
            np.save(buffer, getattr(self, name), allow_pickle=False)
            write_bytes(folder / f"{name}.npy", buffer.getvalue())
        if self.sequence is not None:
            self.sequence.save(folder)


def load_next_item(folder: Path) -> NextItemModel:
    """Read what :meth:`NextItemModel.save` wrote. Raises :class:`IntegrityError` naming the file that is wrong."""
    for name in FILES:
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder / name} is missing", _REBUILD)
    try:
        config = NextItemConfig(**json.loads((folder / "next_item.json").read_text()))
        ids = json.loads((folder / "items.json").read_text())
        arrays = {
            n: np.load(folder / f"{n}.npy", allow_pickle=False)
            for n in ("neighbours", "weights", "scales", "popularity")
        }
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{folder} is no next-item model: {error}", _REBUILD) from error
    model = NextItemModel(config, ids, **arrays)
    _check(model, folder)
    return replace(model, sequence=load_sequence(folder, len(ids)))


def model_files(folder: Path) -> list[str]:
    """Names of the files that decide what the model in a folder answers."""
    return [*FILES, *(name for name in SEQUENCE_FILES if (folder / name).is_file())]


def next_item_digest(folder: Path) -> str:
    """Hex SHA-256 over the files that decide what the model answers."""
    return combine_digests({name: sha256_file(folder / name) for name in model_files(folder)})


def truncated(
    weights: NDArray[np.float32],
    ids: Sequence[str],
    popularity: NDArray[np.floating[Any]],
    k: int,
    facts: Mapping[str, Any],
) -> NextItemModel:
    """A model of the ``k`` strongest (by absolute weight) links of each row of a dense ``(n, n)`` matrix.

    ``ids`` must be sorted: rows are in their order. Negative weights count too: they say what does not go together.
    """
    if list(ids) != sorted(ids):
        raise BadInput("the products of a next-item model must be sorted by id", "sort them, and the matrix with them")
    k = min(k, max(1, len(ids) - 1))
    rows = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, :k].astype(np.int32)
    values = np.take_along_axis(weights, rows, axis=1).astype(np.float32)
    rows[values == 0] = -1
    top = float(popularity.max()) if len(ids) else 0.0
    return NextItemModel(
        NextItemConfig(neighbours=k, facts=dict(facts)),
        list(ids),
        rows,
        values,
        np.ones(len(ids), np.float32),
        (np.asarray(popularity) / (top or 1.0)).astype(np.float32),
    )


def _check(model: NextItemModel, folder: Path) -> None:
    n = len(model.ids)
    shapes = (model.neighbours.shape[:1], model.weights.shape[:1], model.scales.shape, model.popularity.shape)
    if model.neighbours.shape != model.weights.shape or any(shape != (n,) for shape in shapes):
        raise IntegrityError(f"{folder}: the arrays do not fit {n} products", _REBUILD)
    if not all(np.isfinite(a).all() for a in (model.weights, model.scales, model.popularity)):
        raise IntegrityError(f"{folder}: NaN or infinite weights", _REBUILD)
    if n and (model.neighbours.max() >= n or model.neighbours.min() < -1):
        raise IntegrityError(f"{folder}: a neighbour that is no product", _REBUILD)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Rows of the ``k`` highest scores, highest first, ties by row."""
    rows = np.arange(len(scores))
    if k < len(scores):
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero(scores >= threshold)
    return rows[np.argsort(-scores[rows], kind="stable")][:k]


def _spread(
    rows: Sequence[int], ids: Sequence[str], categories: Mapping[str, str | None], most: int, k: int
) -> list[int]:
    taken: dict[str, int] = {}
    kept = []
    for row in rows:
        category = categories.get(ids[row]) or ""
        if category and taken.get(category, 0) >= most:
            continue
        taken[category] = taken.get(category, 0) + 1
        kept.append(row)
        if len(kept) == k:
            break
    return kept
