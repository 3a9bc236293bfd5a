"""BM25 with the weights of a fusion worked in: what a server asks for each query. Needs numpy only.

A fused score is linear in what each word of a query adds to a product: its impact in every field, its best impact and
its coverage (see :mod:`rankops.lexical`), each times a learned weight. All that is known before a query comes, so the
postings of all fields are merged into one per word, whose values are already weighed. A query then only adds up the
postings of its words: one pass instead of one a field, with numbers that are equal up to float32 rounding.

Values have two columns, the words' part of the first pass and of the last one (see :mod:`rankops.fusion`). Pairs of
neighbouring words have postings of their own, for they are divided by another sum of idf.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankops.errors import IntegrityError
from rankops.files import digest_of, write_bytes, write_json
from rankops.lexical import BEST, COVERAGE, Floats, LexicalIndex, pairs, plain_fields, single_fields, words
from rankops.text import normalize_query

COLUMNS = 2
WORDS, PAIRED = 0, 1  # the kinds of postings
ROWS, VALUES, STARTS, IDF, VOCABULARY, DESCRIPTION = (
    "rows.npy",
    "values.npy",
    "starts.npy",
    "idf.npy",
    "vocabulary.json",
    "lexical.json",
)
_REBUILD = "rematerialize the release: its lexical index is damaged"

Weights = Mapping[str, float]


@dataclass(frozen=True)
class WeightedWords:
    """Merged postings over N products. Safe to share between threads: nothing changes after construction.

    The postings of word ``w`` and kind ``g`` (words, pairs) are ``starts[g, w]`` to ``starts[g, w + 1]`` of ``rows``
    (which products, ascending) and of ``values`` (2, postings), the weighed impacts times idf.
    """

    count: int
    vocabulary: dict[str, int]
    idf: Floats
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    values: Floats
    source: str
    """:attr:`rankops.lexical.LexicalIndex.source` of the index that was merged."""
    weights: str
    """Hex SHA-256 of the weights."""

    @classmethod
    def of(cls, lexical: LexicalIndex, columns: Sequence[Weights]) -> WeightedWords:
        """Merge an index with the weights of both columns, by field name, "best field" and "coverage"."""
        single, plain = single_fields(lexical.fields), plain_fields(lexical.fields)
        paired = [number for number in range(len(lexical.fields)) if number not in single]
        merged = [_merge(lexical, single, columns, plain), _merge(lexical, paired, columns, [])]
        starts = np.zeros((len(merged), len(lexical.idf) + 1), dtype=np.int64)
        base = 0
        for kind, (terms, rows, _) in enumerate(merged):
            np.cumsum(np.bincount(terms, minlength=len(lexical.idf)), out=starts[kind, 1:])
            starts[kind] += base
            base += len(rows)
        return cls(
            count=len(lexical),
            vocabulary=lexical.vocabulary,
            idf=lexical.idf,
            starts=starts,
            rows=np.concatenate([rows for _, rows, _ in merged]).astype(np.int32),
            values=np.concatenate([values for _, _, values in merged], axis=1),
            source=lexical.source,
            weights=weights_digest(columns),
        )

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``; the same index gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {ROWS: self.rows, VALUES: self.values, STARTS: self.starts, IDF: self.idf}
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            write_bytes(folder / name, buffer.getvalue())
        # By number, so that a place in the list is the number.
        write_json(folder / VOCABULARY, sorted(self.vocabulary, key=self.vocabulary.__getitem__))
        write_json(folder / DESCRIPTION, {"count": self.count, "source": self.source, "weights": self.weights})

    @classmethod
    def open(cls, folder: Path) -> WeightedWords:
        """Open what :meth:`save` wrote. Raises :class:`IntegrityError` where files are missing or contradict."""
        try:
            description = json.loads((folder / DESCRIPTION).read_text())
            count, source, weights = (
                int(description["count"]),
                str(description["source"]),
                str(description["weights"]),
            )
            terms: list[str] = json.loads((folder / VOCABULARY).read_text())
            rows, values, starts, idf = (
                np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (ROWS, VALUES, STARTS, IDF)
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise IntegrityError(f"the lexical index in {folder} cannot be read: {error}", _REBUILD) from error
        if problem := _problem(count, len(terms), rows, values, starts, idf):
            raise IntegrityError(f"{folder}: {problem}", _REBUILD)
        return cls(
            count=count,
            vocabulary={term: number for number, term in enumerate(terms)},
            idf=np.array(idf),  # plain memory, not a map: read for every word of every query, as are the starts
            starts=np.array(starts),
            rows=np.asarray(rows),  # the same pages without the overhead of a memmap object at every slice
            values=np.asarray(values),
            source=source,
            weights=weights,
        )

    def __len__(self) -> int:
        return self.count

    def match(self, query: str) -> NDArray[np.float32]:
        """``(2, N)``: what the words of ``query`` (normalized here) add to each product's score in either pass."""
        said = words(normalize_query(query))
        parts = [*self._postings(WORDS, said), *self._postings(PAIRED, pairs(said))]
        found = np.zeros((COLUMNS, self.count), np.float32)
        if parts:
            rows = np.concatenate([self.rows[begin:end] for begin, end, _ in parts])
            scales = np.repeat(np.array([s for _, _, s in parts], np.float32), [end - begin for begin, end, _ in parts])
            for column in range(COLUMNS):
                values = np.concatenate([self.values[column, begin:end] for begin, end, _ in parts])
                found[column] = np.bincount(rows, weights=values * scales, minlength=self.count)
        return found

    def _postings(self, kind: int, said: Sequence[str]) -> list[tuple[int, int, float]]:
        """``(begin, end, 1 / sum of idf)`` of each word that any product has."""
        places = [self.vocabulary.get(word) for word in said]
        unknown = np.log(2 * self.count + 2)
        total = max(sum(unknown if place is None else float(self.idf[place]) for place in places), 1e-9)
        known = [place for place in places if place is not None]
        spans = [(int(self.starts[kind, place]), int(self.starts[kind, place + 1])) for place in known]
        return [(begin, end, 1 / total) for begin, end in spans if end > begin]


