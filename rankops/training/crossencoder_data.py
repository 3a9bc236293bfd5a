"""What a cross-encoder learns from and is watched with: judged pairs, wrong ones that share words, the dev split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankops.dataset import Dataset, Split
from rankops.decisions import average_precision
from rankops.errors import BadInput
from rankops.pair_features import PairFeatures, clean_text, fit_features, word_keys
from rankops.pair_tokens import Pair
from rankops.specs import RankingSpec
from rankops.training.dev import ndcg_at_10

BEST_GRADE = 3
MAX_DEV_PAIRS = 4000
_DRAWN_FROM = 100  # unjudged products that share most with a query, of which negatives are drawn


@dataclass(frozen=True)
class JudgedPairs:
    """Cleaned pairs with their targets (grade / 3, float64 in 0..1) and the query that each belongs to."""

    query_ids: list[str]
    pairs: list[Pair]
    targets: NDArray[np.float64]

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


def training_data(dataset: Dataset, spec: RankingSpec, seed: int) -> tuple[JudgedPairs, PairFeatures]:
    """The train split's pairs, for a ranker with negatives, and the word statistics of all texts seen.

    Raises :class:`BadInput` where all pairs are right or all are wrong: there would be nothing to learn.
    """
    found = judged_pairs(dataset, "train")
    texts = [clean_text(text) for text in dataset.product_texts()] if spec.objective == "graded" else []
    features = fit_features([text for pair in found.pairs for text in pair] + texts)
    if spec.objective == "graded" and spec.negatives:
        found = _with_negatives(dataset, found, features, texts, spec.negatives, seed)
    if found.labels.all() or not found.labels.any():
        raise BadInput(
            f"all {len(found)} training pairs are {'right' if found.labels.all() else 'wrong'}",
            "judge pairs of both kinds" + (", or raise ranking.negatives" if spec.objective == "graded" else ""),
        )
    return found, features


def dev_data(dataset: Dataset, seed: int) -> JudgedPairs:
    """The dev split's pairs: whole queries drawn by ``seed`` until there are :data:`MAX_DEV_PAIRS`."""
    found = judged_pairs(dataset, "dev")
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
    return JudgedPairs([found.query_ids[r] for r in rows], [found.pairs[r] for r in rows], found.targets[rows])


def dev_metric(dev: JudgedPairs, scores: NDArray[np.float64], spec: RankingSpec) -> float:
    """What picks the best step: average precision (match), or mean nDCG@10 over the judged products (graded)."""
    if spec.objective == "match":
        return average_precision(dev.labels, scores)
    rows_of: dict[str, list[int]] = {}
    for row, query_id in enumerate(dev.query_ids):
        rows_of.setdefault(query_id, []).append(row)
    values = []
    for rows in rows_of.values():
        grades = {place: round(float(dev.targets[row]) * BEST_GRADE) for place, row in enumerate(rows)}
        if any(grades.values()):
            values.append(ndcg_at_10(np.argsort(-scores[rows], kind="stable"), grades))
    if not values:
        raise BadInput("no dev query has a product above grade 0", "judge some dev queries")
    return float(np.mean(values))


def _with_negatives(
    dataset: Dataset, found: JudgedPairs, features: PairFeatures, texts: Sequence[str], count: int, seed: int
) -> JudgedPairs:
    """For each query ``count`` unjudged products drawn from those that share the rarest words with it, as wrong ones.

    What judges never saw may be right all the same; among a hundred that share words few are, and a ranker has to
    tell right from wrong in lists of just such products.
    """
    ids = dataset.catalogue["product_id"].to_list()
    known: dict[str, set[str]] = {}
    for query_id, product_id in dataset.judgements.select("query_id", "product_id").iter_rows():
        known.setdefault(query_id, set()).add(product_id)
    holders: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        for key in set(word_keys(text)):
            holders.setdefault(key, []).append(row)
    query_ids, pairs = list(found.query_ids), list(found.pairs)
    generator = np.random.default_rng([seed, 4])
    for query_id, query in sorted({q: pair[0] for q, pair in zip(found.query_ids, found.pairs, strict=True)}.items()):
        shared = np.zeros(len(ids))
        for key in sorted(set(word_keys(query))):
            shared[holders.get(key, [])] += features.weight([key])
        order = np.argsort(-shared, kind="stable")[: _DRAWN_FROM + len(known[query_id])]
        unjudged = [row for row in order.tolist() if ids[row] not in known[query_id]][:_DRAWN_FROM]
        for row in sorted(generator.permutation(unjudged)[:count].tolist()):
            query_ids.append(query_id)
            pairs.append((query, texts[row]))
    targets = np.concatenate([found.targets, np.zeros(len(pairs) - len(found))])
    return JudgedPairs(query_ids, pairs, targets)
