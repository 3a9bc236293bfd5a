"""What the dev baskets of a next-item model ask, and which of two settings answers better.

A dataset asks one question of each basket. A few hundred such questions tell settings apart badly, and the best of
many settings is flattered by them, so each dev basket asks up to :data:`EACH` here: one product after another is held
out of those that its question names. They come from one shopping trip and are no independent evidence, so what is
compared is the mean of each basket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankops.baskets import NEW_SALES, contexts
from rankops.cooccurrence import Items, Matrix, context_matrix, rank
from rankops.dataset import Dataset

if TYPE_CHECKING:
    from rankops.torch_sequence import TorchSequence

DEPTH = 20
"""HR@20 chooses the setting."""
EACH = 4
"""Questions a basket. Settings chosen by four score HR@20 .391 where the dev days promised .388, by one .390 where .400
were promised (generated shop, mean of four fits, before new products had questions of their own); on ``retail`` one,
four and eight choose about as well."""
MOST = 10_000
"""Questions of a kind: their scores over 6,000 products take 240 MB."""
COST = 0.005
"""Share of all hits that hitting new products may cost: they sell too little for all questions to hear of them."""
_ROWS = 1_000  # ranked at a time: sorting takes three times the scores


class Question(NamedTuple):
    """A product held out of a basket, and the others that the basket's question names."""

    basket: str
    context: list[str]
    held_out: str


class Questions:
    """HR@20 by baskets of what is fitted on the baskets before them (``items``)."""

    def __init__(self, asked: Sequence[Question], items: Items) -> None:
        self.items, self.asked = items, list(asked)
        self._context = context_matrix([question.context for question in self.asked], items)
        self._baskets = np.unique([question.basket for question in self.asked], return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.asked)

    def scores(self, weights: Matrix) -> Matrix:
        """All products for all questions ``(questions, n)`` by item-item weights ``(n, n)``."""
        return np.asarray(self._context @ weights)

    def probabilities(self, sequence: TorchSequence) -> Matrix:
        """Those of a sequential part ``(questions, n)``; 0 where it knows nothing of the context."""
        place, found = self.items.place, np.zeros(self._context.shape, np.float32)
        for row, question in enumerate(self.asked):
            if known := [place[product] for product in question.context if product in place]:
                found[row] = sequence.probabilities(known)
        return found

    def hits(self, scores: Matrix) -> NDArray[np.float64]:
        """Of each basket, in how many of its questions the held-out product is among the first 20 (share, 0..1)."""
        hit = []
        for first in range(0, len(self.asked), _ROWS):
            rows = slice(first, first + _ROWS)
            ranked = rank(scores[rows], self._context[rows], self.items.ids, DEPTH)
            hit += [float(question.held_out in best) for question, best in zip(self.asked[rows], ranked, strict=True)]
        return np.bincount(self._baskets, weights=hit) / np.bincount(self._baskets)

    def popularity(self) -> float:
        """What recommending the best sellers of the last four weeks would score."""
        popular = self.items.popularity.astype(np.float32)
        return float(self.hits(np.tile(popular, (len(self), 1))).mean())


def dev_questions(seen: Dataset, items: Items) -> tuple[Questions, Questions]:
    """Those that choose the setting, and those of new products (fewer than ten sales in ``items``), maybe none.

    The first are the dataset's own and, for each basket, up to three more; the second hold every new product of a
    basket out in turn. What cannot be bought is never held out. Of each kind at most :data:`MOST` are asked.
    """
    dev, barred = seen.split("dev"), seen.unavailable()
    held_out = dict(seen.judgements.select("query_id", "product_id").iter_rows())
    new = {product for product, sales in zip(items.ids, items.sales, strict=True) if sales < NEW_SALES}
    every: list[Question] = []
    fresh: list[Question] = []
    for basket, context in zip(dev["query_id"].to_list(), contexts(dev), strict=True):
        products = [held_out[basket], *context]
        able = [
            Question(basket, [other for other in products if other != product], product)
            for product in products
            if product not in barred
        ]
        every += able[:EACH]
        fresh += [question for question in able if question.held_out in new]
    return Questions(_thinned(every), items), Questions(_thinned(fresh), items)


def _thinned(asked: list[Question]) -> list[Question]:
    """At most ``MOST``, of whole baskets at even distances."""
    baskets = list(dict.fromkeys(question.basket for question in asked))
    kept = set(baskets[:: max(1, -(-len(asked) // MOST))])
    return [question for question in asked if question.basket in kept]


def clearly_better(found: NDArray[np.float64], standing: NDArray[np.float64]) -> bool:
    """Whether the mean difference of the baskets is more than its standard error."""
    difference = found - standing
    return bool(difference.mean() > difference.std() / np.sqrt(len(difference)))


def best_for_new(tried: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> int:
    """Which of several ``(hits of all questions, hits of new products)`` to take.

    Of those that lose at most :data:`COST` of the best one's hits, the one that hits new products most. With no
    question of a new product, another than the first must be clearly better on all.
    """
    means = [float(every.mean()) for every, _ in tried]
    if not len(tried[0][1]):
        able = [place for place, (every, _) in enumerate(tried) if clearly_better(every, tried[0][0])]
        return max(able, key=lambda place: means[place], default=0)
    able = [place for place, mean in enumerate(means) if mean >= (1 - COST) * max(means)]
    return max(able, key=lambda place: float(tried[place][1].mean()))
