"""Grades from several raters' judgements: how far they agree, and what they say together.

Agreement is reported as Fleiss' kappa (Fleiss 1971: categories, the same number of ratings for each item) and
Krippendorff's alpha (Krippendorff 2011: ordered grades, any number of ratings). Raters are combined by Dawid & Skene's
model (1979): each rater has a confusion matrix, estimated together with the true grades by EM, so that who errs often
counts less, and who is always one too strict is corrected; or by the weighted median, which needs no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rankops.errors import BadInput

GRADES = 4
RATINGS = ("query_id", "product_id", "rater", "grade")
_SMOOTHING, _ROUNDS, _TOLERANCE = 0.5, 200, 1e-7

Floats = NDArray[np.float64]
Method = Literal["dawid-skene", "weighted-median"]


@dataclass(frozen=True)
class Agreement:
    """``exact``: share of equal ones among the rating pairs of an item; ``kappa``: NaN where ratings vary in number."""

    items: int
    raters: int
    ratings: int
    exact: float
    kappa: float
    alpha: float

    def facts(self) -> dict[str, float | int | None]:
        """As JSON, rounded; what cannot be computed is None."""
        values = {"exact": self.exact, "fleiss_kappa": self.kappa, "krippendorff_alpha_ordinal": self.alpha}
        rounded = {name: round(value, 4) if np.isfinite(value) else None for name, value in values.items()}
        return {"items": self.items, "raters": self.raters, "ratings": self.ratings, **rounded}


def check_ratings(ratings: pl.DataFrame) -> pl.DataFrame:
    """The columns :data:`RATINGS`, sorted. Raises :class:`BadInput` for grades outside 0..3 or a rater who rates an
    item twice.
    """
    if missing := [name for name in RATINGS if name not in ratings.columns]:
        raise BadInput(f"ratings lack the columns {', '.join(missing)}", f"give {', '.join(RATINGS)}")
    table = ratings.select(RATINGS).drop_nulls("grade").sort("query_id", "product_id", "rater")
    if (wrong := table.filter(~pl.col("grade").is_between(0, GRADES - 1))).height:
        raise BadInput(f"grade {wrong['grade'][0]} of {wrong['query_id'][0]}", "grades are 0, 1, 2 or 3")
    if table.select("query_id", "product_id", "rater").is_duplicated().any():
        raise BadInput("a rater rated one product of one query twice", "keep one rating of each rater and item")
    return table


def agreement(ratings: pl.DataFrame) -> Agreement:
    """How far raters agree, over the items with two ratings or more. Raises :class:`BadInput` as above."""
    table = check_ratings(ratings)
    counts, _, _, _ = _numbered(table)
    tally = np.zeros((int(counts[0].max(initial=-1)) + 1, GRADES))
    np.add.at(tally, (counts[0], counts[2]), 1.0)
    several = tally[tally.sum(axis=1) >= 2]
    sizes = several.sum(axis=1)
    equal = (several * (several - 1)).sum() / np.maximum((sizes * (sizes - 1)).sum(), 1)
    same_size = len(several) > 0 and bool((sizes == sizes[0]).all())
    return Agreement(
        items=len(several),
        raters=table["rater"].n_unique(),
        ratings=int(sizes.sum()),
        exact=float(equal) if len(several) else float("nan"),
        kappa=fleiss_kappa(several) if same_size else float("nan"),
        alpha=krippendorff_alpha(several),
    )


def fleiss_kappa(tally: Floats) -> float:
    """Fleiss' kappa of ``tally`` (items, categories), whose rows all sum to the same number of ratings."""
    sizes = tally.sum(axis=1)
    share = tally.sum(axis=0) / tally.sum()
    observed = float(((tally**2).sum(axis=1) - sizes).sum() / (sizes * (sizes - 1)).sum())
    expected = float((share**2).sum())
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def krippendorff_alpha(tally: Floats, level: Literal["nominal", "ordinal"] = "ordinal") -> float:
    """Krippendorff's alpha of ``tally`` (items, ordered categories); NaN where only one category was used."""
    sizes = tally.sum(axis=1)
    useful = tally[sizes >= 2]
    size = useful.sum(axis=1)
    coincidences = np.einsum("ij,ik,i->jk", useful, useful, 1 / np.maximum(size - 1, 1))
    coincidences -= np.diag((useful / np.maximum(size - 1, 1)[:, None]).sum(axis=0))
    totals = coincidences.sum(axis=0)
    number = totals.sum()
    distance = _ordinal(totals) if level == "ordinal" else 1.0 - np.eye(len(totals))
    expected = float(totals @ distance @ totals) / max(float(number) - 1, 1.0)
    return float(1.0 - float((coincidences * distance).sum()) / expected) if expected > 0 else float("nan")


