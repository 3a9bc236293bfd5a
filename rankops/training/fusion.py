"""Learning what each signal of a hybrid retriever weighs, from judged queries that the bi-encoder did not learn from.

The weights minimize the listwise softmax cross-entropy (Cao et al., "Learning to rank: from pairwise approach to
listwise approach", ICML 2007; targets are grades over their sum) of two lists a query: its judged products, and
those together with the best unjudged products of both arms, which count as irrelevant. The first list says what good
is, the second what must not come in between; it counts a fifth, for pools were made by some older engine and the
unjudged are only probably wrong. (Where raters said no to nothing, only the second is there, and counts whole.)

Weights are not negative and are drawn towards a prior (half the vectors, half the words) as strongly as
``regularization`` says: a few dozen queries can only correct it.

Never the test split. Dev queries alone where there are enough of them; else train queries too, whose cosines flatter
the bi-encoder that saw them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankops.dataset import BEST_GRADE
from rankops.fusion import (
    BEST,
    DENSE,
    DIGITS,
    FEEDBACK,
    Fusion,
    every_word,
    feedback_vector,
    signal_names,
    top_rows,
    weighted,
)
from rankops.lexical import TAUGHT, words
from rankops.specs import HybridSpec, WordModelSpec
from rankops.text import normalize_query, product_texts
from rankops.training.pair_words import word_chances

if TYPE_CHECKING:
    from rankops.dataset import Dataset, Split
    from rankops.encoding import Encoder

Progress = Callable[[str], None]

ENOUGH_DEV = 100
"""Dev queries with a relevant product that make train queries unnecessary."""
MAX_QUERIES = 400
MAX_PRODUCTS = 5_000
_DEPTH = 50  # best unjudged products of each arm and query
_TEMPERATURES = (0.02, 0.05, 0.1)
_WEIGHT_WITH_UNJUDGED = 0.2  # unjudged products are only probably wrong, and all the more where a new arm finds them
_List = tuple[NDArray[np.float64], NDArray[np.float64], float]


@dataclass(frozen=True)
class Case:
    """One judged query over P products: ``signals`` (signals, P), ``grades`` (P,), 0 where not ``judged`` (P,)."""

    signals: NDArray[np.float32]
    grades: NDArray[np.float64]
    judged: NDArray[np.bool_]

    def part(self, rows: NDArray[np.intp]) -> Case:
        """The case over some of its products."""
        return Case(self.signals[:, rows], self.grades[rows], self.judged[rows])

    def best(self) -> NDArray[np.intp]:
        """Rows of the judged products and of the best others of both arms."""
        arms = [top_rows(arm, _DEPTH) for arm in self.signals[:2]]  # dense, best field
        return np.unique(np.concatenate([np.flatnonzero(self.judged), *arms]))


def fit_fusion(dataset: Dataset, encoder: Encoder, spec: HybridSpec, *, seed: int, progress: Progress) -> Fusion:
    """The fusion of an encoder with the words of a dataset's catalogue; the same inputs give the same weights.

    Where no query can teach, the weights are the prior. Raises :class:`BadInput` for a field that catalogues do not
    have.
    """
    unfitted = unlearned(spec)
    queries = _queries(dataset) if spec.method == "learned" else []
    if not queries:
        return unfitted
    if spec.taught is not None:
        unfitted = _taught(unfitted, dataset, spec.taught, progress)
    progress(f"fusion: learning the weights of vectors and words from {len(queries)} judged queries")
    cases, vectors = _cases(dataset, encoder, unfitted, queries, seed)
    fusion = learn(cases, vectors, unfitted, spec.regularization)
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in fusion.weights.items() if weight)
    progress(f"fusion: {shown}")
    return fusion


def unlearned(spec: HybridSpec) -> Fusion:
    """A fusion without labels: half the vectors, half the words (shared by the best field and every field)."""
    first, weights = _prior(spec.fields) if spec.method == "learned" else ({}, {})
    return Fusion(spec.method, spec.fields, spec.k1, spec.b, first, weights)


def _prior(fields: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    lexical = [BEST, *fields]
    shared = {name: 0.5 / len(lexical) for name in lexical}
    return {DENSE: 0.5, **shared}, {DENSE: 0.3, FEEDBACK: 0.2, **shared}


def _taught(fusion: Fusion, dataset: Dataset, spec: WordModelSpec, progress: Progress) -> Fusion:
    """The fusion with the field ``taught``, learned from what train queries were answered rightly with.

    Unchanged where the dev queries are too few to weigh it: train queries would, and they taught it.
    """
    import polars as pl

    right = dataset.judgements.filter(pl.col("grade") > 0).sort("query_id", "product_id")
    asked = dict(_judged(dataset, "train"))
    weighing = len(_judged(dataset, "dev"))
    if weighing < ENOUGH_DEV:
        progress(f"fusion: {weighing} judged dev queries are too few to weigh taught words ({ENOUGH_DEV})")
        return fusion
    products = list(dataset.catalogue.iter_rows(named=True))
    own = dict(zip(dataset.catalogue["product_id"].to_list(), every_word(products), strict=True))
    pairs = [row for row in right.iter_rows() if row[0] in asked and row[1] in own]
    sides = (
        [words(normalize_query(asked[query_id])) for query_id, _, _ in pairs],
        [own[product_id] for _, product_id, _ in pairs],
    )
    taught: dict[str, dict[str, float]] = {}
    for word, known in word_chances(*sides, [grade / BEST_GRADE for _, _, grade in pairs], spec).items():
        for other, chance in known.items():
            if other != word:
                taught.setdefault(other, {})[word] = round(chance, DIGITS)
    if not taught:
        return fusion
    progress(f"fusion: {len(pairs):,} right pairs taught what {len(taught):,} product words are asked for with")
    fields = (*fusion.fields, TAUGHT)
    first, weights = _prior(fields)
    return replace(fusion, fields=fields, first=first, weights=weights, taught=taught)


def learn(cases: Sequence[Case], vectors: NDArray[np.float32], given: Fusion, regularization: float) -> Fusion:
    """``given`` with the weights of both passes, from judged cases over products with these unit ``vectors`` (P, d)."""
    names = signal_names(given.fields)
    best = [case.best() for case in cases]
    first, _ = fit_weights(_parts(cases, best), names, given.first, regularization)
    complete = []
    for case in cases:
        found = weighted(first, dict(zip(names, case.signals, strict=True)))
        feedback = vectors @ feedback_vector(found, vectors)
        complete.append(Case(np.vstack([case.signals, feedback]), case.grades, case.judged))
    weights, facts = fit_weights(_parts(complete, best), (*names, FEEDBACK), given.weights, regularization)
    return replace(given, first=first, weights=weights, facts={**facts, "queries": len(cases)})


def _parts(cases: Sequence[Case], rows: Sequence[NDArray[np.intp]]) -> list[Case]:
    return [case.part(of_case) for case, of_case in zip(cases, rows, strict=True)]


def fit_weights(
    cases: Sequence[Case], names: Sequence[str], prior: Mapping[str, float], regularization: float
) -> tuple[dict[str, float], dict[str, Any]]:
    """Weights by signal name (they sum to 1) and what came of it: mean loss before and after."""
    from scipy.optimize import minimize

    start = np.array([prior.get(name, 0.0) for name in names])
    lists = [part for case in cases for part in _lists(case)]
    if not lists:
        return dict(prior), {}
    scale = _best_scale(lists, start)
    found = minimize(
        lambda w: _objective(w, lists, start * scale, regularization / scale**2),
        start * scale,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * len(names),
    )
    weights = found.x / found.x.sum() if found.x.sum() > 0 else start
    before = _objective(start * scale, lists, start * scale, 0.0)[0]
    after = _objective(found.x, lists, start * scale, 0.0)[0]
    rounded = np.round(weights, 4)
    rounded[int(np.argmax(rounded))] += 1 - rounded.sum()  # four digits that still sum to 1
    facts = {"loss_before": round(before, 4), "loss_after": round(after, 4)}
    return {name: round(float(weight), 4) for name, weight in zip(names, rounded, strict=True)}, facts


def _lists(case: Case) -> list[_List]:
    """``(signals, targets, weight)`` of all products, and of the judged ones where raters said no to some of them."""
    if case.grades.sum() <= 0:
        return []
    everything = (case.signals.astype(np.float64), case.grades / case.grades.sum())
    grades = case.grades[case.judged]
    if grades.min() > 0:  # what is not judged is what is wrong, or there is nothing wrong to learn from
        return [(*everything, 1.0)]
    judged = (case.signals[:, case.judged].astype(np.float64), grades / grades.sum())
    return [(*everything, _WEIGHT_WITH_UNJUDGED), (*judged, 1.0)]


def _best_scale(lists: Sequence[_List], start: NDArray[np.float64]) -> float:
    """The sharpness of the softmax at which the prior explains the lists best: the penalty is relative to it."""
    scales = [1 / temperature for temperature in _TEMPERATURES]
    return min(scales, key=lambda scale: _objective(start * scale, lists, start, 0.0)[0])


def _objective(
    weights: NDArray[np.float64], lists: Sequence[_List], prior: NDArray[np.float64], regularization: float
) -> tuple[float, NDArray[np.float64]]:
    """Weighted mean cross-entropy of the lists plus the penalty, and its gradient."""
    loss, gradient, total = 0.0, np.zeros_like(weights), 0.0
    for values, targets, weight in lists:
        logits = weights @ values
        logits -= logits.max()
        chances = np.exp(logits)
        chances /= chances.sum()
        loss -= weight * float(targets @ np.log(np.maximum(chances, 1e-300)))
        gradient += weight * (values @ (chances - targets))
        total += weight
    pull = weights - prior
    return loss / total + regularization * float(pull @ pull), gradient / total + 2 * regularization * pull


def _queries(dataset: Dataset) -> list[tuple[str, str]]:
    """``(query_id, text)`` of judged queries with something relevant: dev, then train where dev has too few."""
    found = _judged(dataset, "dev")
    if len(found) < ENOUGH_DEV:
        found += _judged(dataset, "train")
    return found[:MAX_QUERIES]


def _judged(dataset: Dataset, split: Split) -> list[tuple[str, str]]:
    """Those of one split, by query id."""
    import polars as pl

    relevant = dataset.judgements.filter(pl.col("grade") > 0)
    known = dataset.split(split).join(relevant, on="query_id", how="semi", maintain_order="left")
    return list(known.select("query_id", "query").iter_rows())


def _cases(
    dataset: Dataset, encoder: Encoder, fusion: Fusion, queries: Sequence[tuple[str, str]], seed: int
) -> tuple[list[Case], NDArray[np.float32]]:
    """Cases over a part of a large catalogue, and the unit vectors (P, d) of its products."""
    import polars as pl

    products = list(dataset.catalogue.sort("product_id").iter_rows(named=True))
    place = {product["product_id"]: row for row, product in enumerate(products)}
    mine = dataset.judgements.filter(pl.col("query_id").is_in([query_id for query_id, _ in queries]))
    grades: dict[str, dict[int, int]] = {}
    for query_id, product_id, grade in mine.sort("query_id", "product_id").iter_rows():
        if product_id in place:
            grades.setdefault(query_id, {})[place[product_id]] = int(grade)
    lexical = fusion.index(products)
    matches = {query_id: lexical.match(text) for query_id, text in queries}
    pool = _pool(grades, [found.best for found in matches.values()], len(products), seed)
    vectors = encoder.encode(product_texts(products[row] for row in pool), role="product")
    asked = encoder.encode([normalize_query(text) for _, text in queries], role="query")
    cases = []
    for (query_id, _), vector in zip(queries, asked, strict=True):
        found = matches.pop(query_id)
        shares = np.vstack([found.best, found.coverage, found.fields])[:, pool]
        mine_here = grades.get(query_id, {})
        cases.append(
            Case(
                signals=np.vstack([vectors @ vector, shares]),
                grades=np.array([mine_here.get(int(row), 0) for row in pool], dtype=np.float64),
                judged=np.array([int(row) in mine_here for row in pool], dtype=bool),
            )
        )
    return cases, vectors


def _pool(grades: Mapping[str, Mapping[int, int]], best: Sequence[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Rows that are encoded: judged ones, each query's best by words, and others at random up to the limit."""
    wanted = {row for of_query in grades.values() for row in of_query}
    for scores in best:
        wanted |= set(top_rows(scores, _DEPTH).tolist())
    others = np.setdiff1d(np.arange(count), np.array(sorted(wanted), dtype=np.int64))
    room = max(0, MAX_PRODUCTS - len(wanted))
    drawn = np.random.default_rng([seed, 5]).permutation(others)[:room]
    return np.array(sorted(wanted | set(drawn.tolist())), dtype=np.int64)
