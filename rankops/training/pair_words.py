"""Fitting the word model of a cross-encoder: IBM's Model 1 by expectation maximization over right pairs."""

from __future__ import annotations

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
    """Learn from the pairs that are right, each by its target. Raises :class:`BadInput` where they hold no words."""
    links = _links(data)
    cell, of_link = np.unique(links.left * len(links.products) + links.right, return_inverse=True)
    query, product = np.divmod(cell, len(links.products))
    chances = _chances(links, of_link, product, spec.rounds)
    found: dict[str, dict[str, float]] = {}
    kept = (chances >= spec.min_chance) & (product != links.products.index(_NOBODY))
    for row in np.flatnonzero(kept).tolist():
        found.setdefault(links.queries[query[row]], {})[links.products[product[row]]] = float(np.float32(chances[row]))
    return WordModel(found)


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


def _links(data: JudgedPairs) -> _Links:
    kept = np.flatnonzero(data.labels)
    asked = [sorted(set(word_keys(data.pairs[row][0]))) for row in kept.tolist()]
    offered = [[_NOBODY, *sorted(set(word_keys(data.pairs[row][1])))] for row in kept.tolist()]
    queries, products = (sorted({word for words in side for word in words}) for side in (asked, offered))
    if not queries:
        raise BadInput("no right pair has a query word to learn from", "judge more pairs, or leave word_model out")
    query_of, product_of = ({word: place for place, word in enumerate(words)} for words in (queries, products))
    left, right, owner, weight = [], [], [], []
    count = 0
    for words, others, target in zip(asked, offered, data.targets[kept].tolist(), strict=True):
        for word in words:
            left += [query_of[word]] * len(others)
            right += [product_of[other] for other in others]
            owner += [count] * len(others)
            weight += [target] * len(others)
            count += 1
    return _Links(queries, products, np.array(left), np.array(right), np.array(owner), np.array(weight, dtype=float))
