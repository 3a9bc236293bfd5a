"""Baselines of ranking and matching.

Matching: every baseline gets the threshold that is best on the dev pairs, as the model does.

* ``random``: says match to every pair (by chance no F1 is better than that of "always yes").
* ``text``: TF-IDF cosine of character triples, word statistics of the train pairs.
* ``base``: cosine of the un-tuned base model's vectors.

Ranking: ``random``, ``bm25`` and ``base`` order the catalogue; the model reorders the first results of the latter
two, which are its candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rankops.cross_encoding import PairScorer
from rankops.dataset import Dataset, Split
from rankops.decisions import best_threshold, decided_run
from rankops.encoding import Encoder
from rankops.errors import BadInput
from rankops.pair_features import clean_text
from rankops.runs import RankedLists

Pair = tuple[str, str]
_MATCH_GRADE = 2


def dataset_pairs(dataset: Dataset, split: Split) -> tuple[list[str], list[str], list[Pair], NDArray[np.bool_]]:
    """Query ids, product ids, raw texts and labels of a split's judged pairs, sorted by query and product."""
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    asked = dict(dataset.split(split).select("query_id", "query").iter_rows())
    rows = [row for row in dataset.judgements.sort("query_id", "product_id").iter_rows() if row[0] in asked]
    if not rows:
        raise BadInput(f"no pair of the {split} split has a label", f"label some pairs of the {split} split")
    return (
        [query_id for query_id, _, _ in rows],
        [product_id for _, product_id, _ in rows],
        [(asked[query_id], texts[product_id]) for query_id, product_id, _ in rows],
        np.array([grade >= _MATCH_GRADE for _, _, grade in rows]),
    )


def match_floors(
    dataset: Dataset, encoder: Callable[[], Encoder], progress: Callable[[str], None]
) -> dict[str, RankedLists]:
    """``{floor: run}`` over the test pairs; see the module. ``encoder`` makes the base model's."""
    dev, test = dataset_pairs(dataset, "dev"), dataset_pairs(dataset, "test")
    progress(f"evaluation: baselines on {len(test[0]):,} pairs")
    base = encoder()
    scorers: dict[str, Callable[[Sequence[Pair]], NDArray[np.float64]]] = {
        "text": lambda pairs: text_scores(dataset, pairs),
        "base": lambda pairs: vector_scores(base, pairs),
    }
    runs = {"random": decided_run(test[0], test[1], np.ones(len(test[0]), dtype=bool))}
    for name, score in scorers.items():
        threshold, _ = best_threshold(dev[3], score(dev[2]))
        runs[name] = decided_run(test[0], test[1], score(test[2]) >= threshold)
    return runs


def match_run(scorer: PairScorer, threshold: float, dataset: Dataset, split: Split) -> RankedLists:
    """Each judged pair of a split answered with its product where the score reaches the threshold."""
    query_ids, product_ids, pairs, _ = dataset_pairs(dataset, split)
    return decided_run(query_ids, product_ids, scorer.score(pairs) >= threshold)


def text_scores(dataset: Dataset, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """float64 ``(len(pairs),)``: TF-IDF cosine of character triples, fitted on the train pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    fitted = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True)
    known = sorted({clean_text(text) for pair in dataset_pairs(dataset, "train")[2] for text in pair})
    fitted.fit(known)
    left, right = (fitted.transform([clean_text(pair[side]) for pair in pairs]) for side in (0, 1))
    return np.asarray(left.multiply(right).sum(axis=1), dtype=np.float64).ravel()


def vector_scores(encoder: Encoder, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """float64 ``(len(pairs),)``: cosine of the two texts' vectors; each distinct text is encoded once."""
    texts = sorted({clean_text(text) for pair in pairs for text in pair})
    place = {text: row for row, text in enumerate(texts)}
    vectors = encoder.encode(texts, role="product")
    left, right = (vectors[[place[clean_text(pair[side])] for pair in pairs]] for side in (0, 1))
    return np.einsum("ij,ij->i", left, right).astype(np.float64)


def reranked_run(
    scorer: PairScorer,
    queries: Sequence[tuple[str, str]],
    texts: Mapping[str, str],
    candidates: Mapping[str, Collection[str]],
    *,
    k: int = 100,
) -> RankedLists:
    """Each query's candidates ordered by score, best first, equal scores by product id."""
    run: RankedLists = {}
    for query_id, query in queries:
        ids = sorted(candidates.get(query_id, ()))
        scores = scorer.score([(query, texts[product_id]) for product_id in ids])
        run[query_id] = [ids[row] for row in np.argsort(-scores, kind="stable")][:k]
    return run
