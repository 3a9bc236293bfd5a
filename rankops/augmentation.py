"""More training pairs from the ones there are: typing errors, other words for the same, and fewer words.

Each new pair keeps the product of the pair that it came from, at a lower weight:

* *typos*: one slip in one word (a neighbouring key, two keys swapped, one left out, one doubled);
* *synonyms*: a word replaced by one that shoppers or the catalogue use for the same products, learned from the pairs;
* *back-off*: one word left out, first those that the product's text does not explain.

Words with digits are left alone: a model number with a slip is another model. No new query equals a held-out one.
Neutral ground: plain tables in and out; the training room uses it, and a robustness test can take the same typos.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from zlib import crc32

import numpy as np
import polars as pl

from rankops.dataset import Dataset
from rankops.specs import AugmentationSpec
from rankops.text import normalize_query

Synonyms = Mapping[str, Sequence[str]]

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_MIN_TYPED, _MIN_WORD = 4, 3
_MIN_SUPPORT = 3
"""Pairs that must show a replacement before it is believed."""
_SHARE, _LIFT, _OWN = 0.6, 5.0, 0.2
"""A catalogue word explains a query word: in 60 % of its products, five times as often as elsewhere, while the query
word itself is in at most 20 % of their titles."""
_OVERLAP = 0.5
"""Share of products that two queries, equal but for one word, must have in common."""


def keyboard_neighbours() -> dict[str, str]:
    """The keys around each letter on a QWERTY keyboard (rows are shifted by half a key)."""
    around: dict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(_ROWS):
        for place, key in enumerate(row):
            around[key] |= set(row[max(place - 1, 0) : place + 2]) - {key}
            if number + 1 < len(_ROWS):
                for below in _ROWS[number + 1][max(place - 1, 0) : place + 1]:
                    around[key].add(below)
                    around[below].add(key)
    return {key: "".join(sorted(keys)) for key, keys in around.items()}


_NEIGHBOURS = keyboard_neighbours()


def with_typo(query: str, generator: np.random.Generator) -> str | None:
    """The query with one slip in one word of four letters or more; None where it has no such word.

    The result is within one edit (Damerau-Levenshtein) of the query, and differs from it.
    """
    words = query.split(" ")
    able = [i for i, word in enumerate(words) if len(word) >= _MIN_TYPED and word.isalpha() and word.isascii()]
    if not able:
        return None
    place = able[int(generator.integers(len(able)))]
    word = words[place]
    at = int(generator.integers(1, len(word)))  # the first letter is seldom wrong
    slips: list[Callable[[], str]] = [
        lambda: word[:at] + str(generator.choice(list(_NEIGHBOURS[word[at]]))) + word[at + 1 :],
        lambda: word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
        lambda: word[:at] + word[at + 1 :],
        lambda: word[:at] + word[at] + word[at:],
    ]
    slipped = slips[int(generator.integers(len(slips)))]()
    if slipped == word:  # two equal letters were swapped
        slipped = word[:at] + word[at + 1 :]
    return " ".join([*words[:place], slipped, *words[place + 1 :]])


def without_a_word(query: str, text: str, generator: np.random.Generator) -> str | None:
    """The query (three words or more) without one word, first one that ``text`` lacks; None for shorter queries."""
    words = query.split(" ")
    if len(words) < 3:
        return None
    known = set(text.lower().split())
    strange = [i for i, word in enumerate(words) if word not in known] or list(range(len(words)))
    place = strange[int(generator.integers(len(strange)))]
    return " ".join(words[:place] + words[place + 1 :])


def learn_synonyms(pairs: pl.DataFrame, titles: Mapping[str, str]) -> dict[str, list[str]]:
    """Words for words, from ``pairs`` (query, product_id) and the products' titles; sorted, at most three each.

    Two sources: queries that are equal but for one word and lead to the same products (both ways), and words of
    titles that explain a query word which titles do not use (see the constants of this module).
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    products: dict[str, set[str]] = defaultdict(set)
    for query, product in pairs.select("query", "product_id").iter_rows():
        products[query].add(product)
    _from_queries(products, found)
    _from_titles(products, titles, found)
    ranked = {word: sorted(counts.items(), key=lambda item: (-item[1], item[0])) for word, counts in found.items()}
    return {word: [other for other, _ in items[:3]] for word, items in sorted(ranked.items())}


