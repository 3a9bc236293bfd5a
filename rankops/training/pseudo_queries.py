"""Queries that nobody asked: short runs of words from product texts, for what is learned without labels.

Shoppers write what products are called, in one to three words. So does this: of each product a few runs of its title
or of the first sentence of its description, among those that several products share (a run of one product is a serial
number more often than a wish).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rankops.lexical import STOP_WORDS

LONGEST = 3
"""Words of a query, at most."""
SHARED = 3
"""Products that must have the run of words."""
EACH = 3
"""Runs that are drawn of a product: queries cost little, and what is learned must hold for others."""

_WORD = re.compile(r"\w[\w+-]*")
_SENTENCE_END = re.compile(r"[.;\n]")


def pseudo_queries(products: Sequence[Mapping[str, Any]], *, seed: int) -> list[str]:
    """Distinct runs of words, lower case: :data:`EACH` a product at most, in a random order of the products.

    >>> shop = [{"title": f"{colour} phone case"} for colour in ("red", "blue", "green")]
    >>> set(pseudo_queries(shop, seed=1)) <= {"phone", "case", "phone case"}
    True
    """
    runs = [sorted(set(_runs(product))) for product in products]
    counts = Counter(run for own in runs for run in own)
    generator = np.random.default_rng([seed, 4])
    chosen: dict[str, None] = {}
    for row in generator.permutation(len(products)).tolist():
        shared = [run for run in runs[row] if counts[run] >= SHARED]
        for place in generator.permutation(len(shared))[:EACH].tolist():
            chosen.setdefault(shared[place])
    return list(chosen)


def _runs(product: Mapping[str, Any]) -> Iterable[str]:
    described = _SENTENCE_END.split(str(product.get("description") or ""), maxsplit=1)[0]
    for text in (str(product.get("title") or ""), described):
        said = _WORD.findall(text.lower())
        for length in range(1, LONGEST + 1):
            for start in range(len(said) - length + 1):
                run = said[start : start + length]
                if not {run[0], run[-1]} & STOP_WORDS and any(len(word) > 1 for word in run):
                    yield " ".join(run)
