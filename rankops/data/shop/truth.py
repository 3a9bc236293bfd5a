"""Graded relevance that the shop knows: which products answer which intent, and how well.

Grades: 3 has everything asked for; 2 is the right type with one attribute wrong; 1 is the right type with more
wrong, or another type of the family that has every attribute asked for; 0 is none of these. A query without a type
(a brand) is answered by everything of that brand (3) only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from rankops.data.shop.catalogue import Ints, Products

Grades = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Intents:
    """Parallel arrays of what is asked for; ``-1`` leaves a field open. ``family`` is where the shopper looks."""

    kind: Ints
    family: Ints
    brand: Ints
    colour: Ints
    material: Ints
    feature: Ints
    size: Ints

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, rows: Ints) -> Intents:
        """The intents at ``rows``."""
        return Intents(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})


def grades(intents: Intents, products: Products, rows: Ints) -> Grades:
    """Grade of ``products[rows]`` for ``intents``; ``rows`` has shape (n, k), one row per intent. Returns (n, k)."""
    missed = np.zeros(rows.shape, dtype=np.int8)
    asked = np.zeros(len(intents), dtype=np.int8)
    for name in ("brand", "colour", "material", "size", "feature"):
        wanted = getattr(intents, name)[:, None]
        has = getattr(products, name)[rows] == wanted
        if name == "feature":
            has |= products.second_feature[rows] == wanted
        missed += (wanted >= 0) & ~has
        asked += wanted[:, 0] >= 0
    typed = intents.kind[:, None] >= 0
    same_type = products.kind[rows] == intents.kind[:, None]
    same_family = products.family[rows] == intents.family[:, None]
    graded = np.where(same_type, 3 - np.minimum(missed, 2), 0)
    graded = np.where(~same_type & same_family & (missed == 0) & (asked > 0)[:, None], 1, graded)
    return np.where(typed, graded, np.where(missed == 0, 3, 0)).astype(np.int8)


def rater_noise(query: str, graded: Grades, seed: int, noise: float) -> Grades:
    """Grades as a rater would give them: a ``noise`` share of the non-zero ones is off by one step.

    The draw depends on the query and the seed only, so that judging in another order gives the same grades.
    """
    digest = hashlib.sha256(f"{seed}\n{query}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    draw, up = rng.random(len(graded)), rng.random(len(graded)) < 0.5
    step = np.where((draw < noise) & (graded > 0), np.where(up, 1, -1), 0)
    return np.clip(graded + step, 0, 3).astype(np.int8)
