"""Fitting the lexical half of a cross-encoder: gradient-boosted trees over counts of shared words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankops.feature_selection import FeatureScore, select_features
from rankops.pair_features import NAMES, PairFeatures
from rankops.pair_trees import LexicalModel, Trees
from rankops.training.crossencoder_data import JudgedPairs

_ENSEMBLES = 2
_LEARNING_RATE = 0.05
_SETTINGS: dict[str, Any] = {
    "n_estimators": 300,
    "max_depth": 4,
    "learning_rate": _LEARNING_RATE,
    "subsample": 0.7,
    "max_features": 0.3,
    "min_samples_leaf": 10,
    "init": "zero",
}


def fit_lexical(
    data: JudgedPairs, features: PairFeatures, seed: int, keep: int | None = None
) -> tuple[LexicalModel, list[FeatureScore]]:
    """Boosted trees (Friedman 2001; scikit-learn's) on log-loss; a grade between counts as partly right.

    The mean of a few ensembles with other random states: boosting with subsampling varies from draw to draw. With
    ``keep`` the trees see that many features at most, chosen on these pairs (:mod:`rankops.feature_selection`); the
    second value says of each feature whether it was kept and why not, and is empty without ``keep``.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    rows = features(data.pairs)
    verdicts, chosen = _chosen(rows, data, keep, seed)
    rows = rows[:, chosen]
    partly = (data.targets > 0) & (data.targets < 1)
    table = np.concatenate([rows, rows[partly]])
    labels = np.concatenate([data.targets > 0, np.zeros(partly.sum(), dtype=bool)])
    shares = np.concatenate([np.where(data.targets > 0, data.targets, 1.0), 1 - data.targets[partly]])
    models = [
        GradientBoostingClassifier(random_state=seed + number, **_SETTINGS).fit(table, labels, sample_weight=shares)
        for number in range(_ENSEMBLES)
    ]
    trees = [tree[0].tree_ for model in models for tree in model.estimators_]
    return LexicalModel(features, _flat(trees, _LEARNING_RATE / _ENSEMBLES, chosen)), verdicts


def _chosen(
    rows: NDArray[np.float32], data: JudgedPairs, keep: int | None, seed: int
) -> tuple[list[FeatureScore], NDArray[np.intp]]:
    """The verdicts and the columns that are kept; all of them where nothing is to be chosen or nothing tells."""
    everything = np.arange(rows.shape[1])
    if keep is None:
        return [], everything
    scores = select_features(rows, NAMES, data.labels.astype(np.int64), keep=keep, seed=seed)
    kept = sorted(NAMES.index(score.name) for score in scores if score.kept)
    return scores, np.array(kept, dtype=np.intp) if kept else everything


def _flat(trees: list[Any], scale: float, columns: NDArray[np.intp]) -> Trees:
    """scikit-learn's trees one after another, a leaf pointing to itself, values multiplied by ``scale``.

    ``columns`` are the places of the trees' features among all.
    """
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("feature", "threshold", "left", "right", "value")}
    for tree, start in zip(trees, starts[:-1].tolist(), strict=True):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        parts["feature"].append(np.where(leaf, 0, columns[np.where(leaf, 0, tree.feature)]))
        parts["threshold"].append(np.where(leaf, 0.0, tree.threshold))
        parts["left"].append(start + np.where(leaf, own, tree.children_left))
        parts["right"].append(start + np.where(leaf, own, tree.children_right))
        parts["value"].append(np.where(leaf, tree.value[:, 0, 0] * scale, 0.0))
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Trees(
        feature=whole["feature"].astype(np.int32),
        threshold=whole["threshold"].astype(np.float64),
        left=whole["left"].astype(np.int32),
        right=whole["right"].astype(np.int32),
        value=whole["value"].astype(np.float64),
        roots=starts[:-1].astype(np.int32),
        depth=max(tree.max_depth for tree in trees),
    )
