"""What a cross-encoder learns from and is watched with: judged pairs, unjudged ones as wrong, the dev split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rankops.dataset import BEST_GRADE, Dataset, Split
from rankops.decisions import average_precision
from rankops.errors import BadInput
from rankops.pair_features import PairFeatures, clean_text, fit_features
from rankops.pair_tokens import Pair
from rankops.specs import RankingSpec
from rankops.training.dev import ndcg_at_10

MAX_DEV_PAIRS = 4000
Candidates = Mapping[str, Sequence[str]]
"""Product ids by query id (:mod:`rankops.training.candidates`); a matcher has none."""


@dataclass(frozen=True)
class JudgedPairs:
    """Cleaned pairs with their targets (grade / 3, float64 in 0..1) and the query that each belongs to.

    ``missed`` holds, by query id, the grades of judged products that are none of the query's pairs.
    """

    query_ids: list[str]
    pairs: list[Pair]
    targets: NDArray[np.float64]
    missed: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Which pairs count as right."""
        return self.targets > 0.5


def judged_pairs(dataset: Dataset, split: Split) -> JudgedPairs:
    """Every judged pair of a split, sorted by query and product. Raises :class:`BadInput` where there is none."""
    asked = dict(dataset.split(split).select("query_id", "query").iter_rows())
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    rows = [
        (query_id, product_id, grade)
        for query_id, product_id, grade in dataset.judgements.sort("query_id", "product_id").iter_rows()
        if query_id in asked and product_id in texts
    ]
    if not rows:
        raise BadInput(f"no query of the {split} split has a judged product", "judge some, or check the splits")
    cleaned = {product_id: clean_text(texts[product_id]) for product_id in {row[1] for row in rows}}
    queries = {query_id: clean_text(asked[query_id]) for query_id in {row[0] for row in rows}}
    return JudgedPairs(
        [query_id for query_id, _, _ in rows],
        [(queries[query_id], cleaned[product_id]) for query_id, product_id, _ in rows],
        np.array([grade for _, _, grade in rows], dtype=np.float64) / BEST_GRADE,
    )


def training_data(
    dataset: Dataset, spec: RankingSpec, seed: int, candidates: Candidates
) -> tuple[JudgedPairs, PairFeatures]:
    """The train split's pairs, for a ranker with negatives, and the word statistics of all texts seen.

    ``candidates`` are those of the train queries, of which half of the negatives are drawn. Raises :class:`BadInput`
    where all pairs are right or all are wrong: there would be nothing to learn.
    """
    found = judged_pairs(dataset, "train")
    graded = spec.objective == "graded"
    texts = [clean_text(text) for text in dataset.product_texts()] if graded else []
    features = fit_features([text for pair in found.pairs for text in pair] + texts)
    if graded and spec.negatives:
        found = _with_negatives(dataset, found, texts, candidates, spec.negatives, seed)
    if found.labels.all() or not found.labels.any():
        raise BadInput(
            f"all {len(found)} training pairs are {'right' if found.labels.all() else 'wrong'}",
            "judge pairs of both kinds" + (", or raise ranking.negatives" if graded else ""),
        )
    return found, features


def dev_data(dataset: Dataset, spec: RankingSpec, seed: int, candidates: Candidates) -> JudgedPairs:
    """The dev split's pairs: whole queries drawn by ``seed`` until there are :data:`MAX_DEV_PAIRS`.

    A matcher's are those with a label. A ranker's are the query's ``candidates``, judged or not, because those are
    what it will be asked to order; what nobody judged counts as wrong, as it does in the gate.
    """
    found = judged_pairs(dataset, "dev")
    if spec.objective == "graded":
        found = _as_asked(dataset, found, candidates)
    names = sorted(set(found.query_ids))
    sizes = dict.fromkeys(names, 0)
    for name in found.query_ids:
        sizes[name] += 1
    kept, total = set(), 0
    for place in np.random.default_rng([seed, 3]).permutation(len(names)).tolist():
        if total and total + sizes[names[place]] > MAX_DEV_PAIRS:
            break
        kept.add(names[place])
        total += sizes[names[place]]
    rows = [row for row, name in enumerate(found.query_ids) if name in kept]
    return JudgedPairs(
        [found.query_ids[r] for r in rows], [found.pairs[r] for r in rows], found.targets[rows], found.missed
    )


