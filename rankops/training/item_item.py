"""The item-item weights of one setting, over baskets and over what products say of themselves.

EASE^R in closed form (:func:`rankops.cooccurrence.ease`) over the sum of the weighted co-occurrence and what the
catalogue says two products have in common: words and vectors of their texts, a price, a number next to each other (what
is listed together belongs together). To the fit, every word is one more basket. A product that never sold is so tied to
what resembles it, and one that sold often lets its baskets speak. On ``retail``, each of July to September 2011 by what
sold before it (15,640 questions), numbers take HR@20 from .427 to .429 and prices to .431. Of October (every product of
its baskets held out in turn, 42,404 questions) all go from .383 to .384 and those with one to nine sales from .235 to
.248 (with 600 links a product, not 200: .384 and .253).
Not every shop numbers or prices so: both must win their weight on the dev days (the generated shop gives them none).

Three lifts come on top; their figures are without numbers and prices, and of 3,188 questions of products with one to
nine sales, of which texts alone hit .204:

* Products with few sales towards what resembles them (``boost / (1 + sales / 30)``). 0.05 takes new products from .174
  to .243 and costs nothing of all (.428, .429); 0.1 takes them to .278 and costs .006.
* Products that sell better now than they used to (:func:`trend`). 0.1 takes all from .427 to .429, MRR@20 from .167 to
  .168 and new products from .228 to .243.
* All products towards what resembles them, where the dev days ask for it (``text_boost``): after a drift, baskets of
  the days before it say little of what goes with what (generated shop, the three days of the drift: .411 without, .439
  with 0.2, text alone .452; on ``retail`` it never wins).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankops.cooccurrence import (
    Items,
    Matrix,
    basket_weights,
    ease,
    gram,
    number_gram,
    price_gram,
    vector_gram,
    word_gram,
)

_RECENT_DAYS, _RECENT_SHARE = 28.0, 0.25
_FADE_SALES = 30.0
_WORD_SHARPNESS, _VECTOR_SHARPNESS = 3, 4


@dataclass(frozen=True)
class Setting:
    """One point of the grid; see :class:`rankops.specs.RecommendationSpec`."""

    half_life: float
    size_exponent: float
    regularization: float
    word_weight: float
    text_weight: float
    number_weight: float
    price_weight: float
    new_item_boost: float
    text_boost: float
    trend: float


@dataclass(frozen=True)
class Grams:
    """What the catalogue says two products have in common, over the same products as the baskets.

    ``alike`` is what lifts products: words and vectors, sharpened, with a zero diagonal.
    """

    words: Matrix
    vectors: Matrix
    numbers: Matrix
    prices: Matrix
    alike: Matrix

    @classmethod
    def of(
        cls, ids: Sequence[str], texts: Sequence[str], prices: Sequence[float | None], encoded: Matrix | None
    ) -> Grams:
        """Of products' ids, texts and prices, and of their vectors where any setting wants them."""
        words = word_gram(texts)
        vectors = np.zeros_like(words) if encoded is None else vector_gram(encoded)
        # Every fit needs it and no setting changes it.
        alike = words**_WORD_SHARPNESS + vectors**_VECTOR_SHARPNESS
        np.fill_diagonal(alike, 0.0)
        return cls(words, vectors, number_gram(ids), price_gram(prices), alike)


def fit(items: Items, grams: Grams, setting: Setting) -> Matrix:
    """The dense ``(n, n)`` weights of one setting."""
    weights = basket_weights(items, half_life=setting.half_life, size_exponent=setting.size_exponent)
    total = gram(items, weights)
    total += np.float32(setting.word_weight) * grams.words + np.float32(setting.text_weight) * grams.vectors
    total += np.float32(setting.number_weight) * grams.numbers + np.float32(setting.price_weight) * grams.prices
    pulled = ease(total, setting.regularization) + lift(items, grams, setting)
    return pulled * trend(items, setting)[None, :]


def trend(items: Items, setting: Setting) -> Matrix:
    """What each product sold of late over what its faded past lets expect, to the power of ``setting.trend``: ``(n,)``.

    Both in baskets of the last four weeks (of the last quarter of a shorter window), plus half a sale each; 1 where
    nothing changed. A product out of season or out of stock sinks before its old baskets have faded.
    """
    days = min(_RECENT_DAYS, float(items.age.max()) * _RECENT_SHARE)
    weights = basket_weights(items, half_life=setting.half_life, size_exponent=0.0)
    usual = np.asarray(items.counts.T @ weights, dtype=np.float64) / weights.sum()
    expected = usual * np.count_nonzero(items.age <= days)
    ratio: Matrix = ((items.recent(days) + 0.5) / (expected + 0.5)) ** setting.trend
    return ratio.astype(np.float32)


def lift(items: Items, grams: Grams, setting: Setting) -> Matrix:
    """What products get for resembling the context, those with few sales more: ``(n, n)``, columns fade with sales."""
    boosts = setting.text_boost + setting.new_item_boost / (1.0 + items.sales / _FADE_SALES)
    return grams.alike * boosts.astype(np.float32)[None, :]
