"""Baselines of next-item recommendation, tuned as a careful team would leave them.

* ``random``: the floor under every metric.
* ``popularity``: the best sellers of the last four weeks.
* ``item-item``: cosine of co-occurrence, each basket weighted by 1 / size and halved every 150 days: better by far
  than raw counts (on ``retail``, September 2011: HR@20 .393 against .195).
* ``text``: products whose texts are most like the context's (cosine to the power of 4, summed): the model that needs
  no basket, and what a recommender must beat on products that are new.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from rankops.baskets import baskets_of, contexts
from rankops.cooccurrence import (
    Items,
    Matrix,
    basket_weights,
    context_matrix,
    cosine,
    gram,
    items_of,
    rank,
    vector_gram,
)
from rankops.dataset import Dataset
from rankops.encoding import Encoder
from rankops.runs import RankedLists, random_run
from rankops.specs import Floor

FLOORS: tuple[Floor, ...] = ("random", "popularity", "item-item", "text")
_HALF_LIFE = 150.0
_SHARPNESS = 4


def floor_runs(
    dataset: Dataset,
    encoder: Callable[[], Encoder],
    seed: int,
    progress: Callable[[str], None],
    floors: Collection[Floor] = FLOORS,
) -> dict[str, RankedLists]:
    """``{floor: run}`` over the test questions of a next-item view.

    ``encoder`` makes the base model's; ``text``, the only one that needs it, is left out where ``floors`` has it not.
    """
    asked = dataset.split("test")
    query_ids, ids = asked["query_id"].to_list(), sorted(dataset.catalogue["product_id"].to_list())
    items = items_of(baskets_of(dataset.interactions), ids)
    context = context_matrix(contexts(asked), items)
    progress(f"evaluation: baselines on {len(query_ids):,} questions over {len(ids):,} products")
    popular = np.tile(items.popularity.astype(np.float32), (len(query_ids), 1))
    together = cosine(gram(items, basket_weights(items, half_life=_HALF_LIFE, size_exponent=1.0)))
    scores: list[tuple[str, Matrix]] = [("popularity", popular), ("item-item", np.asarray(context @ together))]
    if "text" in floors:
        scores.append(("text", np.asarray(context @ _text_matrix(dataset, items, encoder()))))
    barred = dataset.unavailable()
    closed = [place for place, product in enumerate(ids) if product in barred]
    ranked = {}
    for name, table in scores:
        table[:, closed] = -np.inf  # a baseline may name what a recommender may name
        ranked[name] = dict(zip(query_ids, rank(table, context, ids), strict=True))
    return {"random": random_run(query_ids, [product for product in ids if product not in barred], seed), **ranked}


def _text_matrix(dataset: Dataset, items: Items, encoder: Encoder) -> Matrix:
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    similar = vector_gram(encoder.encode([texts[product] for product in items.ids], role="product")) ** _SHARPNESS
    np.fill_diagonal(similar, 0.0)
    return similar
