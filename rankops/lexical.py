"""Words to scores: BM25 over the fields of products, for the baseline, the release and the server alike.

Every field keeps its own term frequencies and lengths, and all share one vocabulary and one inverse document
frequency (of the word anywhere in the product), as BM25F does (Robertson, Zaragoza & Taylor, CIKM 2004). A word's part
of a field's score is Lucene's variant of BM25::

    idf(w) * tf / (tf + k1 * (1 - b + b * length / average length)),    idf(w) = ln(1 + (N - n + 0.5) / (n + 0.5))

and a field's score is the sum over the query's words *divided by the sum of their idf*: the share of what the query
asks for that the field has. The division changes no order within a query (one field ranks exactly as Lucene does); it
makes scores of different queries comparable, 0 to just below 1, which learned weights and thresholds need.

Only numpy is needed. What a release holds and a server asks is made of this: :mod:`rankops.weighted_words`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput
from rankops.files import digest_of
from rankops.text import normalize_query

K1, B = 1.2, 0.75
"""The defaults of Lucene, Elasticsearch, OpenSearch and Solr: what a shop that never tuned its engine runs."""

_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Lucene's English stop words."""

COLUMNS = ("title", "brand", "category", "attributes", "description")
PAIRS = "pairs"
"""Prefix of a field whose terms are neighbouring words written as one: ``pairs:title``."""

BEST, COVERAGE = "best field", "coverage"
"""Names of the two signals over all plain fields; see :class:`Matches`."""
TAUGHT = "taught"
"""The field of words that people are known to ask for a product with, though its texts have them not."""

_WORD = re.compile(r"\w+")

Floats = NDArray[np.float32]
Impacts = Sequence[Mapping[str, float]]
"""For each product its taught words, each with an impact of 0 to 1."""