def _ordinal(totals: Floats) -> Floats:
    """Squared distance of ordered categories: how many values lie between them, the outer two counted half."""
    cumulated = np.cumsum(totals) - totals / 2
    return np.asarray((cumulated[:, None] - cumulated[None, :]) ** 2)


@dataclass(frozen=True)
class Consensus:
    """``table``: query_id, product_id, grade (i8), confidence (f64); ``weights``: how much each rater counts, 0..1.

    The confidence is the model's probability of the grade (Dawid-Skene), or the weight of the raters who gave it.
    """

    table: pl.DataFrame
    weights: dict[str, float]


def consensus(ratings: pl.DataFrame, method: Method = "dawid-skene") -> Consensus:
    """One grade for each item that was rated. Raises :class:`BadInput` for ratings that break a rule."""
    table = check_ratings(ratings)
    if table.is_empty():
        raise BadInput("there are no ratings", f"give rows of {', '.join(RATINGS)}")
    (item, rater, grade), items, raters, _ = _numbered(table)
    posterior, confusion = dawid_skene(item, rater, grade)
    accuracy = confusion.diagonal(axis1=1, axis2=2).mean(axis=1)
    # A rater who guesses is right in a quarter of all cases, and counts nothing.
    weights = np.clip((accuracy - 1 / GRADES) / (1 - 1 / GRADES), 0.0, 1.0)
    if method == "weighted-median":
        chosen, confidence = _weighted_median(item, grade, np.maximum(weights, 1e-6)[rater])
    else:
        chosen, confidence = posterior.argmax(axis=1), posterior.max(axis=1)
    graded = items.with_columns(
        pl.Series("grade", chosen, dtype=pl.Int8), pl.Series("confidence", confidence, dtype=pl.Float64)
    )
    return Consensus(graded, dict(zip(raters, weights.round(4).tolist(), strict=True)))


def dawid_skene(item: NDArray[np.int64], rater: NDArray[np.int64], grade: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Posterior (items, GRADES) and confusion (raters, true, given) from parallel arrays of ratings.

    EM from the vote shares, with half an imagined rating for each cell (more for agreement), until no posterior moves.
    """
    n_items, n_raters = int(item.max()) + 1, int(rater.max()) + 1
    posterior = np.zeros((n_items, GRADES))
    np.add.at(posterior, (item, grade), 1.0)
    posterior /= posterior.sum(axis=1, keepdims=True)
    prior_counts = _SMOOTHING * (np.ones((GRADES, GRADES)) + 2 * np.eye(GRADES))
    for _ in range(_ROUNDS):
        confusion = np.broadcast_to(prior_counts, (n_raters, GRADES, GRADES)).copy()
        for true in range(GRADES):
            np.add.at(confusion[:, true, :], (rater, grade), posterior[item, true])
        confusion /= confusion.sum(axis=2, keepdims=True)
        prior = (posterior.sum(axis=0) + _SMOOTHING) / (n_items + GRADES * _SMOOTHING)
        logged = np.tile(np.log(prior), (n_items, 1))
        np.add.at(logged, item, np.log(confusion[rater, :, grade]))
        updated = np.exp(logged - logged.max(axis=1, keepdims=True))
        updated /= updated.sum(axis=1, keepdims=True)
        moved = float(np.abs(updated - posterior).max())
        posterior = updated
        if moved < _TOLERANCE:
            break
    return posterior, confusion


def _weighted_median(
    item: NDArray[np.int64], grade: NDArray[np.int64], weight: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """The lowest grade at which half of an item's weight is reached, and the share of the weight that gave it."""
    mass = np.zeros((int(item.max()) + 1, GRADES))
    np.add.at(mass, (item, grade), weight)
    mass /= mass.sum(axis=1, keepdims=True)
    chosen = (np.cumsum(mass, axis=1) >= 0.5 - 1e-12).argmax(axis=1)
    return chosen, mass[np.arange(len(mass)), chosen]


def _numbered(
    table: pl.DataFrame,
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], pl.DataFrame, list[str], int]:
    """Numbers of items, raters and grades by row; the items and raters that the numbers stand for; rows."""
    items = table.select("query_id", "product_id").unique(maintain_order=True)
    numbered = table.join(
        items.with_row_index("item"), on=["query_id", "product_id"], how="left", maintain_order="left"
    )
    raters = table["rater"].unique().sort().to_list()
    place = {name: number for number, name in enumerate(raters)}
    rater = np.array([place[name] for name in numbered["rater"].to_list()], dtype=np.int64)
    arrays = (numbered["item"].to_numpy().astype(np.int64), rater, numbered["grade"].to_numpy().astype(np.int64))
    return arrays, items, raters, table.height