def dev_metric(dev: JudgedPairs, scores: NDArray[np.float64], spec: RankingSpec) -> float:
    """What picks the best step: average precision (match), or mean nDCG@10 of the candidates' order (graded)."""
    if spec.objective == "match":
        return average_precision(dev.labels, scores)
    return float(dev_orders(dev, scores).mean())


def dev_orders(dev: JudgedPairs, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """nDCG@10 of the candidates' order for each dev query with a relevant product.

    The ideal order is that of every judged product, also of those that no candidate list holds. Raises
    :class:`BadInput` where there is no such query.
    """
    rows_of: dict[str, list[int]] = {}
    for row, query_id in enumerate(dev.query_ids):
        rows_of.setdefault(query_id, []).append(row)
    values = []
    for query_id, rows in rows_of.items():
        grades = {place: round(float(dev.targets[row]) * BEST_GRADE) for place, row in enumerate(rows)}
        grades |= {-1 - number: grade for number, grade in enumerate(dev.missed.get(query_id, ()))}
        if any(grades.values()):
            values.append(ndcg_at_10(np.argsort(-scores[rows], kind="stable"), grades))
    if not values:
        raise BadInput("no dev query has a product above grade 0", "judge some dev queries")
    return np.array(values, dtype=np.float64)


def _as_asked(dataset: Dataset, judged: JudgedPairs, candidates: Candidates) -> JudgedPairs:
    """The judged queries with their candidates instead of their judged products, and what the candidates miss.

    Raises :class:`BadInput` where no judged query has a candidate.
    """
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    grades: dict[str, dict[str, int]] = {}
    for query_id, product_id, grade in dataset.judgements.select("query_id", "product_id", "grade").iter_rows():
        grades.setdefault(query_id, {})[product_id] = int(grade)
    queries = {query_id: pair[0] for query_id, pair in zip(judged.query_ids, judged.pairs, strict=True)}
    asked = [(query_id, product) for query_id in sorted(queries) for product in sorted(candidates.get(query_id, ()))]
    if not asked:
        raise BadInput("no judged dev query has a candidate to order", "raise ranking.candidates, or judge others")
    found = set(asked)
    missed = {
        query_id: [grade for product, grade in sorted(grades[query_id].items()) if (query_id, product) not in found]
        for query_id in queries
    }
    return JudgedPairs(
        [query_id for query_id, _ in asked],
        [(queries[query_id], clean_text(texts[product])) for query_id, product in asked],
        np.array([grades[query_id].get(product, 0) for query_id, product in asked], dtype=np.float64) / BEST_GRADE,
        missed,
    )


def _with_negatives(
    dataset: Dataset,
    found: JudgedPairs,
    texts: Sequence[str],
    candidates: Candidates,
    count: int,
    seed: int,
) -> JudgedPairs:
    """For each query ``count`` unjudged products as wrong ones: half of its candidates, the others of the catalogue.

    A ranker has to tell right from wrong among candidates, so it must see such lists. But what judges or shoppers
    never saw may be right all the same, and among the candidates many are: products drawn blindly seldom are.
    """
    ids = dataset.catalogue["product_id"].to_list()
    place = {product_id: row for row, product_id in enumerate(ids)}
    known: dict[str, set[str]] = {}
    for query_id, product_id in dataset.judgements.select("query_id", "product_id").iter_rows():
        known.setdefault(query_id, set()).add(product_id)
    query_ids, pairs = list(found.query_ids), list(found.pairs)
    generator = np.random.default_rng([seed, 4])
    for query_id, query in sorted({q: pair[0] for q, pair in zip(found.query_ids, found.pairs, strict=True)}.items()):
        unjudged = [place[product] for product in candidates.get(query_id, ()) if product not in known[query_id]]
        near = generator.permutation(unjudged)[: count // 2].tolist()
        blind = generator.permutation(len(ids))[: count + len(known[query_id])].tolist()
        far = [row for row in blind if ids[row] not in known[query_id] and row not in near][: count - len(near)]
        for row in sorted(int(row) for row in [*near, *far]):
            query_ids.append(query_id)
            pairs.append((query, texts[row]))
    targets = np.concatenate([found.targets, np.zeros(len(pairs) - len(found))])
    return JudgedPairs(query_ids, pairs, targets)
