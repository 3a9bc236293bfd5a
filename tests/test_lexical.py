"""Words to scores: BM25 as the library has it, over several fields."""

from __future__ import annotations

import numpy as np
import pytest

from rankops.errors import BadInput
from rankops.lexical import LexicalIndex, field_texts, words

TITLES = ["Red running shoes", "Blue shoe", "Lamp with a red shade", "Mousepad", "Mouse pad XL", "Pad for a mouse"]
NOTES = ["for the red track", "", "", "of cloth", "", "red"]


def index(**changes: float) -> LexicalIndex:
    return LexicalIndex.build({"title": TITLES, "description": NOTES, "pairs:title": TITLES}, **changes)


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.5, 0.0)])
def test_one_field_scores_as_bm25s_does_divided_by_what_the_query_asks(k1: float, b: float) -> None:
    import bm25s

    peer = bm25s.BM25(k1=k1, b=b, method="lucene")
    peer.index([words(title) for title in TITLES], show_progress=False)
    ours = LexicalIndex.build({"title": TITLES}, k1=k1, b=b)
    for query in ("red shoe", "mouse pad", "pad pad"):
        asked = sum(np.log(1 + (6 - n + 0.5) / (n + 0.5)) for n in (_containing(word) for word in words(query)))
        expected = peer.get_scores(words(query)) / asked
        np.testing.assert_allclose(ours.match(query).fields[0], expected, rtol=1e-5)


def _containing(word: str) -> int:
    return sum(word in words(title) for title in TITLES)


def test_a_word_that_no_product_has_lowers_every_score_and_changes_no_order() -> None:
    known, unknown = index().match("red shoe"), index().match("red shoe xyzzy")
    assert np.array_equal(np.argsort(-known.best, kind="stable"), np.argsort(-unknown.best, kind="stable"))
    assert unknown.best.max() < known.best.max() and unknown.coverage.max() < 1 == known.coverage.max()
    assert not index().match("xyzzy").best.any() and not index().match("  ").fields.any()


def test_the_best_field_counts_each_word_once_and_coverage_asks_any_field() -> None:
    found = index().match("red track")
    assert found.coverage[0] == 1.0  # one word in the title, both in the description
    assert found.best[0] >= found.fields[:2, 0].max()
    assert found.best[0] < found.fields[:2, 0].sum()


def test_pairs_find_words_that_are_written_as_one_and_the_other_way() -> None:
    pairs = index().match("mouse pads").fields[2]
    assert set(np.flatnonzero(pairs)) == {3, 4}  # not the pad for a mouse: there the words are no neighbours
    assert set(np.flatnonzero(index().match("mousepad").fields[2])) == {3, 4}


def test_a_field_joins_columns_and_an_unknown_one_is_named() -> None:
    product = {"title": "Lamp", "description": None, "attributes": "colour red"}
    assert words(field_texts([product], "title+description+attributes")[0]) == ["lamp", "colour", "red"]
    with pytest.raises(BadInput, match="colour"):
        field_texts([product], "title+colour")


def test_fields_of_different_length_are_refused() -> None:
    with pytest.raises(BadInput, match="one a product"):
        LexicalIndex.build({"title": ["a"], "description": []})
