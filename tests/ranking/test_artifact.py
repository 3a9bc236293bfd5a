"""An artifact folder on its own, made by hand: numpy, onnxruntime and tokenizers are all it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rankops.cross_encoding import OnnxCrossEncoder, artifact_digest
from rankops.errors import BadInput, IntegrityError
from tests.support.tiny_cross_encoder import make_tiny_cross_encoder

WORDS = ("red", "blue", "shoe", "lamp", "boot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("tiny") / "artifact", WORDS, seed=1)


def test_shared_words_raise_the_score_and_neighbours_do_not_change_it(folder: Path) -> None:
    encoder = OnnxCrossEncoder(folder)
    pairs = [("red shoe", "shoe red"), ("red shoe", "blue lamp"), ("boot", "boot boot blue lamp")]
    scores = encoder.score(pairs)
    assert scores[0] > scores[1]
    assert np.array_equal(scores, [encoder.score([pair])[0] for pair in pairs])
    batched = OnnxCrossEncoder(folder, threads=2, batch_tokens=64)
    np.testing.assert_allclose(batched.score(pairs), scores, atol=1e-6)
    assert encoder.score([]).shape == (0,)


def test_both_orders_make_the_score_symmetric(folder: Path, tmp_path: Path) -> None:
    copy = make_tiny_cross_encoder(tmp_path / "both", WORDS, seed=1, both_orders=True)
    left, right = OnnxCrossEncoder(copy).score([("red shoe", "blue"), ("blue", "red shoe")])
    assert left == right
    one, other = OnnxCrossEncoder(folder).score([("red shoe", "blue"), ("blue", "red shoe")])
    assert one != other


def test_products_are_ordered_by_score_then_id(folder: Path) -> None:
    ids, scores = OnnxCrossEncoder(folder).rank("red shoe", ["b", "a", "c"], ["lamp", "lamp", "red shoe"], 2)
    assert ids == ["c", "a"] and scores == sorted(scores, reverse=True)


def test_a_changed_or_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    folder = make_tiny_cross_encoder(tmp_path / "artifact", WORDS, seed=1)
    before = artifact_digest(folder)
    assert before == OnnxCrossEncoder(folder).digest
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace("lamp", "lump"))
    assert artifact_digest(folder) != before
    with pytest.raises(IntegrityError, match=r"tokenizer\.json is not the file"):
        OnnxCrossEncoder(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"model\.onnx is missing"):
        OnnxCrossEncoder(folder)


def test_a_description_that_is_none_and_an_absent_provider_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = make_tiny_cross_encoder(tmp_path / "artifact", WORDS, seed=1)
    facts = json.loads((copy / "cross_encoder.json").read_text())
    (copy / "cross_encoder.json").write_text(json.dumps({**facts, "blend": {"neural": 1, "visual": 2}}))
    with pytest.raises(IntegrityError, match="not a cross-encoder description"):
        OnnxCrossEncoder(copy)
    with pytest.raises(BadInput, match="NoSuchProvider"):
        OnnxCrossEncoder(folder, providers=("NoSuchProvider",))


def test_the_server_side_loads_nothing_that_trains() -> None:
    code = (
        "import sys, rankops.cross_encoding, rankops.serving.rerank, rankops.release.ranking;"
        "print([m for m in ('torch', 'transformers', 'sklearn', 'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
