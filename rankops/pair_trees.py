"""A small tree ensemble over :class:`rankops.pair_features.PairFeatures`: the half of a pair's score that counts words.

One file, ``lexical.npz``: the two tables of the features, and the trees as flat arrays. ``feature``, ``threshold``,
``left``, ``right`` and ``value`` have one entry a node of any tree (a leaf points to itself), ``roots`` one a tree.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rankops.errors import IntegrityError
from rankops.files import write_bytes
from rankops.onnx_session import REBUILD
from rankops.pair_features import BUCKETS, PairFeatures

LEXICAL = "lexical.npz"
_ROWS = 1024


@dataclass(frozen=True)
class Trees:
    """Regression trees whose values are summed; ``depth`` is the longest way from a root to a leaf."""

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    roots: NDArray[np.int32]
    depth: int

    def margin(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 ``(n,)``: the sum over the trees for each row of features ``(n, n_features)``."""
        parts = [self._margin(rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _margin(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        for _ in range(self.depth):
            goes_left = np.take_along_axis(rows, self.feature[node], axis=1) <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        total: NDArray[np.float64] = self.value[node].sum(axis=1)
        return total


@dataclass(frozen=True)
class LexicalModel:
    """Pairs of cleaned texts to log-odds. Safe to share between threads."""

    features: PairFeatures
    trees: Trees

    def margin(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """float64 ``(len(pairs),)`` log-odds that a pair is right, before any blending."""
        return self.trees.margin(self.features(pairs))

    def save(self, path: Path) -> None:
        """Write the file (deterministic bytes)."""
        arrays = {field.name: np.asarray(getattr(self.trees, field.name)) for field in fields(Trees)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, words=self.features.words, triples=self.features.triples, **arrays)  # type: ignore[arg-type]
        write_bytes(path, buffer.getvalue())


def load_lexical(path: Path) -> LexicalModel:
    """Read what :meth:`LexicalModel.save` wrote. Raises :class:`IntegrityError` for anything else."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        features = PairFeatures(arrays.pop("words"), arrays.pop("triples"))
        trees = Trees(**{**arrays, "depth": int(arrays["depth"])})  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise IntegrityError(f"{path} is no lexical model: {error}", REBUILD) from error
    nodes = len(trees.value)
    if features.words.shape != (BUCKETS,) or features.triples.shape != (BUCKETS,):
        raise IntegrityError(f"{path}: the tables have no {BUCKETS} entries", REBUILD)
    if any(
        len(links) and not 0 <= links.min() <= links.max() < nodes for links in (trees.left, trees.right, trees.roots)
    ):
        raise IntegrityError(f"{path}: a tree points outside its {nodes} nodes", REBUILD)
    return LexicalModel(features, trees)
