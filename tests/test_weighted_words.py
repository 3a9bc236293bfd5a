"""Words with weights worked in: the numbers of BM25 over fields, from one merged posting a word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankops.errors import IntegrityError
from rankops.lexical import BEST, COVERAGE, TAUGHT, LexicalIndex
from rankops.weighted_words import WeightedWords

FIRST = {"title": 0.2, "description": 0.1, "pairs:title": 0.2, TAUGHT: 0.1, BEST: 0.25, COVERAGE: 0.15}
LAST = {"title": 0.5, TAUGHT: 0.2, COVERAGE: 0.3}
WORD = st.sampled_from(["red", "shoe", "lamp", "mouse", "pad", "mousepad", "the", "4k"])
TEXT = st.lists(WORD, max_size=6).map(" ".join)
TAUGHT_WORDS = st.dictionaries(st.sampled_from(["red", "lamp", "pad", "xyzzy"]), st.floats(0.125, 1.0, width=32))


def build(
    titles: list[str], notes: list[str], taught: list[dict[str, float]] | None = None
) -> tuple[LexicalIndex, WeightedWords]:
    lexical = LexicalIndex.build({"title": titles, "description": notes, "pairs:title": titles}, taught=taught)
    return lexical, WeightedWords.of(lexical, (FIRST, LAST))


def by_fields(lexical: LexicalIndex, query: str, weights: dict[str, float]) -> np.ndarray:
    found = lexical.match(query)
    named = dict(zip(lexical.fields, found.fields, strict=True)) | {BEST: found.best, COVERAGE: found.coverage}
    return sum(weights.get(name, 0.0) * values.astype(np.float64) for name, values in named.items())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TEXT, TEXT, st.one_of(st.none(), TAUGHT_WORDS)), min_size=1, max_size=8),
    st.one_of(TEXT, st.just("xyzzy red pad")),
)
def test_merged_postings_give_the_weighted_sum_of_all_fields(products, query):
    titles, notes, given = (list(column) for column in zip(*products, strict=True))
    lexical, words = build(titles, notes, None if None in given else given)
    found = words.match(query)
    np.testing.assert_allclose(found[0], by_fields(lexical, query, FIRST), atol=2e-6)
    np.testing.assert_allclose(found[1], by_fields(lexical, query, LAST), atol=2e-6)


def test_a_saved_index_opens_as_maps_with_the_same_scores_and_the_same_bytes(tmp_path: Path) -> None:
    _, words = build(["red shoe", "mouse pad", "lamp"], ["", "red", "lamp shade"])
    words.save(tmp_path / "a")
    words.save(tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    opened = WeightedWords.open(tmp_path / "a")
    assert isinstance(opened.rows.base, np.memmap) and len(opened) == 3
    assert np.array_equal(opened.match("red mouse pad"), words.match("red mouse pad"))
    assert (opened.source, opened.weights) == (words.source, words.weights)
    assert opened.weights != WeightedWords.of(build(["a"], ["b"])[0], (LAST, LAST)).weights


def _drop_a_word(folder: Path) -> None:
    path = folder / "vocabulary.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


def _point_beyond(folder: Path) -> None:
    rows = np.load(folder / "rows.npy")
    rows[0] = 3
    np.save(folder / "rows.npy", rows)


def _overlong_posting(folder: Path) -> None:
    starts = np.load(folder / "starts.npy")
    starts[0, 1] = 10**9
    np.save(folder / "starts.npy", starts)


def _wide_rows(folder: Path) -> None:
    np.save(folder / "rows.npy", np.load(folder / "rows.npy").astype(np.int64))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_a_word, "do not fit"),
        (_point_beyond, "beyond its 3"),
        (_overlong_posting, "do not begin and end"),
        (_wide_rows, "int64"),
        (lambda folder: (folder / "rows.npy").write_bytes(b"\x93NUMPY"), "cannot be read"),
        (lambda folder: (folder / "lexical.json").unlink(), "cannot be read"),
    ],
)
def test_an_index_whose_files_contradict_each_other_is_refused(tmp_path: Path, damage, message) -> None:
    build(["red shoe", "mouse pad", "lamp"], ["", "red", "lamp shade"])[1].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(IntegrityError, match=message):
        WeightedWords.open(tmp_path)
