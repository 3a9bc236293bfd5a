"""Does a rung still compute what the checkpoint computes? Vectors side by side, before any relevance is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_COSINE = 0.9
LEAST_SPREAD = 0.5
_TOP = 10


@dataclass(frozen=True)
class Parity:
    """How close a rung's vectors are to the reference's.

    ``cosine_mean`` / ``cosine_worst``: cosine of the two vectors of each text. ``spread``: variance across texts as a
    share of the reference's; a collapsed model says nearly the same for everything. ``top10_overlap``: share of each
    query's ten nearest sample products that both agree on.
    """

    cosine_mean: float
    cosine_worst: float
    spread: float
    top10_overlap: float

    def problem(self) -> str | None:
        """Why the rung is broken, or None. Relevance decides about anything less than broken."""
        if self.spread < LEAST_SPREAD:
            return f"collapsed: vectors of different texts vary {self.spread:.0%} as much as the checkpoint's"
        if self.cosine_mean < LEAST_COSINE:
            return f"far from the checkpoint: mean cosine {self.cosine_mean:.3f} is below {LEAST_COSINE}"
        return None


def compare(
    reference_queries: np.ndarray, reference_products: np.ndarray, queries: np.ndarray, products: np.ndarray
) -> Parity:
    """Parity of unit vectors ``(q, d)`` and ``(p, d)`` with the reference's of the same texts."""
    reference = np.concatenate([reference_queries, reference_products])
    found = np.concatenate([queries, products])
    cosine = np.einsum("ij,ij->i", reference, found)
    return Parity(
        cosine_mean=float(cosine.mean()),
        cosine_worst=float(cosine.min()),
        spread=float(found.var(axis=0).sum() / max(float(reference.var(axis=0).sum()), 1e-12)),
        top10_overlap=_overlap(reference_queries @ reference_products.T, queries @ products.T),
    )


def _overlap(left: np.ndarray, right: np.ndarray) -> float:
    """Mean share of each row's ten largest columns that ``left`` and ``right`` ``(q, p)`` have in common."""
    top = min(_TOP, left.shape[1])
    pairs = zip(np.argsort(-left, axis=1)[:, :top], np.argsort(-right, axis=1)[:, :top], strict=True)
    return float(np.mean([len(set(a) & set(b)) / top for a, b in pairs]))
