"""Which product words answer which query words: IBM's Model 1 by expectation maximization over right pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput
from rankops.pair_features import word_keys
from rankops.pair_words import WordModel
from rankops.specs import WordModelSpec
from rankops.training.crossencoder_data import JudgedPairs

_NOBODY = ""
"""The product word that explains what no word of the product does (Brown et al.'s null word)."""


@dataclass(frozen=True)
class _Links:
    """Every word of a query beside every word of its product, over all right pairs.

    ``left``, ``right``: int ``(links,)``, places in ``queries`` and ``products``; ``owner``: which word of which pair
    the link tries to explain; ``weight``: the pair's target.
    """

    queries: list[str]
    products: list[str]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    owner: NDArray[np.int64]
    weight: NDArray[np.float64]


def fit_words(data: JudgedPairs, spec: WordModelSpec) -> WordModel:
    """The word model of a cross-encoder. Raises :class:`BadInput` where the right pairs hold no words."""
    kept = np.flatnonzero(data.labels).tolist()
    asked, offered = ([word_keys(data.pairs[row][side]) for row in kept] for side in (0, 1))
    chances = word_chances(asked, offered, data.targets[kept].tolist(), spec)
    if not chances:
        raise BadInput("no right pair has a query word to learn from", "judge more pairs, or leave word_model out")
    return WordModel(chances)


def word_chances(
    asked: Sequence[Sequence[str]], offered: Sequence[Sequence[str]], targets: Sequence[float], spec: WordModelSpec
) -> dict[str, dict[str, float]]:
    """``{query word: {product word: chance}}`` from the words of right pairs, each counting by its target (0 to 1]."""
    links = _links(asked, offered, targets)
    if not links.queries:
        return {}
    cell, of_link = np.unique(links.left * len(links.products) + links.right, return_inverse=True)
    query, product = np.divmod(cell, len(links.products))
    chances = _chances(links, of_link, product, spec.rounds)
    found: dict[str, dict[str, float]] = {}
    kept = (chances >= spec.min_chance) & (product != links.products.index(_NOBODY))
    for row in np.flatnonzero(kept).tolist():
        found.setdefault(links.queries[query[row]], {})[links.products[product[row]]] = float(np.float32(chances[row]))
    return found


def _chances(links: _Links, of_link: NDArray[np.intp], product: NDArray[np.int64], rounds: int) -> NDArray[np.float64]:
    """P(query word | product word) of each pair of words that some link joins (``of_link``: which).

    Each round shares every query word out among the product's words by the chances of the round before, and counts.
    """
    chances = np.full(len(product), 1.0 / len(links.queries))
    for _ in range(rounds):
        share = chances[of_link]
        share *= links.weight / np.bincount(links.owner, share)[links.owner]
        counts = np.bincount(of_link, share)
        chances = counts / np.bincount(product, counts, minlength=len(links.products))[product]
    return chances


def _links(asked: Sequence[Sequence[str]], offered: Sequence[Sequence[str]], targets: Sequence[float]) -> _Links:
    left_sides = [sorted(set(words)) for words in asked]
    right_sides = [[_NOBODY, *sorted(set(words))] for words in offered]
    queries, products = (sorted({word for words in side for word in words}) for side in (left_sides, right_sides))
    query_of, product_of = ({word: place for place, word in enumerate(words)} for words in (queries, products))
    left, right, owner, weight = [], [], [], []
    count = 0
    for words, others, target in zip(left_sides, right_sides, targets, strict=True):
        for word in words:
            left += [query_of[word]] * len(others)
            right += [product_of[other] for other in others]
            owner += [count] * len(others)
            weight += [target] * len(others)
            count += 1
    return _Links(queries, products, np.array(left), np.array(right), np.array(owner), np.array(weight, dtype=float))