def words(text: str) -> list[str]:
    """The words of ``text``: lower case, no English stop words, singular. Single letters and numbers stay.

    >>> words("The 2 Phone-Cases for PS4")
    ['2', 'phone', 'case', 'ps4']
    """
    return [singular(word) for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


def singular(word: str) -> str:
    """Harman's S-stemmer ("How effective is suffixing?", JASIS 42(1), 1991), the rules of Lucene's minimal stemmer.

    Only plurals are removed: stronger stemmers conflate too much in product titles. Unlike the original, words in
    -aes, -ees and -oes lose their s too, or "shoes" would not find "shoe".

    >>> [singular(w) for w in ("batteries", "cables", "shoes", "glass")]
    ['battery', 'cable', 'shoe', 'glass']
    """
    if len(word) < 3 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


def field_texts(products: Iterable[Mapping[str, Any]], field: str) -> list[str]:
    """The text of a field for each product: columns of the catalogue joined by ``+``, ``pairs:`` before them or not.

    Raises :class:`BadInput` for a column that catalogues do not have.
    """
    columns = field.removeprefix(f"{PAIRS}:").split("+")
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise BadInput(f"field {field!r} names {', '.join(unknown)}", f"a field joins some of {', '.join(COLUMNS)}")
    return [". ".join(str(product.get(column) or "") for column in columns) for product in products]


@dataclass(frozen=True)
class Matches:
    """What an index says about one query, over all N products, in the index's order."""

    fields: Floats
    """(fields, N): each field's share of the query."""
    best: Floats
    """(N,): for each word the best of the plain fields, summed (a disjunction of fields, as Lucene's dismax)."""
    coverage: Floats
    """(N,): the share of the query's words, weighted by idf, that the product has in any plain field."""


@dataclass(frozen=True)
class LexicalIndex:
    """Postings of several fields. Safe to share between threads: nothing changes after construction.

    The postings of word ``w`` in field ``f`` are ``starts[f, w]`` to ``starts[f, w + 1]`` of ``rows`` (which products)
    and ``impacts`` (the saturated term frequency, 0 to 1).
    """

    fields: tuple[str, ...]
    count: int
    vocabulary: dict[str, int]
    idf: Floats
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    impacts: Floats
    source: str
    """Hex SHA-256 of the indexed texts and of how they were indexed."""

    @classmethod
    def build(
        cls, texts: Mapping[str, Sequence[str]], *, k1: float = K1, b: float = B, taught: Impacts | None = None
    ) -> LexicalIndex:
        """Index ``texts``: ``{field: the text of each product}``, and ``taught`` as the last field where it is given.

        ``k1`` is how late repetitions stop counting, ``b`` how much long texts are discounted (0: not at all).
        Raises :class:`BadInput` where fields differ in their number of products or there is no field.
        """
        sizes = {len(of_field) for of_field in texts.values()} | ({len(taught)} if taught is not None else set())
        if len(sizes) != 1:
            raise BadInput(f"the fields {', '.join(texts) or '(none)'} have {sorted(sizes)} texts", "one a product")
        total = sizes.pop()
        documents = {field: [_terms(field, text) for text in of_field] for field, of_field in texts.items()}
        vocabulary, idf = _vocabulary(documents, total, taught or ())
        parts = [_postings(documents[field], vocabulary, k1, b) for field in texts]
        if taught is not None:
            parts.append(_given_postings(taught, vocabulary))
        offset, starts = 0, []
        for of_field, rows, _ in parts:
            starts.append(of_field + offset)
            offset += len(rows)
        return cls(
            fields=(*texts, *(() if taught is None else (TAUGHT,))),
            count=total,
            vocabulary=vocabulary,
            idf=idf,
            starts=np.stack(starts),
            rows=np.concatenate([rows for _, rows, _ in parts]),
            impacts=np.concatenate([impacts for _, _, impacts in parts]),
            source=source_digest(texts, k1=k1, b=b, taught=taught),
        )

    def __len__(self) -> int:
        return self.count

    def match(self, query: str) -> Matches:
        """Scores of every product for ``query`` (normalized here). Words that no product has lower every score."""
        said = words(normalize_query(query))
        fields = np.zeros((len(self.fields), self.count), dtype=np.float32)
        plain, single = (of_kind(self.fields) for of_kind in (plain_fields, single_fields))
        best, coverage = np.zeros(self.count, np.float32), np.zeros(self.count, np.float32)
        for word in said:
            idf = self._idf(word)
            top, there = np.zeros(self.count, np.float32), np.zeros(self.count, bool)
            for number in single:
                rows, impacts = self._posting(number, word)
                fields[number, rows] += idf * impacts
                if number not in plain:
                    continue
                top[rows] = np.maximum(top[rows], impacts)
                there[rows] = True
            best += idf * top
            coverage += idf * there
        total = np.float32(max(sum(map(self._idf, said)), 1e-9))
        fields /= total
        for number in set(range(len(self.fields))) - set(single):
            self._match_pairs(number, pairs(said), fields[number])
        return Matches(fields, best / total, coverage / total)

    def _match_pairs(self, number: int, said: list[str], out: Floats) -> None:
        """Add the share of the query's word pairs to ``out`` (N,)."""
        total = np.float32(max(sum(map(self._idf, said)), 1e-9))
        for pair in said:
            rows, impacts = self._posting(number, pair)
            out[rows] += self._idf(pair) / total * impacts

    def _idf(self, word: str) -> np.float32:
        place = self.vocabulary.get(word)
        return np.float32(self.idf[place] if place is not None else np.log(2 * self.count + 2))

    def _posting(self, number: int, word: str) -> tuple[NDArray[np.int32], Floats]:
        place = self.vocabulary.get(word)
        if place is None:
            return self.rows[:0], self.impacts[:0]
        begin, end = self.starts[number, place], self.starts[number, place + 1]
        return self.rows[begin:end], self.impacts[begin:end]


def source_digest(texts: Mapping[str, Sequence[str]], *, k1: float, b: float, taught: Impacts | None = None) -> str:
    """What :attr:`LexicalIndex.source` of an index of these texts is."""
    given = {} if taught is None else {TAUGHT: [dict(sorted(of_product.items())) for of_product in taught]}
    return digest_of({"texts": {field: list(of_field) for field, of_field in texts.items()}, "k1": k1, "b": b, **given})


def pairs(said: Sequence[str]) -> list[str]:
    """Neighbouring words written as one; a single word stays itself, to meet those who write it as two.

    >>> pairs(["usb", "mouse", "pad"]), pairs(["mousepad"])
    (['usbmouse', 'mousepad'], ['mousepad'])
    """
    return [a + b for a, b in pairwise(said)] or list(said)


def single_fields(fields: Sequence[str]) -> list[int]:
    """Numbers of the fields whose terms are single words."""
    return [number for number, field in enumerate(fields) if not _paired(field)]


def plain_fields(fields: Sequence[str]) -> list[int]:
    """Those of them that are text: the best field and the coverage are theirs."""
    return [number for number in single_fields(fields) if fields[number] != TAUGHT]


def _paired(field: str) -> bool:
    return field.startswith(f"{PAIRS}:")


def _terms(field: str, text: str) -> list[str]:
    said = words(text)
    # The words themselves count too: "mouse pad" must find "mousepad".
    return [*said, *(pairs(said) if len(said) > 1 else [])] if _paired(field) else said


def _vocabulary(documents: Mapping[str, list[list[str]]], count: int, taught: Impacts) -> tuple[dict[str, int], Floats]:
    """Sorted terms by number, and the idf of each over whole products; a word that no text has is as rare as taught."""
    frequency: Counter[str] = Counter()
    for row in range(count):
        frequency.update(set().union(*(of_field[row] for of_field in documents.values())))
    only_taught = Counter(word for of_product in taught for word in of_product if word not in frequency)
    frequency.update(only_taught)
    terms = sorted(frequency)
    n = np.array([frequency[term] for term in terms], dtype=np.float64)
    return {term: i for i, term in enumerate(terms)}, np.log1p((count - n + 0.5) / (n + 0.5)).astype(np.float32)


def _given_postings(
    taught: Impacts, vocabulary: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats]:
    """``(starts, rows, impacts)`` of taught words, by word and then by product."""
    cells = sorted(
        (vocabulary[word], row, impact) for row, given in enumerate(taught) for word, impact in given.items()
    )
    starts = np.zeros(len(vocabulary) + 1, dtype=np.int64)
    terms = np.array([term for term, _, _ in cells], dtype=np.int64)
    np.cumsum(np.bincount(terms, minlength=len(vocabulary)), out=starts[1:])
    rows, impacts = ([cell[place] for cell in cells] for place in (1, 2))
    return starts, np.array(rows, dtype=np.int32), np.array(impacts, dtype=np.float32)


def _postings(
    documents: list[list[str]], vocabulary: Mapping[str, int], k1: float, b: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats]:
    """``(starts, rows, impacts)`` of one field, by word and then by product."""
    lengths = np.array([len(document) for document in documents], dtype=np.float64)
    norm = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9)) if len(lengths) else lengths
    terms: list[int] = []
    rows: list[int] = []
    counts: list[int] = []
    for row, document in enumerate(documents):
        for term, times in Counter(document).items():
            terms.append(vocabulary[term])
            rows.append(row)
            counts.append(times)
    order = np.argsort(np.array(terms, dtype=np.int64), kind="stable")
    by_word, often = np.array(rows, dtype=np.int32)[order], np.array(counts, dtype=np.float64)[order]
    starts = np.zeros(len(vocabulary) + 1, dtype=np.int64)
    np.cumsum(np.bincount(np.array(terms, dtype=np.int64), minlength=len(vocabulary)), out=starts[1:])
    return starts, by_word, (often / (often + norm[by_word])).astype(np.float32)
