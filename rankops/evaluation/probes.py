"""Held-out queries asked in other words: does the model still find what it found?

Each probe changes a query so that the same products stay right:

* ``typo``: one slip of the finger in the longest word (two letters swapped, one lost, or one doubled);
* ``word-order``: the words turned round;
* ``synonym``: a word in its other number or spelling, or another word of a small list of shopping words;
* ``negation``: ``not <brand>`` for a brand of which none of the query's relevant products is. A model that reads words
  one by one is drawn to just that brand.

The changes are drawn by the query's own id, so a query has the same probes in every evaluation. A probe that has
nothing to change leaves the query out. A team adds its own with :func:`probe`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from rankops.dataset import Dataset
from rankops.text import normalize_query

_SHORTEST = 4  # letters of a word that a slip leaves recognizable
_MARK = "~"
_KEPT = 100

_SYNONYMS = (
    "sneakers trainers",
    "sofa couch",
    "tv television",
    "laptop notebook",
    "mobile cellphone",
    "bike bicycle",
    "kids children",
    "mens men's",
    "womens women's",
    "waterproof water-resistant",
    "wireless cordless",
    "bag sack",
    "lamp light",
    "jumper sweater",
    "pants trousers",
    "rug carpet",
    "fridge refrigerator",
    "photo picture",
    "cheap affordable",
    "small compact",
    "black jet-black",
    "headphones earphones",
)
_OTHERS = {word: other for pair in map(str.split, _SYNONYMS) for word, other in (pair, pair[::-1])}


@dataclass(frozen=True)
class Asked:
    """A query as a probe meets it. ``foreign_brands`` are brands that none of its relevant products has, sorted."""

    query_id: str
    text: str
    foreign_brands: Sequence[str]

    def rng(self, name: str) -> np.random.Generator:
        """A generator of its own for each probe and query."""
        return np.random.default_rng([zlib.crc32(name.encode()), zlib.crc32(self.query_id.encode())])


Probe = Callable[[Asked], "str | None"]
"""The query in other words, or None where there is nothing to change."""

_PROBES: dict[str, Probe] = {}


def probe(name: str) -> Callable[[Probe], Probe]:
    """Register a kind of probe. The same name again replaces it."""

    def register(function: Probe) -> Probe:
        _PROBES[name] = function
        return function

    return register


@dataclass(frozen=True)
class Probed:
    """A dataset whose test split asks probes beside its own queries.

    ``table`` has ``probe_id``, ``query_id``, ``probe`` and ``text``: which of the asked queries are probes, of what.
    """

    dataset: Dataset
    table: pl.DataFrame


def with_probes(dataset: Dataset, count: int, *, min_grade: int) -> Probed:
    """Add the probes of ``count`` test queries (evenly spread over those that can be scored) to the test split.

    The probes carry the judgements of their queries, so that whatever ranks the dataset ranks them like any query.
    """
    relevant = dataset.judgements.filter(pl.col("grade") >= min_grade)
    asked = dataset.split("test").join(relevant, on="query_id", how="semi", maintain_order="left")
    chosen = asked.gather_every(max(1, asked.height // count)).head(count) if count else asked.clear()
    rows = [
        (f"{query.query_id}{_MARK}{name}", query.query_id, name, text)
        for query in _askable(dataset, chosen, relevant)
        for name, change in _PROBES.items()
        if (text := change(query)) is not None and normalize_query(text) != normalize_query(query.text)
    ]
    names = ["probe_id", "query_id", "probe", "text"]
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()), orient="row")
    return Probed(_joined(dataset, table), table)


def _joined(dataset: Dataset, table: pl.DataFrame) -> Dataset:
    links = table.select("probe_id", "query_id", "text")
    queries = dataset.queries.join(links, on="query_id").with_columns(
        pl.col("probe_id").alias("query_id"), pl.col("text").alias("query")
    )
    judgements = dataset.judgements.join(links, on="query_id").with_columns(pl.col("probe_id").alias("query_id"))
    return replace(
        dataset,
        queries=pl.concat([dataset.queries, queries.select(dataset.queries.columns)]).sort("query_id"),
        judgements=pl.concat([dataset.judgements, judgements.select(dataset.judgements.columns)]).sort(
            "query_id", "product_id"
        ),
    )


def _askable(dataset: Dataset, queries: pl.DataFrame, relevant: pl.DataFrame) -> list[Asked]:
    brands = dataset.catalogue.select("product_id", "brand").filter(pl.col("brand").fill_null("") != "")
    common = brands["brand"].value_counts(sort=True).sort(["count", "brand"], descending=[True, False])
    pool = common["brand"].head(_KEPT).to_list()
    own = relevant.join(brands, on="product_id").group_by("query_id").agg("brand")
    theirs = {query_id: set(names) for query_id, names in own.iter_rows()}
    return [
        Asked(query_id, text, sorted(b for b in pool if b not in theirs.get(query_id, set()) and b.lower() not in text))
        for query_id, text in queries.select("query_id", "query").iter_rows()
    ]


@probe("typo")
def _typo(asked: Asked) -> str | None:
    words = asked.text.split(" ")
    place = max(range(len(words)), key=lambda i: len(words[i]))
    word = words[place]
    if len(word) < _SHORTEST or word.isdigit():
        return None
    rng = asked.rng("typo")
    at = int(rng.integers(1, len(word) - 1))
    slips = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    )
    words[place] = slips[int(rng.integers(len(slips)))]
    return " ".join(words)


@probe("word-order")
def _word_order(asked: Asked) -> str | None:
    return " ".join(reversed(asked.text.split(" ")))


@probe("synonym")
def _synonym(asked: Asked) -> str | None:
    words = asked.text.split(" ")
    for place, word in enumerate(words):
        if word in _OTHERS:
            return " ".join([*words[:place], _OTHERS[word], *words[place + 1 :]])
    if not re.fullmatch(r"[a-z]{4,}", words[-1]):
        return None
    # The other number of the last word, which in a product query is most often the thing that is looked for.
    last = words[-1]
    other = last[:-1] if last.endswith("s") and not last.endswith("ss") else f"{last}s"
    return " ".join([*words[:-1], other])


@probe("negation")
def _negation(asked: Asked) -> str | None:
    if not asked.foreign_brands:
        return None
    brand = asked.foreign_brands[int(asked.rng("negation").integers(len(asked.foreign_brands)))]
    return f"{asked.text} not {brand.lower()}"
