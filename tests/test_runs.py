"""Baselines rank what they should, and never depend on the catalogue's order."""

from __future__ import annotations

import numpy as np
import pytest

from rankops.errors import BadInput
from rankops.lexical import singular
from rankops.runs import bm25_run, encoder_run, random_run
from tests.evaluation.samples import WordEncoder

TEXTS = ["Red shoes for running", "Blue shoe", "Lamp with a red shade", "Size M shirt", "Size S shirt"]
IDS = ["p9", "p1", "p5", "p3", "p2"]


def test_bm25_finds_singular_for_plural_and_drops_what_shares_no_word() -> None:
    run = bm25_run([("q1", "RED  shoe"), ("q2", "xyz"), ("q3", "  ")], TEXTS, IDS)
    assert run["q1"][0] == "p9" and set(run["q1"]) == {"p9", "p1", "p5"}
    assert run["q2"] == run["q3"] == []


def test_bm25_keeps_single_letters_because_sizes_and_models_are_words() -> None:
    assert bm25_run([("q", "shirt size m")], TEXTS, IDS)["q"] == ["p3", "p2"]


def test_bm25_matches_its_formula() -> None:
    # Lucene: idf = ln(1 + (N - df + 0.5) / (df + 0.5)), tf part = tf / (tf + k1 (1 - b + b * dl / avgdl)).
    texts, ids = ["lamp lamp red", "lamp", "chair blue big"], ["a", "b", "c"]

    def score(tf: int, length: int) -> float:
        return np.log(1 + 1.5 / 2.5) * tf / (tf + 1.2 * (0.25 + 0.75 * length / (7 / 3)))

    assert bm25_run([("q", "lamp")], texts, ids)["q"] == (["a", "b"] if score(2, 3) > score(1, 1) else ["b", "a"])
    import bm25s

    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    index.index([t.split() for t in texts], show_progress=False)
    np.testing.assert_allclose(index.get_scores(["lamp"]), [score(2, 3), score(1, 1), 0], rtol=1e-5)


def test_equal_scores_are_ordered_by_product_id_whatever_the_catalogue_order() -> None:
    texts, ids = ["same text"] * 6, ["d", "b", "f", "a", "c", "e"]
    for k in (3, 6):
        assert bm25_run([("q", "same")], texts, ids, k=k)["q"] == sorted(ids)[:k]
        assert encoder_run(WordEncoder(), [("q", "same")], texts, ids, k=k)["q"] == sorted(ids)[:k]


def test_encoder_search_equals_a_full_sort_in_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = np.asarray([f"w{i}" for i in range(40)])
    texts = [" ".join(rng.choice(words, 4)) for _ in range(300)]
    ids = [f"p{i}" for i in rng.permutation(300)]
    queries = [(f"q{i}", " ".join(rng.choice(words, 2))) for i in range(25)]
    encoder = WordEncoder()
    vectors = encoder.encode(texts, role="product")
    whole = encoder_run(encoder, queries, texts, ids, k=20, product_vectors=vectors)
    monkeypatch.setattr("rankops.runs._BLOCK", 700)
    assert encoder_run(encoder, queries, texts, ids, k=20) == whole
    for query_id, text in queries:
        scores = vectors @ encoder.encode([text], role="query")[0]
        best = sorted(scores.tolist(), reverse=True)[:20]
        found = dict(zip(ids, scores.tolist(), strict=True))
        np.testing.assert_allclose([found[p] for p in whole[query_id]], best, atol=2e-6)


def test_given_vectors_are_used_and_products_are_not_encoded_again() -> None:
    encoder = WordEncoder()
    vectors = encoder.encode(TEXTS, role="product")
    encoder.encoded = 0
    run = encoder_run(encoder, [("q", "Blue SHOE")], TEXTS, IDS, product_vectors=vectors)
    assert run["q"][0] == "p1" and encoder.encoded == 1


def test_candidates_are_all_ranked_and_nothing_else_is() -> None:
    pool = {"q": ["p2", "p9", "p5"]}
    assert bm25_run([("q", "red shoe")], TEXTS, IDS, candidates=pool)["q"] == ["p9", "p5", "p2"]
    assert encoder_run(WordEncoder(), [("q", "red")], TEXTS, IDS, candidates=pool)["q"][-1] == "p2"
    assert set(random_run(["q"], IDS, 1, candidates=pool)["q"]) == set(pool["q"])
    assert bm25_run([("other", "red")], TEXTS, IDS, candidates=pool) == {"other": []}


def test_random_is_seeded_and_a_query_keeps_its_draw_when_others_come_and_go() -> None:
    ids = [f"p{i}" for i in range(500)]
    run = random_run(["a", "b"], ids, 5)
    assert run == random_run(["b", "a"], ids[::-1], 5)
    assert random_run(["a"], ids, 5)["a"] == run["a"] != random_run(["a"], ids, 6)["a"]
    assert len(set(run["a"])) == 100 and run["a"] != run["b"]


def test_mismatched_input_is_named() -> None:
    with pytest.raises(BadInput, match="5 product texts for 4 product ids"):
        bm25_run([("q", "red")], TEXTS, IDS[:4])
    with pytest.raises(BadInput, match="2 product vectors for 5 products"):
        encoder_run(WordEncoder(), [("q", "red")], TEXTS, IDS, product_vectors=np.ones((2, 256), dtype=np.float32))
    with pytest.raises(BadInput, match="'p77' of query 'q' is not in the catalogue"):
        bm25_run([("q", "red")], TEXTS, IDS, candidates={"q": ["p77"]})


def test_an_empty_catalogue_and_no_query_give_empty_runs() -> None:
    assert bm25_run([("q", "red")], [], []) == {"q": []}
    assert random_run(["q"], [], 1) == {"q": []}
    assert encoder_run(WordEncoder(), [], TEXTS, IDS) == {}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("batteries", "battery"), ("shoes", "shoe"), ("glass", "glass"), ("bus", "bus"), ("tv", "tv"), ("is", "is")],
)
def test_singular_removes_plurals_only(word: str, expected: str) -> None:
    assert singular(word) == expected