def weights_digest(columns: Sequence[Weights]) -> str:
    """What :attr:`WeightedWords.weights` of these weights is."""
    return digest_of([{name: float(weight) for name, weight in column.items()} for column in columns])


def _merge(
    lexical: LexicalIndex, numbers: Sequence[int], columns: Sequence[Weights], plain: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """``(terms, rows, values)`` of some fields as one posting a word, by word and then by product.

    The ``plain`` ones of them have a part in the best field and in the coverage.
    """
    everywhere = [np.arange(lexical.starts[number, 0], lexical.starts[number, -1]) for number in numbers]
    terms = [np.repeat(np.arange(len(lexical.idf)), np.diff(lexical.starts[number])) for number in numbers]
    if not sum(map(len, everywhere)):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((len(columns), 0), np.float32)
    place = np.concatenate(everywhere)
    impacts = np.asarray(lexical.impacts[place], dtype=np.float64)
    owner = np.repeat(numbers, [len(part) for part in everywhere])
    key = np.concatenate(terms) * np.int64(lexical.count) + lexical.rows[place]
    order = np.argsort(key, kind="stable")
    key, impacts, owner = key[order], impacts[order], owner[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    term, row = np.divmod(key[first], lexical.count)
    counted = np.isin(owner, plain)
    best = np.maximum.reduceat(np.where(counted, impacts, 0.0), first)
    there = np.maximum.reduceat(counted.astype(np.float64), first)
    values = np.empty((len(columns), len(first)), np.float32)
    for number, weights in enumerate(columns):
        weight = np.array([weights.get(name, 0.0) for name in lexical.fields])[owner]
        total = np.add.reduceat(weight * impacts, first)
        total += weights.get(BEST, 0.0) * best + weights.get(COVERAGE, 0.0) * there
        values[number] = total * lexical.idf[term]
    return term, row, values


def _problem(
    count: int,
    terms: int,
    rows: NDArray[Any],
    values: NDArray[Any],
    starts: NDArray[Any],
    idf: NDArray[Any],
) -> str | None:
    """What would make a lookup read elsewhere than in the postings; None where nothing does."""
    if starts.shape != (2, terms + 1) or idf.shape != (terms,) or values.shape != (COLUMNS, *rows.shape):
        return f"{terms} words do not fit the arrays"
    kinds = [(rows, np.int32), (values, np.float32), (starts, np.int64), (idf, np.float32)]
    if wrong := [array.dtype for array, expected in kinds if array.dtype != expected]:
        return f"an array holds {wrong[0]}"
    flat = np.concatenate([[0], starts.ravel()])
    if (np.diff(flat) < 0).any() or int(starts[-1, -1]) != len(rows):
        return "its postings do not begin and end where its words say"
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        return f"it names products beyond its {count}"
    return None
