"""One score of vectors and words: what it is, what feedback does, and what a damaged fusion.json is answered with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rankops.errors import IntegrityError
from rankops.fusion import FUSION, OWN, Fusion, Hybrid, load_fusion, top_rows

PRODUCTS = [
    {"product_id": f"p{i}", "title": title} for i, title in enumerate(["red lamp", "blue lamp", "lamp", "sofa"])
]
HALF = {"dense": 0.5, "title": 0.5}
TAUGHT = Fusion(
    "learned",
    ("title", "taught"),
    1.2,
    0.75,
    first={"title": 0.5, "taught": 0.5},
    weights={"title": 0.5, "taught": 0.5},
    taught={"lamp": {"glow": 0.5}, "red": {"glow": 0.25}, "blue": {"glow": 0.75}},
)
PLAIN = Fusion("learned", ("title",), 1.2, 0.75, first=HALF, weights=HALF)
VECTORS = np.eye(4, dtype=np.float32)
COSINES = np.array([0.1, 0.2, 0.3, 0.9], np.float32)


def test_the_score_is_the_weighted_mean_of_the_signals() -> None:
    hybrid = PLAIN.over(PRODUCTS)
    words = hybrid.lexical.match("red lamp").fields[0]
    expected = 0.5 * COSINES + 0.5 * words
    np.testing.assert_allclose(hybrid.scores("red lamp", COSINES, VECTORS), expected, atol=1e-6)


def test_a_query_without_known_words_is_ranked_by_its_vector() -> None:
    scores = PLAIN.over(PRODUCTS).scores("xyzzy", COSINES, VECTORS)
    assert top_rows(scores, 4).tolist() == [3, 2, 1, 0]


def test_feedback_lifts_what_is_like_the_best_of_the_first_pass() -> None:
    titles = ["red lamp", *["red lamp shade"] * 20, "chandelier", "sofa"]
    products = [{"product_id": f"p{i:02d}", "title": title} for i, title in enumerate(titles)]
    vectors = np.zeros((23, 4), np.float32)
    vectors[:22, 0] = vectors[22, 1] = 1  # the chandelier lies where the lamps lie, the sofa elsewhere
    cosines = np.full(23, 0.3, np.float32)
    without = PLAIN.over(products).scores("red lamp", cosines, vectors)
    weights = {"dense": 0.3, "title": 0.3, "feedback": 0.4}
    with_it = replace(PLAIN, weights=weights).over(products).scores("red lamp", cosines, vectors)
    assert without[21] == without[22] and with_it[21] - with_it[22] == pytest.approx(0.4, abs=1e-5)


def test_products_of_a_judged_pool_get_their_feedback_however_far_down_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rankops.fusion.FEEDBACK_CANDIDATES", 1)
    monkeypatch.setattr("rankops.fusion.FEEDBACK_DEPTH", 1)
    hybrid = replace(PLAIN, weights={"dense": 0.5, "feedback": 0.5}).over(PRODUCTS)
    same = np.ones((4, 2), np.float32) / np.float32(np.sqrt(2))
    alone, pooled = (hybrid.scores("sofa", COSINES, same, also=also) for also in ((), [0]))
    assert alone[0] == pytest.approx(0.05) and pooled[0] == pytest.approx(0.55, abs=1e-5)
    assert np.array_equal(alone[1:], pooled[1:])


def test_rank_fusion_needs_no_weights_and_is_1_for_the_first_of_both_arms() -> None:
    scores = Fusion("rank", ("title",), 1.2, 0.75).over(PRODUCTS).scores("sofa", COSINES, VECTORS)
    assert scores[3] == pytest.approx(1.0) and top_rows(scores, 2).tolist() == [3, 2]


@pytest.mark.parametrize("fusion", [PLAIN, TAUGHT])
def test_a_fusion_is_read_as_it_was_written_and_its_absence_means_vectors_alone(tmp_path: Path, fusion: Fusion) -> None:
    assert load_fusion(tmp_path) is None
    fusion.save(tmp_path)
    assert load_fusion(tmp_path) == fusion


def test_a_product_is_found_by_what_people_call_it() -> None:
    assert TAUGHT.taught_words(PRODUCTS) == [{"glow": 0.75}, {"glow": 1.0}, {"glow": 0.5}, {}]
    scores = TAUGHT.over(PRODUCTS).scores("glow", np.zeros(4, np.float32), VECTORS)
    assert (
        top_rows(scores, 4).tolist() == [1, 0, 2, 3]
        and scores[3] == 0 == PLAIN.over(PRODUCTS).lexical.match("glow").best.max()
    )
    assert TAUGHT.taught_words([{"product_id": "p", "title": "red lamp that can glow"}]) == [{"glow": OWN}]
    assert TAUGHT.source_of(PRODUCTS) == TAUGHT.index(PRODUCTS).source != PLAIN.index(PRODUCTS).source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"dense": 0.5}}, "must sum to 1"),
        ({"weights": {"dense": 1.5, "title": -0.5}}, "not be negative"),
        ({"weights": {"dense": 0.5, "sku": 0.5}}, "sku"),
        ({"first": {"dense": 0.5, "feedback": 0.5}}, "feedback"),
        ({"method": "magic"}, "magic"),
        ({"fields": None}, "not a fusion"),
        ({"taught": {"lamp": {"light": 0.5}}}, "do not belong together"),
        ({"fields": ["title", "taught"]}, "do not belong together"),
        ({"taught": {"lamp": {"light": 1.5}}, "fields": ["title", "taught"]}, "chances that are none"),
        ({"taught": ["lamp"]}, "not a fusion"),
    ],
)
def test_a_damaged_fusion_is_refused_naming_what_is_wrong(tmp_path: Path, change: dict, message: str) -> None:
    PLAIN.save(tmp_path)
    path = tmp_path / FUSION
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IntegrityError, match=message):
        load_fusion(tmp_path)


def test_an_index_of_other_fields_is_refused() -> None:
    with pytest.raises(IntegrityError, match="the fusion weighs"):
        Hybrid(PLAIN, replace(PLAIN, fields=("description",)).index(PRODUCTS))
