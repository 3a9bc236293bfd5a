"""Fitting the word model of a cross-encoder: IBM's Model 1 by expectation maximization over right pairs."""

from __future__ import annotations

import numpy as np

from rankops.errors import BadInput
from rankops.pair_features import word_keys
from rankops.pair_words import WordModel
from rankops.specs import WordModelSpec
from rankops.training.crossencoder_data import JudgedPairs

_NOBODY = ""
"""The product word that explains what no word of the product does (Brown et al.'s null word)."""


def fit_words(data: JudgedPairs, spec: WordModelSpec) -> WordModel:
    """Learn from the pairs that are right, each by its target. Raises :class:`BadInput` where they hold no words.

    Each round shares every query word out among the product's words by the chances of the round before, and counts.
    """
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
    cell, of_cell = np.unique(np.asarray(left) * len(products) + np.asarray(right), return_inverse=True)
    place = cell % len(products)
    chance = np.full(len(cell), 1.0 / len(queries))
    for _ in range(spec.rounds):
        share = chance[of_cell]
        share *= np.asarray(weight) / np.bincount(owner, share)[np.asarray(owner)]
        counts = np.bincount(of_cell, share)
        chance = counts / np.bincount(place, counts, minlength=len(products))[place]
    found: dict[str, dict[str, float]] = {}
    for row in np.flatnonzero((chance >= spec.min_chance) & (place != product_of[_NOBODY])).tolist():
        found.setdefault(queries[cell[row] // len(products)], {})[products[place[row]]] = float(np.float32(chance[row]))
    return WordModel(found)
