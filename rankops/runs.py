"""Runs over a catalogue: random, BM25, exact search with any encoder or hybrid, and the candidates that runs propose.

All searches return a *run* ``{query_id: [product_id, ...]}``, best first, at most ``k`` long. Equal scores are ordered
by product id, so a run depends on the scores alone and not on the catalogue's order. With ``candidates`` a query
ranks only the products named for it, all of them up to ``k`` (a judged pool, for instance).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput
from rankops.fusion import DIGITS, Fusion, Hybrid, top_rows
from rankops.lexical import LexicalIndex
from rankops.text import normalize_query

if TYPE_CHECKING:
    from rankops.dataset import Dataset
    from rankops.encoding import Encoder

Queries = Sequence[tuple[str, str]]
"""``(query_id, text)`` pairs."""
Candidates = Mapping[str, Collection[str]]
RankedLists = dict[str, list[str]]

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
    """BM25 (see :mod:`rankops.lexical`) over the products' texts, ``k1`` and ``b`` as search engines ship them.

    Products without any query word are not returned, unless they are ``candidates``.
    """
    ids = _checked_ids(product_texts, product_ids)
    order = np.argsort(ids, kind="stable")
    index = LexicalIndex.build({"text": [product_texts[i] for i in order]})
    scores = (index.match(text).fields[0] for _, text in queries)
    return _rank(queries, scores, ids[order], k=k, candidates=candidates, positive_only=True)


def encoder_run(
    encoder: Encoder,
    queries: Queries,
    product_texts: Sequence[str],
    product_ids: Sequence[str],
    *,
    hybrid: Hybrid | None = None,
    k: int = 100,
    product_vectors: NDArray[np.float32] | None = None,
    candidates: Candidates | None = None,
    progress: Callable[[str], None] | None = None,
) -> RankedLists:
    """Exact search by inner product of the encoder's L2-normalized vectors, i.e. by cosine similarity.

    With ``hybrid`` by the fused score of vectors and words (see :mod:`rankops.fusion`), as the server answers; the
    products must then be in the order of its lexical index, which is that of their ids. ``product_vectors`` (n, d), in
    the order of ``product_ids``, saves encoding the products again. Raises :class:`BadInput` when texts, ids, vectors
    or the lexical index differ in number or order.
    """
    ids = _checked_ids(product_texts, product_ids)
    if hybrid is not None and (len(ids) != len(hybrid.lexical) or np.any(ids[1:] < ids[:-1])):
        raise BadInput(
            f"{len(ids)} products for a lexical index of {len(hybrid.lexical)}, or they are not sorted by id",
            "index the same products, sorted by id",
        )
    order = np.argsort(ids, kind="stable")
    ids, vectors = ids[order], _vectors(encoder, product_texts, product_vectors, progress)[order]
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    cosines = _cosines(encoder, queries, vectors)
    scores: Iterator[NDArray[np.float32]] = (np.round(row, DIGITS) for row in cosines)
    if hybrid is not None:
        scores = _fused(hybrid, queries, cosines, vectors, ids, candidates)
    return _rank(queries, scores, ids, k=k, candidates=candidates)


def search_run(
    encoder: Encoder,
    fusion: Fusion | None,
    dataset: Dataset,
    queries: Queries,
    *,
    k: int = 100,
    progress: Callable[[str], None] | None = None,
) -> RankedLists:
    """What a retriever finds in a dataset's catalogue: by vectors alone, or with words where it has a fusion."""
    from rankops.text import product_texts

    products = list(dataset.catalogue.sort("product_id").iter_rows(named=True))
    texts, ids = product_texts(products), [str(product["product_id"]) for product in products]
    hybrid = None if fusion is None else fusion.over(products)
    return encoder_run(encoder, queries, texts, ids, hybrid=hybrid, k=k, progress=progress)


def candidates_of(runs: Sequence[RankedLists], depth: int) -> RankedLists:
    """The first ``depth`` products of each run, together, for each query; without repetitions."""
    query_ids = [query_id for run in runs for query_id in run]
    return {
        query_id: list(dict.fromkeys(p for run in runs for p in run.get(query_id, [])[:depth]))
        for query_id in dict.fromkeys(query_ids)
    }


def _vectors(
    encoder: Encoder,
    product_texts: Sequence[str],
    given: NDArray[np.float32] | None,
    progress: Callable[[str], None] | None,
) -> NDArray[np.float32]:
    """The products' vectors ``(n, d)``: those that were given, or encoded now."""
    if given is None:
        if progress is not None:
            progress(f"encoding {len(product_texts):,} products")
        given = encoder.encode(product_texts, role="product")
    if len(given) != len(product_texts):
        raise BadInput(
            f"{len(given)} product vectors for {len(product_texts)} products",
            "encode the products again with this encoder",
        )
    return given


def _cosines(encoder: Encoder, queries: Queries, vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """For each query the cosine of every product, (n,), in the order of ``vectors`` (n, d)."""
    if not queries:
        return
    query_vectors = encoder.encode([normalize_query(text) for _, text in queries], role="query")
    rows = max(1, _BLOCK // max(1, len(vectors)))
    for start in range(0, len(query_vectors), rows):
        yield from query_vectors[start : start + rows] @ vectors.T


def _fused(
    hybrid: Hybrid,
    queries: Queries,
    cosines: Iterator[NDArray[np.float32]],
    vectors: NDArray[np.float32],
    ids: NDArray[np.str_],
    candidates: Candidates | None,
) -> Iterator[NDArray[np.float32]]:
    """For each query the fused score of every product, (n,)."""
    place = {} if candidates is None else {name: position for position, name in enumerate(ids.tolist())}
    for (query_id, text), row in zip(queries, cosines, strict=True):
        pool = () if candidates is None else _positions(place, candidates.get(query_id, ()), query_id)
        yield hybrid.scores(text, row, vectors, also=pool)


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
            best = top_rows(row, k)
            best = best[row[best] > 0] if positive_only else best
        else:
            pool = _positions(place, candidates.get(query_id, ()), query_id)
            best = pool[top_rows(row[pool], k)]
        run[query_id] = ids[best].tolist()
    return run


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
