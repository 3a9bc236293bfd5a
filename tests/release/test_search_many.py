"""Searches together, alone and by brute force give one answer, whatever finds the candidates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rankops.errors import BadInput
from rankops.fusion import DIGITS, FusedSearch, Fusion, Hybrid, top_rows
from rankops.lexical import LexicalIndex
from rankops.release.finders import FullScan, open_finder
from rankops.release.formats import write_format
from rankops.release.index import ProductIndex
from rankops.release.searcher import Searcher
from rankops.weighted_words import WeightedWords

EXACT = ("f32", "int8")
WORDS = ["red", "blue", "lamp", "shoe", "mouse pad", "xyzzy"]
LEARNED = Fusion(
    "learned",
    ("title", "pairs:title"),
    1.2,
    0.75,
    first={"dense": 0.5, "title": 0.3, "best field": 0.2},
    weights={"dense": 0.3, "title": 0.2, "pairs:title": 0.1, "coverage": 0.2, "feedback": 0.2},
)
FUSIONS = {
    "vectors": None,
    "one pass": replace(LEARNED, weights={"dense": 0.6, "title": 0.4}),
    "learned": LEARNED,
    "rank": replace(LEARNED, method="rank", first={}, weights={}),
}


class ByTable:
    """Encodes a query as the vector that a table has for it."""

    def __init__(self, table: dict[str, np.ndarray]) -> None:
        self._table = table

    def encode(self, texts, *, role):
        return np.stack([self._table[text] for text in texts])


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def shop(seed: int, count: int, copies: int, width: int = 16):
    """Vectors of which many are equal, titles, and queries with vectors near some product."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng, count, width)
    vectors[rng.integers(0, count, copies)] = vectors[0]
    titles = [" ".join(rng.choice(WORDS, rng.integers(1, 4))) for _ in range(count)]
    queries = [f"{word} {number}" for number, word in enumerate(WORDS)]
    near = vectors[rng.integers(0, count, len(queries))] + 0.5 * unit(rng, len(queries), width)
    table = dict(zip(queries, near / np.linalg.norm(near, axis=1, keepdims=True), strict=True))
    return vectors, titles, table


def searcher(folder: Path, name: str, vectors, titles, table, fusion: Fusion | None) -> Searcher:
    chosen = write_format(name, vectors, folder / name)
    ids = [f"p{number:05}" for number in range(len(vectors))]
    index = ProductIndex(vectors, ids, "e", "c", open_finder(folder / name, name, chosen.facts, vectors), name)
    hybrid = None
    if fusion is not None:
        lexical = LexicalIndex.build({"title": titles, "pairs:title": titles})
        hybrid = FusedSearch(fusion, WeightedWords.of(lexical, fusion.columns))
    return Searcher(ByTable(table), index, hybrid)


def brute_force(vectors, titles, table, fusion: Fusion | None, query: str) -> np.ndarray:
    cosines = np.vecdot(vectors, table[query])
    if fusion is None:
        return np.round(cosines, DIGITS)
    return Hybrid(fusion, LexicalIndex.build({"title": titles, "pairs:title": titles})).scores(query, cosines, vectors)


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
@settings(max_examples=8, deadline=None)
@example(seed=242, count=242, share=0.83, k=2)  # 200 equal products, of nearly the cosine of the fifth result
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 400), share=st.floats(0, 1), k=st.integers(1, 60))
def test_one_answer_together_alone_and_by_brute_force(fusion, seed, count, share, k):
    vectors, titles, table = shop(seed, count, int(count * share))
    with TemporaryDirectory() as folder:
        for name in EXACT:
            ours = searcher(Path(folder), name, vectors, titles, table, fusion)
            queries = list(table)
            ks = [1 + (k * number) % 60 for number in range(len(queries))]
            together = ours.search_many(queries, ks)
            for query, limit, found in zip(queries, ks, together, strict=True):
                alone = ours.search(query, limit)
                assert (found.product_ids, found.scores) == (alone.product_ids, alone.scores)
                scores = brute_force(vectors, titles, table, fusion, query)
                rows = top_rows(scores, limit)
                np.testing.assert_allclose(found.scores, scores[rows], atol=2e-6)
                if fusion is None:  # a fused score may differ in the last of six digits, where sums were made otherwise
                    assert found.product_ids == [ours.index.product_ids[row] for row in rows]


@pytest.mark.parametrize("method", ["learned", "rank"])
def test_candidates_hold_the_answers_where_they_are_a_small_part_of_the_catalogue(method, tmp_path):
    fusion = FUSIONS[method]
    for name in EXACT:
        # A crowd of equal vectors can fill the margin of approximate cosines, and with it the ranks of one arm.
        vectors, titles, table = shop(7, 6000, 500 if name == "f32" or method == "learned" else 0, 32)
        ours = searcher(tmp_path, name, vectors, titles, table, fusion)
        for query in table:
            scores = brute_force(vectors, titles, table, fusion, query)
            found = ours.rank(query, 50)
            np.testing.assert_allclose(found.scores, scores[top_rows(scores, 50)], atol=2e-6)


def test_a_judged_pool_is_ranked_wherever_it_stands(tmp_path):
    vectors, titles, table = shop(3, 3000, 0, 32)
    for fusion in FUSIONS.values():
        ours = searcher(tmp_path, "int8", vectors, titles, table, fusion)
        query = next(iter(table))
        worst = np.argsort(np.vecdot(vectors, table[query]))[:5]
        found = ours.rank(query, 10, also=worst.tolist())
        assert set(worst.tolist()) <= set(found.rows.tolist()) and 10 <= len(found.rows) <= 15
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert found.rows[:10].tolist() == ours.rank(query, 10).rows.tolist()


def test_no_query_has_no_answer_and_one_product_is_found(tmp_path):
    vectors, titles, table = shop(1, 1, 0)
    ours = searcher(tmp_path, "int8", vectors, titles, table, LEARNED)
    assert ours.search_many([], []) == []
    assert ours.search(next(iter(table)), 10).product_ids == ["p00000"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_query_vector_that_is_not_finite_is_refused(bad):
    vectors = unit(np.random.default_rng(0), 5, 8)
    index = ProductIndex(vectors, list("abcde"), "e", "c", FullScan(vectors))
    query = vectors[0].copy()
    query[3] = bad
    for ask in (lambda: index.scores(query), lambda: index.nearest(query[None], 3)):
        with pytest.raises(BadInput, match="NaN"):
            ask()


def test_the_seconds_of_a_batch_are_told_to_each_of_its_searches(tmp_path):
    vectors, titles, table = shop(2, 50, 0)
    ours = searcher(tmp_path, "f32", vectors, titles, table, LEARNED)
    first, second = ours.search_many(list(table)[:2], [3, 4])
    assert set(first.seconds) == {"encode", "lexical", "search", "rerank"} and first.seconds == second.seconds
    assert (len(first.product_ids), len(second.product_ids)) == (3, 4)


def test_words_that_were_weighed_for_another_fusion_are_refused():
    lexical = LexicalIndex.build({"title": ["a"], "pairs:title": ["a"]})
    words = WeightedWords.of(lexical, LEARNED.columns)
    with pytest.raises(Exception, match="another fusion"):
        FusedSearch(FUSIONS["rank"], words)
