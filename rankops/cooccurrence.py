"""Item-item matrices: what goes with what, from baskets and from what the catalogue says.

All matrices are dense float ``(n, n)`` over the products of a :class:`Items`; at 6,000 products one takes 144 MB as
float32. Scores of a context are the sum of its products' rows.

Neutral ground: training fits a model from these, evaluation ranks its baselines with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

Matrix = NDArray[np.float32]
_POPULAR_DAYS = 28.0
_NUMBER = re.compile(r"^(.*?)([0-9]{3,15})")
_SAME_PRICE = 0.1  # as a difference of logarithms: e times less alike for every tenth more


@dataclass(frozen=True)
class Items:
    """Baskets as a sparse matrix: ``counts`` (baskets, n) of 0 and 1, ``age`` in days and ``size`` of each basket."""

    ids: list[str]
    counts: sparse.csr_matrix
    age: NDArray[np.float64]
    size: NDArray[np.float64]

    @property
    def place(self) -> dict[str, int]:
        """Row of each product."""
        return {product: row for row, product in enumerate(self.ids)}

    @property
    def sales(self) -> NDArray[np.float64]:
        """In how many baskets each product is."""
        return np.asarray(self.counts.sum(axis=0), dtype=np.float64).ravel()

    def recent(self, days: float) -> NDArray[np.float64]:
        """In how many baskets of the last ``days`` each product is."""
        return np.asarray(self.counts[self.age <= days].sum(axis=0), dtype=np.float64).ravel()

    @property
    def popularity(self) -> NDArray[np.float64]:
        """In how many baskets of the last four weeks each product is."""
        return self.recent(_POPULAR_DAYS)


def items_of(baskets: pl.DataFrame, ids: Sequence[str]) -> Items:
    """Baskets (see :func:`rankops.baskets.baskets_of`) over the products ``ids``; other products are left out."""
    last = cast("Any", baskets["day"].max())
    table = baskets.select(
        pl.int_range(pl.len()).alias("row"), (pl.lit(last) - pl.col("day")).dt.total_days().alias("age"), "product_ids"
    )
    places = pl.DataFrame({"product_ids": list(ids), "column": range(len(ids))}, schema_overrides={"column": pl.Int64})
    cells = table.explode("product_ids").join(places, on="product_ids", how="inner")
    rows, columns = cells["row"].to_numpy(), cells["column"].to_numpy()
    counts = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(table.height, len(ids)))
    size = np.asarray(table["product_ids"].list.len().to_numpy(), dtype=np.float64)
    return Items(list(ids), counts, table["age"].to_numpy().astype(np.float64), size)


def basket_weights(items: Items, *, half_life: float | None, size_exponent: float) -> NDArray[np.float32]:
    """What each basket counts: halved every ``half_life`` days, and divided by ``size ** size_exponent``.

    A basket of n products makes n (n - 1) pairs; with an exponent of 1 every product of every basket counts alike.
    """
    weights = np.power(np.maximum(items.size, 1.0) / 20.0, -size_exponent)
    if half_life is not None:
        weights = weights * np.power(0.5, items.age / half_life)
    return weights.astype(np.float32)


def gram(items: Items, weights: NDArray[np.float32]) -> Matrix:
    """Weighted co-occurrence: ``X' W X``."""
    return np.asarray((items.counts.T @ sparse.diags(weights) @ items.counts).toarray(), dtype=np.float32)


def cosine(matrix: Matrix) -> Matrix:
    """A co-occurrence divided by the roots of both products' diagonal (Ochiai), with a zero diagonal."""
    size = np.sqrt(np.diag(matrix) + 1e-9)
    found = matrix / size[:, None] / size[None, :]
    np.fill_diagonal(found, 0.0)
    return found


def ease(matrix: Matrix, regularization: float) -> Matrix:
    """EASE^R (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019): the item-item weights that
    predict each product of a basket from the others best, in closed form.

    With ``P = (G + lambda I)^-1``: ``B[i, j] = -P[i, j] / P[j, j]``, ``B[j, j] = 0``; the score of ``j`` for a context
    is the sum of ``B[i, j]`` over its products ``i``.
    """
    inverse = np.linalg.inv(np.asarray(matrix, dtype=np.float64) + regularization * np.eye(len(matrix)))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)


def word_gram(texts: Sequence[str]) -> Matrix:
    """Inner products of the texts' TF-IDF vectors (sub-linear tf, unit length): shared words, rare ones count more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)  # noqa: S106 - tokens of a text
    vectors = words.fit_transform([text.lower() for text in texts])
    return np.asarray((vectors @ vectors.T).toarray(), dtype=np.float32)


def vector_gram(vectors: NDArray[np.float32]) -> Matrix:
    """Cosines of unit vectors ``(n, d)``, negative ones as 0."""
    return np.maximum(vectors @ vectors.T, 0.0)


def number_gram(ids: Sequence[str]) -> Matrix:
    """``1 / (1 + gap)`` of the numbers in two product ids: what is listed together is numbered together.

    The number is the first run of three digits or more; products whose ids differ before it, or that have none, have
    nothing in common. ``22386`` and ``22388A`` have 1/3, ``85099B`` and ``85099C`` 1.
    """
    found = [_NUMBER.match(product) for product in ids]
    series = np.unique(["" if match is None else match[1] for match in found], return_inverse=True)[1]
    numbers = np.array([0 if match is None else int(match[2]) for match in found], dtype=np.int64)
    near: Matrix = (1.0 / (1.0 + np.abs(numbers[:, None] - numbers[None, :]))).astype(np.float32)
    numbered = np.array([match is not None for match in found], dtype=bool)
    near *= (series[:, None] == series[None, :]) & numbered[:, None] & numbered[None, :]
    return near


def price_gram(prices: Sequence[float | None]) -> Matrix:
    """``exp(-|ln p - ln q| / 0.1)`` of two products' prices; 0 where a price is unknown or not above zero."""
    known = np.array([price is not None and price > 0 for price in prices], dtype=bool)
    logarithms = np.log([price if price is not None and price > 0 else 1.0 for price in prices]).astype(np.float32)
    near: Matrix = np.exp(-np.abs(logarithms[:, None] - logarithms[None, :]) / np.float32(_SAME_PRICE))
    near *= known[:, None] & known[None, :]
    return near


def context_matrix(contexts: Sequence[Sequence[str]], items: Items) -> sparse.csr_matrix:
    """``(contexts, n)`` of 0 and 1; products that ``items`` does not know are left out."""
    place = items.place
    cells = [(row, place[p]) for row, context in enumerate(contexts) for p in set(context) if p in place]
    rows, columns = (np.array([cell[i] for cell in cells], dtype=np.int64) for i in (0, 1))
    return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(contexts), len(items.ids)))


def rank(scores: Matrix, asked: sparse.csr_matrix, ids: Sequence[str], k: int = 100) -> list[list[str]]:
    """The ``k`` best products of each row of ``scores`` that are not in its context; ties by product order."""
    masked = np.array(scores, dtype=np.float32)
    masked[asked.nonzero()] = -np.inf
    best = np.argsort(-masked, axis=1, kind="stable")[:, :k]
    return [[ids[j] for j in row if np.isfinite(masked[i, j])] for i, row in enumerate(best)]