def _from_queries(products: Mapping[str, set[str]], found: dict[str, Counter[str]]) -> None:
    frames: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for query in sorted(products):
        words = query.split(" ")
        for place, word in enumerate(words):
            if word.isalpha():
                frames[(*words[:place], "*", *words[place + 1 :])].append((word, query))
    support: Counter[tuple[str, str]] = Counter()
    for members in (members for frame, members in frames.items() if len(frame) > 1):
        for (word, query), (other, second) in combinations(members, 2):
            shared, either = products[query] & products[second], products[query] | products[second]
            if len(shared) >= _OVERLAP * len(either):
                support[(word, other)] += len(shared)
    for (word, other), count in support.items():
        if count >= _MIN_SUPPORT:
            found[word][other] += count
            found[other][word] += count


def _from_titles(products: Mapping[str, set[str]], titles: Mapping[str, str], found: dict[str, Counter[str]]) -> None:
    in_titles = {product: set(normalize_query(title).split(" ")) for product, title in titles.items()}
    share = Counter(word for words in in_titles.values() for word in words)
    of_word: dict[str, set[str]] = defaultdict(set)
    for query, clicked in products.items():
        for word in query.split(" "):
            of_word[word] |= clicked & in_titles.keys()
    for word, clicked in of_word.items():
        if len(clicked) < _MIN_SUPPORT or not word.isalpha():
            continue
        counts = Counter(other for product in clicked for other in in_titles[product])
        if counts[word] > _OWN * len(clicked):
            continue
        for other, count in counts.items():
            lift = (count / len(clicked)) / (share[other] / len(in_titles))
            if (
                len(other) >= _MIN_WORD
                and other.isalpha()
                and count >= max(_MIN_SUPPORT, _SHARE * len(clicked))
                and lift >= _LIFT
            ):
                found[word][other] += count


def augment_pairs(dataset: Dataset, pairs: pl.DataFrame, spec: AugmentationSpec, seed: int) -> pl.DataFrame:
    """``pairs`` (query, product_id, weight) and new ones, with ``source``: the query that each came from.

    A share ``spec.typos`` of the pairs gets a copy with a typing error, and so on; copies weigh ``spec.weight`` times
    their original. The draw of a pair depends on the pair and the seed only. Copies whose query is one of the dev or
    test split, or another known query, are left out.
    """
    own = pairs.with_columns(pl.col("query").alias("source"))
    if not spec.enabled:
        return own
    titles = dict(dataset.catalogue.select("product_id", "title").iter_rows())
    synonyms = learn_synonyms(pairs, titles) if spec.synonyms else {}
    known = {normalize_query(query) for query in dataset.queries["query"].to_list()} | set(pairs["query"].to_list())
    rows = []
    for query, product, weight in pairs.select("query", "product_id", "weight").iter_rows():
        generator = np.random.default_rng([seed, crc32(f"{query}\n{product}".encode())])
        for made in _copies(query, titles.get(product, ""), synonyms, spec, generator):
            if made not in known:
                rows.append((made, product, weight * spec.weight, query))
    copies = pl.DataFrame(rows, schema=own.schema, orient="row")
    # Two sources can give one copy; its product keeps the larger weight.
    best = copies.sort(["query", "product_id", "weight", "source"], descending=[False, False, True, False])
    return pl.concat([own, best.unique(["query", "product_id"], keep="first", maintain_order=True)])


def _copies(
    query: str, title: str, synonyms: Synonyms, spec: AugmentationSpec, generator: np.random.Generator
) -> list[str]:
    draws = generator.random(3)
    made = [
        with_typo(query, generator) if draws[0] < spec.typos else None,
        _with_synonym(query, synonyms, generator) if draws[1] < spec.synonyms else None,
        without_a_word(query, title, generator) if draws[2] < spec.back_off else None,
    ]
    return [copy for copy in made if copy]


def _with_synonym(query: str, synonyms: Synonyms, generator: np.random.Generator) -> str | None:
    words = query.split(" ")
    able = [place for place, word in enumerate(words) if word in synonyms]
    if not able:
        return None
    place = able[int(generator.integers(len(able)))]
    other = str(generator.choice(list(synonyms[words[place]])))
    return " ".join([*words[:place], other, *words[place + 1 :]])
