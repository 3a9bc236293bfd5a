"""Does a rung still compute what the checkpoint computes? Outputs side by side, before any relevance is measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

LEAST_COSINE = 0.9
LEAST_SPREAD = 0.5
_TOP = 10


class Parity(Protocol):
    """How close a rung's outputs are to the reference's."""

    @property
    def fidelity(self) -> float:
        """Larger is closer; decides among equally fast rungs."""
        ...

    def problem(self) -> str | None:
        """Why the rung is broken, or None. Relevance decides about anything less than broken."""
        ...

    def measures(self) -> dict[str, float]:
        """Fields of :class:`rankops.compression.report.RungResult`."""
        ...


@dataclass(frozen=True)
class VectorParity:
    """How close a rung's vectors are to the reference's.

    ``cosine_mean`` / ``cosine_worst``: cosine of the two vectors of each text. ``spread``: variance across texts as a
    share of the reference's; a collapsed model says nearly the same for everything. ``top10_overlap``: share of each
    query's ten nearest sample products that both agree on.
    """

    cosine_mean: float
    cosine_worst: float
    spread: float
    top10_overlap: float

    @property
    def fidelity(self) -> float:
        """The mean cosine."""
        return self.cosine_mean

    def measures(self) -> dict[str, float]:
        """All but the spread."""
        return {name: value for name, value in asdict(self).items() if name != "spread"}

    def problem(self) -> str | None:
        """Why the rung is broken, or None. Relevance decides about anything less than broken."""
        if self.spread < LEAST_SPREAD:
            return f"collapsed: vectors of different texts vary {self.spread:.0%} as much as the checkpoint's"
        if self.cosine_mean < LEAST_COSINE:
            return f"far from the checkpoint: mean cosine {self.cosine_mean:.3f} is below {LEAST_COSINE}"
        return None


def compare(
    reference_queries: np.ndarray, reference_products: np.ndarray, queries: np.ndarray, products: np.ndarray
) -> VectorParity:
    """Parity of unit vectors ``(q, d)`` and ``(p, d)`` with the reference's of the same texts."""
    reference = np.concatenate([reference_queries, reference_products])
    found = np.concatenate([queries, products])
    cosine = np.einsum("ij,ij->i", reference, found)
    return VectorParity(
        cosine_mean=float(cosine.mean()),
        cosine_worst=float(cosine.min()),
        spread=float(found.var(axis=0).sum() / max(float(reference.var(axis=0).sum()), 1e-12)),
        top10_overlap=_overlap(reference_queries @ reference_products.T, queries @ products.T),
    )


@dataclass(frozen=True)
class LogitParity:
    """How close a rung's logits are: Pearson correlation, largest difference, spread as a share of the reference's."""

    correlation: float
    largest_difference: float
    spread: float

    @property
    def fidelity(self) -> float:
        """The correlation."""
        return self.correlation

    def measures(self) -> dict[str, float]:
        """All but the spread."""
        return {"correlation": self.correlation, "largest_difference": self.largest_difference}

    def problem(self) -> str | None:
        """Why the rung is broken, or None."""
        if self.spread < LEAST_SPREAD:
            return f"collapsed: logits of different pairs vary {self.spread:.0%} as much as the checkpoint's"
        if self.correlation < LEAST_COSINE:
            return f"far from the checkpoint: correlation {self.correlation:.3f} is below {LEAST_COSINE}"
        return None


def compare_logits(reference: np.ndarray, found: np.ndarray) -> LogitParity:
    """Parity of logits ``(n,)`` with the reference's of the same pairs."""
    spread = float(found.std() / max(float(reference.std()), 1e-12))
    close = float(np.corrcoef(reference, found)[0, 1]) if min(reference.std(), found.std()) > 0 else 0.0
    return LogitParity(close, float(np.abs(reference - found).max()), spread)


def _overlap(left: np.ndarray, right: np.ndarray) -> float:
    """Mean share of each row's ten largest columns that ``left`` and ``right`` ``(q, p)`` have in common."""
    top = min(_TOP, left.shape[1])
    pairs = zip(np.argsort(-left, axis=1)[:, :top], np.argsort(-right, axis=1)[:, :top], strict=True)
    return float(np.mean([len(set(a) & set(b)) / top for a, b in pairs]))
