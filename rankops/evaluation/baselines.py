"""Rankings to compare with: random, BM25, and exact search with any encoder.

All return a *run* ``{query_id: [product_id, ...]}``, best first, at most ``k`` long. Equal scores are ordered by
product id, so a run depends on the scores alone and not on the catalogue's order. With ``candidates`` a query
ranks only the products named for it, all of them up to ``k`` (a judged pool, for instance).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput
from rankops.text import normalize_query

if TYPE_CHECKING:
    from rankops.encoding import Encoder

Queries = Sequence[tuple[str, str]]
"""``(query_id, text)`` pairs."""
Candidates = Mapping[str, Collection[str]]
RankedLists = dict[str, list[str]]

BM25_K1 = 1.2
BM25_B = 0.75
"""The defaults of Lucene, Elasticsearch, OpenSearch and Solr: what a shop that never tuned its engine runs."""

_DIGITS = 6
"""Cosines that agree to this many digits are ties: beyond it, float32 sums depend on the block they were made in."""

_BLOCK = 16_000_000  # scores held in memory at a time (64 MB of float32)


def random_run(
    query_ids: Sequence[str],
    product_ids: Sequence[str],
    seed: int,
    *,
    k: int = 100,
    candidates: Candidates | None = None,
) -> RankedLists:
    """``k`` products drawn at random for each query: the floor under every metric.

    A query's draw depends on ``seed`` and its id only, so it stays the same when other queries come and go.
    """
    run: RankedLists = {}
    catalogue = sorted(product_ids)
    for query_id in query_ids:
        pool = catalogue if candidates is None else sorted(candidates.get(query_id, ()))
        rng = np.random.default_rng([seed, zlib.crc32(query_id.encode())])
        run[query_id] = [pool[i] for i in rng.choice(len(pool), size=min(k, len(pool)), replace=False)]
    return run


def bm25_run(
    queries: Queries,
    product_texts: Sequence[str],
    product_ids: Sequence[str],
    *,
    k: int = 100,
    candidates: Candidates | None = None,
) -> RankedLists:
    """BM25 (Lucene's variant, ``k1`` 1.2, ``b`` 0.75) over the products' texts.

    Text is lower-cased, split into words (single letters and numbers stay: "size m", "ps 5"), cleared of English
    stop words and reduced to singular. Products without any query word are not returned, unless they are
    ``candidates``.
    """
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets its own logger to DEBUG on import
    ids = _checked_ids(product_texts, product_ids)
    if not product_texts:
        return {query_id: [] for query_id, _ in queries}
    order = np.argsort(ids, kind="stable")
    documents = [bm25_tokens(product_texts[i]) for i in order]
    index = bm25s.BM25(k1=BM25_K1, b=BM25_B, method="lucene")
    index.index(documents, show_progress=False)
    known = {word for document in documents for word in document}

    def scores() -> Iterator[NDArray[np.float32]]:
        for _, text in queries:
            words = [word for word in bm25_tokens(normalize_query(text)) if word in known]
            yield index.get_scores(words) if words else np.zeros(len(order), dtype=np.float32)

    return _rank(queries, scores(), ids[order], k=k, candidates=candidates, positive_only=True)


def encoder_run(
    encoder: Encoder,
    queries: Queries,
    product_texts: Sequence[str],
    product_ids: Sequence[str],
    *,
    k: int = 100,
    product_vectors: NDArray[np.float32] | None = None,
    candidates: Candidates | None = None,
    progress: Callable[[str], None] | None = None,
) -> RankedLists:
    """Exact search by inner product of the encoder's L2-normalized vectors, i.e. by cosine similarity.

    ``product_vectors`` (n, d), in the order of ``product_ids``, saves encoding the products again. Raises
    :class:`BadInput` when texts, ids or vectors differ in number.
    """
    ids = _checked_ids(product_texts, product_ids)
    if product_vectors is None:
        if progress is not None:
            progress(f"encoding {len(product_texts):,} products")
        product_vectors = encoder.encode(product_texts, role="product")
    if len(product_vectors) != len(ids):
        raise BadInput(
            f"{len(product_vectors)} product vectors for {len(ids)} products",
            "encode the products again with this encoder",
        )
    if not queries:
        return {}
    query_vectors = encoder.encode([normalize_query(text) for _, text in queries], role="query")
    order = np.argsort(ids, kind="stable")
    matrix = np.ascontiguousarray(product_vectors[order], dtype=np.float32)

    def scores() -> Iterator[NDArray[np.float32]]:
        rows = max(1, _BLOCK // max(1, len(matrix)))
        for start in range(0, len(query_vectors), rows):
            yield from np.round(query_vectors[start : start + rows] @ matrix.T, _DIGITS)

    return _rank(queries, scores(), ids[order], k=k, candidates=candidates)


def bm25_tokens(text: str) -> list[str]:
    """The words of ``text`` as BM25 sees them: lower case, no English stop words, singular."""
    import re

    from bm25s.stopwords import STOPWORDS_EN

    return [singular(word) for word in re.findall(r"\w+", text.lower()) if word not in STOPWORDS_EN]


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


def _rank(
    queries: Queries,
    scores: Iterator[NDArray[Any]],
    ids: NDArray[np.str_],
    *,
    k: int,
    candidates: Candidates | None,
    positive_only: bool = False,
) -> RankedLists:
    """The best ``k`` of ``ids`` (sorted) for each row of ``scores``; rows come in the order of ``queries``."""
    run: RankedLists = {}
    place = {} if candidates is None else {name: position for position, name in enumerate(ids.tolist())}
    for (query_id, _), row in zip(queries, scores, strict=True):
        if candidates is None:
            best = _top(row, k)
            best = best[row[best] > 0] if positive_only else best
        else:
            pool = _positions(place, candidates.get(query_id, ()), query_id)
            best = pool[_top(row[pool], k)]
        run[query_id] = ids[best].tolist()
    return run


def _top(scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Positions of the ``k`` highest scores, highest first, ties by position."""
    positions = np.arange(len(scores))
    if k < len(scores):
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        positions = np.flatnonzero(scores >= threshold)  # may be more than k: ties at the edge
    return positions[np.argsort(-scores[positions], kind="stable")][:k]


def _positions(place: Mapping[str, int], wanted: Collection[str], query_id: str) -> NDArray[np.intp]:
    """Ascending positions of the wanted ids, so that ties stay ordered by id."""
    absent = [name for name in wanted if name not in place]
    if absent:
        raise BadInput(
            f"candidate {absent[0]!r} of query {query_id!r} is not in the catalogue",
            "add the product to the catalogue or drop the candidate",
        )
    return np.asarray(sorted({place[name] for name in wanted}), dtype=np.intp)


def _checked_ids(product_texts: Sequence[str], product_ids: Sequence[str]) -> NDArray[np.str_]:
    if len(product_texts) != len(product_ids):
        raise BadInput(
            f"{len(product_texts)} product texts for {len(product_ids)} product ids", "give one text to each product"
        )
    return np.asarray(product_ids, dtype=np.str_)
