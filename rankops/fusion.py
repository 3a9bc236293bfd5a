"""Two arms, one score: cosines of a bi-encoder and BM25 over fields, joined by learned weights. Needs numpy only.

The score of a product is a weighted mean of signals that lie in 0..1 (a cosine: -1..1), so it is itself a number of
that range with the same meaning for every query: 1 is a product whose fields hold every word of the query and whose
text means the same.

There are two ways to it. :class:`Hybrid` scores the whole catalogue, for training and evaluation. :class:`FusedSearch`
answers searches: it scores candidates only. Weights are not negative, so the best of ``weight * cosine + words`` hold
the best of the whole; candidates reach a tenth deeper than feedback does, for their cosines may be approximate until
they are scored. Both give the same answers, up to the sixth digit of a score.

A second pass adds *feedback* (Rocchio; Manning, Raghavan & Schuetze, Introduction to Information Retrieval, ch. 9): the
cosine to the mean of the best products of the first pass, by which products like those that both arms agree on rise.

``fusion.json`` travels from the checkpoint (``rankops.training.fusion`` learns it) through the artifact into the
release, where it is one of the files that the release digest covers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rankops.errors import IntegrityError
from rankops.files import write_json
from rankops.lexical import (
    BEST,
    COVERAGE,
    TAUGHT,
    Floats,
    LexicalIndex,
    Matches,
    field_texts,
    source_digest,
    words,
)
from rankops.lexical import COLUMNS as TEXT_COLUMNS
from rankops.weighted_words import WeightedWords, weights_digest

FUSION = "fusion.json"
DENSE, FEEDBACK = "dense", "feedback"
Method = Literal["learned", "rank"]
Rows = NDArray[np.intp] | Sequence[int]

DIGITS = 6
"""Scores that agree to this many digits are ties: beyond it, float32 sums depend on the block they were made in."""

RANK_CONSTANT = 60
"""Of reciprocal rank fusion (Cormack, Clarke & Buettcher, SIGIR 2009)."""

RANK_WINDOW = 1000
"""Best products of each arm whose ranks are fused; the others' part is 0 (at most 1/1061 of 1/61 is lost)."""

FEEDBACK_DEPTH = 20
"""Products of the first pass whose mean is taken, discounted by rank as nDCG does."""

FEEDBACK_CANDIDATES = 1000
"""Best products of the first pass that are compared with it; the others' feedback is 0."""

OWN = 0.3
"""Impact of a taught word that stands in the product itself. Chosen on the dev queries of the generated shop, before
and after its drift: nDCG@10 .928 and .842; .1 less, .4 more, or nothing at all cost .01 to .04."""

_EVERYTHING = "+".join(TEXT_COLUMNS)
_REBUILD = "rematerialize the quantized artifact; if this is a release, roll back to the last one that verified"


