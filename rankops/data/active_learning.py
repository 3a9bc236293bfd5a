"""Which pairs a person should judge next: those the model is least sure of, and not all of one kind.

Uncertainty is the entropy of the probability that a pair is right, which a logistic fit (Platt 1999) reads from the
model's scores on judged pairs. Pairs are then taken greedily by ``uncertainty * (1 - likeness to those taken)``, where
two pairs are as alike as their queries times their products (cosines; a determinantal-point-process kernel without
the determinant), so that ten spellings of one question do not take ten judgements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput

Floats = NDArray[np.float64]
_ROUNDS = 100


@dataclass(frozen=True)
class Calibration:
    """``P(right) = 1 / (1 + exp(-(slope * (score - centre) / scale + bias)))``."""

    slope: float
    bias: float
    centre: float
    scale: float

    def __call__(self, scores: Floats) -> Floats:
        """Probabilities of scores."""
        logits = self.slope * (scores - self.centre) / self.scale + self.bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -35, 35))))


def calibrate(scores: Floats, right: NDArray[np.bool_]) -> Calibration:
    """Platt's fit: logistic regression of right or wrong on the score, targets pulled in by an imagined pair each.

    Raises :class:`BadInput` where pairs of only one kind are given.
    """
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        raise BadInput(
            f"{positives} right and {negatives} wrong judged pairs: both are needed", "judge some of the other kind"
        )
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    design = np.column_stack([(scores - centre) / scale, np.ones(len(scores))])
    target = np.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.zeros(2)
    for _ in range(_ROUNDS):  # Newton's method; the ridge only guards against a flat curvature
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -35, 35)))
        gradient = design.T @ (chance - target)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights -= np.clip(step, -2, 2)
        if float(np.abs(step).max()) < 1e-10:
            break
    return Calibration(float(weights[0]), float(weights[1]), centre, scale)


def uncertainty(probabilities: Floats) -> Floats:
    """Binary entropy in bits, 0..1."""
    chance = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(-(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance)))


def choose(
    uncertain: Floats, query_vectors: NDArray[np.float32], product_vectors: NDArray[np.float32], count: int
) -> list[int]:
    """Rows in the order in which they should be judged, at most ``count``. Unit vectors, one row a candidate pair.

    Equal values are taken in the order of rows, so the choice is deterministic. Raises :class:`BadInput` for arrays of
    different lengths.
    """
    if not len(uncertain) == len(query_vectors) == len(product_vectors):
        raise BadInput("uncertainties and vectors are of different lengths", "give one row for each candidate")
    likeness = np.zeros(len(uncertain))
    open_rows = np.ones(len(uncertain), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(count, len(uncertain))):
        value = np.where(open_rows, uncertain * (1.0 - likeness), -1.0)
        best = int(value.argmax())
        chosen.append(best)
        open_rows[best] = False
        alike = np.clip(query_vectors @ query_vectors[best], 0, 1) * np.clip(
            product_vectors @ product_vectors[best], 0, 1
        )
        likeness = np.maximum(likeness, alike)
    return chosen
