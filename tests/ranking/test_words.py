"""The word model: what it learns, what it says of pairs, its file, and how an artifact blends it in."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from rankops.cross_encoding import DESCRIPTION, OnnxCrossEncoder, PairConfig, artifact_files
from rankops.errors import BadInput, IntegrityError
from rankops.files import sha256_file, write_json
from rankops.pair_words import FLOOR, ITSELF, WORDS, WordModel, load_words
from rankops.specs import WordModelSpec
from rankops.training.crossencoder_data import JudgedPairs
from rankops.training.pair_words import fit_words
from tests.support.tiny_cross_encoder import make_tiny_cross_encoder

COLOURS, KINDS = ("red", "blue", "green"), {"slippers": "chottle", "lamp": "brillo", "drill": "whirr"}


def bought() -> JudgedPairs:
    """Every colour of three kinds, each kind asked for by a name that stands in no text; and one wrong pair."""
    pairs = [(f"{colour} {name}", f"acme {kind} {colour}") for colour in COLOURS for kind, name in KINDS.items()]
    pairs.append(("red chottle", "acme drill nonsense"))
    return JudgedPairs([f"q{row}" for row in range(len(pairs))], pairs, np.array([1.0] * (len(pairs) - 1) + [0.0]))


def by_hand(
    pairs: list[tuple[list[str], list[str]]], weights: list[float], rounds: int
) -> dict[tuple[str, str], float]:
    """Model 1 as the paper writes it, one pair after another."""
    asked = {word for words, _ in pairs for word in words}
    chance: dict[tuple[str, str], float] = defaultdict(lambda: 1 / len(asked))
    for _ in range(rounds):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        totals: dict[str, float] = defaultdict(float)
        for (words, others), weight in zip(pairs, weights, strict=True):
            for word in words:
                mass = sum(chance[word, other] for other in others)
                for other in others:
                    part = weight * chance[word, other] / mass
                    counts[word, other] += part
                    totals[other] += part
        chance = defaultdict(float, {key: count / totals[key[1]] for key, count in counts.items()})
    return chance


def test_a_name_that_stands_in_no_text_is_learned_from_what_people_took() -> None:
    model = fit_words(bought(), WordModelSpec())
    best = {name: max(model.chances[name], key=model.chances[name].__getitem__) for name in KINDS.values()}
    assert best == {name: kind for kind, name in KINDS.items()}
    right, wrong, other = model.margin([("blue chottle", text) for text in ("slippers blue", "lamp blue", "blue sofa")])
    assert right > wrong + 0.5 and right > other + 0.5
    assert "nonsense" not in {word for known in model.chances.values() for word in known}  # only right pairs teach


def test_the_chances_are_those_of_model_1() -> None:
    data = JudgedPairs(["a", "b", "c"], [("p q", "x y"), ("p", "x"), ("q r", "y z")], np.array([1.0, 2 / 3, 1.0]))
    pairs = [(left.split(), ["", *right.split()]) for left, right in data.pairs]
    expected = by_hand(pairs, data.targets.tolist(), rounds=3)
    found = fit_words(data, WordModelSpec(rounds=3, min_chance=1e-9))
    cells = {(word, other): chance for word, known in found.chances.items() for other, chance in known.items()}
    assert cells == pytest.approx({key: value for key, value in expected.items() if key[1]}, abs=1e-6)
    fewer = fit_words(data, WordModelSpec(rounds=3, min_chance=0.3))
    assert {key for key, value in cells.items() if value >= 0.3} == {
        (word, other) for word, known in fewer.chances.items() for other in known
    }


def test_a_word_explains_itself_and_an_unknown_one_costs_a_floor() -> None:
    model = WordModel({"tv": {"television": 0.9, "tv": 0.1}})
    assert model.margin([("tv", "television"), ("tv", "a tv"), ("sofa", "sofa"), ("sofa", "lamp")]) == pytest.approx(
        np.log([0.9 + FLOOR, ITSELF + FLOOR, ITSELF + FLOOR, FLOOR])
    )
    assert model.margin([("", "lamp")])[0] == pytest.approx(np.log(FLOOR))
    assert model.margin([]).shape == (0,)


def test_nothing_right_is_nothing_to_learn_from() -> None:
    with pytest.raises(BadInput, match="no right pair"):
        fit_words(JudgedPairs(["q"], [("red", "lamp")], np.zeros(1)), WordModelSpec())


def test_the_file_keeps_the_model_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    model = fit_words(bought(), WordModelSpec())
    for name in ("a", "b"):
        model.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_words(tmp_path / "a") == model
    WordModel({}).save(tmp_path / "empty")
    assert load_words(tmp_path / "empty").chances == {}
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes()[:-40])
    WordModel({"tv": {"television": 1.5}}).save(tmp_path / "more")
    for name in ("b", "more", "none"):
        with pytest.raises(IntegrityError, match="no word model"):
            load_words(tmp_path / name)


def test_an_artifact_blends_it_in_and_vouches_for_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tiny_cross_encoder(tmp_path / "artifact", ("red", "chottle", "slippers", "lamp"), seed=1)
    fit_words(bought(), WordModelSpec()).save(folder / WORDS)
    facts = json.loads((folder / DESCRIPTION).read_text())
    facts["files"][WORDS] = sha256_file(folder / WORDS)
    facts["blend"] = {"neural": 0.0, "lexical": 0.0, "words": 1.0, "bias": 0.0}
    write_json(folder / DESCRIPTION, facts)
    assert WORDS in artifact_files(folder)
    encoder = OnnxCrossEncoder(folder)
    pairs = [("red chottle", "slippers red"), ("red chottle", "lamp red")]
    expected = 1 / (1 + np.exp(-load_words(folder / WORDS).margin(pairs)))
    assert encoder.score(pairs) == pytest.approx(expected, abs=1e-6)
    assert expected[0] > expected[1]
    assert PairConfig.read(folder / DESCRIPTION).described()["blend"] == facts["blend"]

    def never(*_: object) -> None:
        raise AssertionError("the network weighs nothing and ran")

    monkeypatch.setattr(encoder, "_logits", never)
    assert encoder.score(pairs) == pytest.approx(expected, abs=1e-6)
    WordModel({}).save(folder / WORDS)
    with pytest.raises(IntegrityError, match=r"words\.npz is not the file"):
        OnnxCrossEncoder(folder)