@dataclass(frozen=True)
class Fusion:
    """``fusion.json``: the fields of the lexical index, and what each signal weighs.

    ``first`` and ``weights`` (method ``learned``) are those of the two passes, not negative, each with sum 1, by the
    names of :func:`signal_names`; only ``weights`` knows ``feedback``. Method ``rank`` needs none: it is reciprocal
    rank fusion of the cosine and of ``best field``.

    ``taught`` is ``{product word: {query word: chance}}``, learned from what was right
    (:mod:`rankops.training.pair_words`). With it the last field is ``taught``: the words that a product is asked for
    with, each with the sum of the chances that the product's words give it, 1 at most (IBM's Model 1). A word of its
    own counts :data:`OWN`: were it nothing, what resembles orange shelves would stand before them in a search for
    "orange".
    """

    method: Method
    fields: tuple[str, ...]
    k1: float
    b: float
    first: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    taught: dict[str, dict[str, float]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``fusion.json`` into a folder."""
        write_json(folder / FUSION, asdict(self))

    def texts(self, products: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """The text of each field for each product, in their order."""
        return {name: field_texts(products, name) for name in self.fields if name != TAUGHT}

    def taught_words(self, products: Sequence[Mapping[str, Any]]) -> list[dict[str, float]] | None:
        """For each product the words that it is asked for with, and their impacts; None where nothing was taught."""
        if TAUGHT not in self.fields:
            return None
        known = {asked for of_word in self.taught.values() for asked in of_word}
        return [_taught(self.taught, set(own), known) for own in every_word(products)]

    def index(self, products: Sequence[Mapping[str, Any]]) -> LexicalIndex:
        """The lexical index of products, in their order."""
        return LexicalIndex.build(self.texts(products), k1=self.k1, b=self.b, taught=self.taught_words(products))

    def source_of(self, products: Sequence[Mapping[str, Any]]) -> str:
        """What :attr:`rankops.lexical.LexicalIndex.source` of :meth:`index` is, without building it."""
        return source_digest(self.texts(products), k1=self.k1, b=self.b, taught=self.taught_words(products))

    def over(self, products: Sequence[Mapping[str, Any]]) -> Hybrid:
        """This fusion over a catalogue, in its order."""
        return Hybrid(self, self.index(products))

    def search_over(self, products: Sequence[Mapping[str, Any]]) -> FusedSearch:
        """The search by this fusion over a catalogue, in its order."""
        return FusedSearch(self, WeightedWords.of(self.index(products), self.columns))

    @property
    def columns(self) -> tuple[dict[str, float], dict[str, float]]:
        """What each signal of the words weighs when candidates are chosen, and in the end."""
        if self.method == "rank":
            return {BEST: 1.0}, {BEST: 1.0}
        return self.chosen_by, self.weights

    @property
    def chosen_by(self) -> dict[str, float]:
        """The weights that decide who is a candidate: those of the first pass where there are two."""
        return self.first if self.weights.get(FEEDBACK) else self.weights


def load_fusion(folder: Path) -> Fusion | None:
    """Read ``fusion.json`` of a checkpoint, an artifact or a release; None where there is none (a dense retriever).

    Raises :class:`IntegrityError` naming what is wrong with it.
    """
    path = folder / FUSION
    if not path.is_file():
        return None
    try:
        given = json.loads(path.read_text())
        fusion = Fusion(
            method=given["method"],
            fields=tuple(given["fields"]),
            k1=float(given["k1"]),
            b=float(given["b"]),
            first={str(name): float(weight) for name, weight in given["first"].items()},
            weights={str(name): float(weight) for name, weight in given["weights"].items()},
            facts=dict(given["facts"]),
            taught={
                str(word): {str(other): float(chance) for other, chance in known.items()}
                for word, known in given.get("taught", {}).items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"{path} is not a fusion: {error!r}", _REBUILD) from error
    if problem := _problem(fusion):
        raise IntegrityError(f"{path}: {problem}", _REBUILD)
    return fusion


def signal_names(fields: Sequence[str]) -> tuple[str, ...]:
    """The signals of a first pass with these fields, in the order of :func:`signals`."""
    return (DENSE, BEST, COVERAGE, *fields)


def signals(cosines: Floats, matches: Matches) -> tuple[Floats, ...]:
    """float32 ``(N,)`` each, in the order of :func:`signal_names`."""
    return (cosines, matches.best, matches.coverage, *matches.fields)


def weighted(weights: Mapping[str, float], named: Mapping[str, Floats]) -> Floats:
    """float32 ``(N,)``: the weighted mean of named signals."""
    total = np.zeros(len(next(iter(named.values()))), np.float32)
    for name, values in named.items():
        if weight := weights.get(name, 0.0):
            total += np.float32(weight) * values
    return total


def feedback_vector(first: Floats, vectors: Floats) -> Floats:
    """The unit vector ``(d,)`` of what the first pass found: the mean of the best of ``vectors`` (N, d)."""
    rows = top_rows(first, FEEDBACK_DEPTH)
    discount = (1 / np.log2(np.arange(len(rows)) + 2)).astype(np.float32)
    mean = discount @ vectors[rows]
    unit = mean / np.maximum(np.sqrt(mean @ mean), np.float32(1e-12))
    return np.asarray(unit, dtype=np.float32)


@dataclass(frozen=True)
class Hybrid:
    """A fusion with the lexical index of a catalogue. Safe to share between threads."""

    fusion: Fusion
    lexical: LexicalIndex

    def __post_init__(self) -> None:
        if self.lexical.fields != self.fusion.fields:
            raise IntegrityError(
                f"the lexical index has the fields {self.lexical.fields}, the fusion weighs {self.fusion.fields}",
                _REBUILD,
            )

    def scores(self, query: str, cosines: Floats, vectors: Floats, also: Rows = ()) -> Floats:
        """float32 ``(N,)``: the fused score of every product, rounded so that equal products tie.

        ``cosines`` (N,) are those of the query and ``vectors`` (N, d), the products' unit vectors. ``also`` are rows
        that must get their feedback whatever their place (a judged pool).
        """
        return self.rerank(cosines, self.lexical.match(query), vectors, also)

    def rerank(self, cosines: Floats, matches: Matches, vectors: Floats, also: Rows = ()) -> Floats:
        """:meth:`scores` of a query whose words were matched already."""
        fusion = self.fusion
        if fusion.method == "rank":
            fused = _reciprocal_ranks(cosines) + _reciprocal_ranks(matches.best)
            return np.round(fused * np.float32((RANK_CONSTANT + 1) / 2), DIGITS).astype(np.float32)
        named = dict(zip(signal_names(fusion.fields), signals(cosines, matches), strict=True))
        first = np.round(weighted(fusion.first, named), DIGITS)
        if fusion.weights.get(FEEDBACK):
            rows = np.union1d(top_rows(first, FEEDBACK_CANDIDATES), np.asarray(also, dtype=np.intp))
            named[FEEDBACK] = np.zeros(len(first), np.float32)
            named[FEEDBACK][rows] = vectors[rows] @ feedback_vector(first, vectors)
        return np.round(weighted(fusion.weights, named), DIGITS)


@dataclass(frozen=True)
class Wanted:
    """The candidates of one query: the ``depth`` best of ``weight * cosine + words``, and the rows ``also``.

    ``words`` (N,) is None where the vectors alone choose.
    """

    depth: int
    weight: float = 1.0
    words: Floats | None = None
    also: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))


def rescored(k: int) -> int:
    """How many candidates are scored exactly for ``k`` results: approximate cosines may have swapped neighbours."""
    return max(2 * k, k + 100)


@dataclass(frozen=True)
class FusedSearch:
    """A fusion with the words of a catalogue, weighed: ranks candidates. Safe to share between threads."""

    fusion: Fusion
    words: WeightedWords

    def __post_init__(self) -> None:
        if self.words.weights != weights_digest(self.fusion.columns):
            raise IntegrityError("the lexical index was weighed for another fusion", _REBUILD)

    def wanted(self, words: Floats, k: int, also: Rows = ()) -> Wanted:
        """Who is a candidate for ``k`` results, given what :meth:`WeightedWords.match` found, (2, N)."""
        judged = np.asarray(also, dtype=np.intp)
        if self.fusion.method == "rank":
            best = top_rows(np.round(words[0], DIGITS), RANK_WINDOW)
            return Wanted(_deeper(RANK_WINDOW), also=np.union1d(best[words[0][best] > 0], judged))
        depth = max(rescored(k), _deeper(FEEDBACK_CANDIDATES) if self.fusion.weights.get(FEEDBACK) else 0)
        return Wanted(depth, self.fusion.chosen_by.get(DENSE, 0.0), words[0], judged)

    def scores(
        self, rows: NDArray[np.intp], cosines: Floats, vectors: Floats, words: Floats, also: Rows = ()
    ) -> Floats:
        """float32 ``(C,)``: the fused scores of the candidates ``rows`` (ascending), rounded so that equals tie.

        ``cosines`` (C,) and ``vectors`` (C, d) are theirs; ``words`` (2, N) and ``also`` as for :meth:`wanted`.
        """
        fusion = self.fusion
        if fusion.method == "rank":
            fused = _reciprocal_ranks(cosines) + _reciprocal_ranks(words[0][rows])
            return np.round(fused * np.float32((RANK_CONSTANT + 1) / 2), DIGITS).astype(np.float32)
        scores = np.float32(fusion.weights.get(DENSE, 0.0)) * cosines + words[1][rows]
        if weight := fusion.weights.get(FEEDBACK):
            first = np.round(np.float32(fusion.first.get(DENSE, 0.0)) * cosines + words[0][rows], DIGITS)
            near = np.isin(rows, np.asarray(also, dtype=np.intp)) if len(also) else np.zeros(len(rows), bool)
            near[top_rows(first, FEEDBACK_CANDIDATES)] = True
            scores += np.where(near, np.float32(weight) * np.vecdot(vectors, feedback_vector(first, vectors)), 0)
        return np.round(scores, DIGITS)


def every_word(products: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The words of all texts of each product."""
    return [words(text) for text in field_texts(products, _EVERYTHING)]


def _taught(taught: Mapping[str, Mapping[str, float]], own: set[str], known: set[str]) -> dict[str, float]:
    found: dict[str, float] = dict.fromkeys(sorted(own & known), OWN)
    for word in sorted(own & taught.keys()):  # in one order, or sums would differ in their last digit
        for asked, chance in taught[word].items():
            if asked not in own:
                found[asked] = found.get(asked, 0.0) + chance
    return {asked: min(1.0, total) for asked, total in found.items()}


def _deeper(depth: int) -> int:
    return depth + depth // 10


def top_rows(scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Positions of the ``k`` largest of ``scores`` (N,), best first; ties by position, also at the cut. O(N)."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    level = np.flatnonzero(scores == threshold)[: k - len(above)]
    rows = np.concatenate([above, level])
    return rows[np.lexsort((rows, -scores[rows]))]


def _reciprocal_ranks(scores: Floats) -> Floats:
    """``1 / (60 + rank)`` of the best, ranks from 1, equal scores in order of position; 0 without any score."""
    scores = np.round(scores, DIGITS)
    best = top_rows(scores, RANK_WINDOW)
    found = np.zeros(len(scores), np.float32)
    found[best] = 1.0 / (RANK_CONSTANT + 1 + np.arange(len(best)))
    return np.where(scores > 0, found, np.float32(0))


def _problem(fusion: Fusion) -> str | None:
    if fusion.method not in ("learned", "rank"):
        return f"unknown method {fusion.method!r}"
    if (TAUGHT in fusion.fields) != bool(fusion.taught):
        return "the field of taught words and what was taught do not belong together"
    if any(not 0 <= chance <= 1 for known in fusion.taught.values() for chance in known.values()):
        return "taught words have chances that are none"
    names = set(signal_names(fusion.fields))
    for what, weights, known in (("first", fusion.first, names), ("weights", fusion.weights, {*names, FEEDBACK})):
        if strange := sorted(set(weights) - known):
            return f"{what} has signals that it does not know: {', '.join(strange)}"
        total = sum(weights.values())
        if fusion.method == "learned" and (min(weights.values(), default=-1) < 0 or abs(total - 1) > 1e-6):
            return f"{what} must not be negative and must sum to 1, not {total:.6f}"
    return None
