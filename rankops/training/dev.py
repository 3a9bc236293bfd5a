"""The dev split as seen during training: a small, fixed retrieval task whose nDCG@10 picks the best step.

This is a compass, not the verdict: the verdict on held-out queries is ``rankops.evaluation``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.text import normalize_query

MAX_QUERIES = 200
MAX_PRODUCTS = 1_000
_BEST_OF_QUERY = 3


@dataclass(frozen=True)
class DevTask:
    """``grades[i]`` maps positions in ``pool`` to grades above 0 for ``queries[i]``; ``pool`` holds catalogue rows."""

    queries: list[str]
    pool: list[int]
    grades: list[dict[int, int]]

    def ndcg(self, query_vectors: np.ndarray, pool_vectors: np.ndarray) -> float:
        """Mean nDCG@10 of ranking the pool by cosine for each query; unit vectors (queries, d), (pool, d)."""
        scores = query_vectors @ pool_vectors.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        return float(np.mean([ndcg_at_10(ranked, grades) for ranked, grades in zip(order, self.grades, strict=True)]))


def ndcg_at_10(ranked: np.ndarray, grades: Mapping[int, int]) -> float:
    """nDCG@10 with linear gains and a log2 discount (Järvelin & Kekäläinen 2002; trec_eval's ``ndcg_cut_10``)."""
    discounts = 1.0 / np.log2(np.arange(2, 12))
    gains = np.array([grades.get(int(position), 0) for position in ranked[:10]], dtype=float)
    ideal = np.array(sorted(grades.values(), reverse=True)[:10], dtype=float)
    best = float(ideal @ discounts[: len(ideal)])
    return float(gains @ discounts[: len(gains)]) / best if best > 0 else 0.0


def build_dev_task(
    dataset: Dataset, *, seed: int, max_queries: int = MAX_QUERIES, max_products: int = MAX_PRODUCTS
) -> DevTask:
    """Judged dev queries against a sample of the catalogue, both drawn by ``seed``.

    The pool starts with the best-graded products of each query (up to three, fewer where room is scarce), is filled
    at random, and grades are those of products in the pool: a smaller shop, judged as completely as the whole one.
    Raises :class:`BadInput` when no dev query has a relevant product: there would be nothing to stop early on.
    """
    judged = _judged_rows(dataset)
    dev = [
        (query_id, normalize_query(text)) for query_id, text in dataset.split("dev")["query_id", "query"].iter_rows()
    ]
    dev = [(query_id, text) for query_id, text in dev if text and query_id in judged]
    if not dev:
        raise BadInput(
            "no query of the dev split has a product judged above grade 0",
            "judge some dev queries, or give the dev split a larger share",
        )
    generator = np.random.default_rng([seed, 3])
    order = generator.permutation(len(dev))[: min(max_queries, max_products)]
    chosen = [dev[index] for index in sorted(order.tolist())]
    kept = max(1, min(_BEST_OF_QUERY, max_products // len(chosen)))
    pool = {row for query_id, _ in chosen for row in _best(judged[query_id], kept, generator)}
    others = np.array(sorted(set(range(dataset.catalogue.height)) - pool), dtype=np.int64)
    pool |= set(generator.permutation(others)[: max(0, max_products - len(pool))].tolist())
    place = {row: position for position, row in enumerate(sorted(pool))}
    grades = [{place[row]: grade for row, grade in judged[q].items() if row in place} for q, _ in chosen]
    return DevTask([text for _, text in chosen], sorted(pool), grades)


def _judged_rows(dataset: Dataset) -> dict[str, dict[int, int]]:
    """Query id -> {catalogue row: grade}, grades above 0 only."""
    number = {product_id: row for row, product_id in enumerate(dataset.catalogue["product_id"])}
    judged: dict[str, dict[int, int]] = {}
    for query_id, product_id, grade in dataset.judgements.sort("query_id", "product_id").iter_rows():
        if grade > 0 and product_id in number:
            judged.setdefault(query_id, {})[number[product_id]] = int(grade)
    return judged


def _best(grades: Mapping[int, int], count: int, generator: np.random.Generator) -> list[int]:
    """Up to ``count`` rows of the highest grades, ties at random."""
    rows = generator.permutation(np.array(sorted(grades), dtype=np.int64)).tolist()
    return sorted(rows, key=lambda row: -grades[row])[:count]
