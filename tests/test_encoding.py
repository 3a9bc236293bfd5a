"""Texts to vectors: what an encoder promises, and which broken folders it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rankops.encoding import EncoderConfig, OnnxEncoder
from rankops.errors import BadInput, IntegrityError
from rankops.files import combine_digests, file_digests, sha256_file, write_json
from tests.support.tiny_artifact import SPECIAL, make_tiny_artifact, write_tokenizer

WORDS = ["red", "blue", "green", "shoe", "lamp", "chair"]
TEXTS = ["red shoe", "lamp", "green green chair lamp red", "", "blue chair"]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return make_tiny_artifact(tmp_path / "artifact", WORDS, seed=3)


def describe(folder: Path, **changes: object) -> None:
    """Rewrite fields of ``encoder.json``; None removes one."""
    facts = json.loads((folder / "encoder.json").read_text()) | changes
    write_json(folder / "encoder.json", {name: value for name, value in facts.items() if value is not None})


def edit_model(folder: Path, change) -> None:
    """Apply ``change`` to the weights of ``model.onnx``."""
    model = onnx.load(str(folder / "model.onnx"))
    for tensor in model.graph.initializer:
        values = change(numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(folder / "model.onnx"))


def test_vectors_are_unit_float32_rows_in_input_order(artifact: Path) -> None:
    encoder = OnnxEncoder(artifact)
    vectors = encoder.encode(TEXTS, role="product")
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimension) == (5, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.array_equal(encoder.encode([text], role="product")[0], vector)


def test_a_vector_is_the_mean_of_the_models_token_vectors(artifact: Path) -> None:
    table = numpy_helper.to_array(onnx.load(str(artifact / "model.onnx")).graph.initializer[0])
    ids = [SPECIAL.index("[CLS]"), len(SPECIAL) + 0, len(SPECIAL) + 3, SPECIAL.index("[SEP]")]
    mean = table[ids].mean(axis=0)
    expected = mean / np.linalg.norm(mean)
    assert OnnxEncoder(artifact).encode(["Red SHOE"], role="query")[0] == pytest.approx(expected, abs=1e-6)


def test_no_texts_give_no_rows(artifact: Path) -> None:
    assert OnnxEncoder(artifact).encode([], role="query").shape == (0, 32)


@pytest.mark.parametrize("options", [{"threads": 3}, {"batch_tokens": 8}, {"batch_tokens": 500, "threads": 2}])
def test_threads_and_padded_batches_change_nothing(artifact: Path, options: dict) -> None:
    texts = [" ".join(WORDS[: 1 + n % 6]) for n in range(50)]
    alone = OnnxEncoder(artifact).encode(texts, role="product")
    assert OnnxEncoder(artifact, **options).encode(texts, role="product") == pytest.approx(alone, abs=1e-6)


def test_one_encoder_serves_many_threads(artifact: Path) -> None:
    encoder = OnnxEncoder(artifact)
    expected = encoder.encode(TEXTS, role="query")
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: encoder.encode(TEXTS, role="query"), range(64)):
            assert np.array_equal(answer, expected)


def test_truncation_is_the_roles_own_and_the_files_padding_is_off(artifact: Path) -> None:
    describe(artifact, max_query_tokens=4, max_product_tokens=6)
    encoder = OnnxEncoder(artifact)
    long, short = "red shoe lamp chair blue", "red shoe"  # two words and two special tokens fit in four

    def same(a: str, b: str, role: str) -> bool:
        return np.allclose(encoder.encode([a], role=role), encoder.encode([b], role=role), atol=1e-6)

    assert same(long, short, "query")
    assert not same(long, short, "product")
    assert same(long, "red shoe lamp chair", "product")


def test_the_first_token_is_taken_where_the_description_says_cls(artifact: Path) -> None:
    describe(artifact, pooling="cls")
    vectors = OnnxEncoder(artifact).encode(["red", "blue"], role="query")
    assert vectors[0] == pytest.approx(vectors[1])  # both start with [CLS], and this model has no context


def test_a_vector_that_the_graph_makes_itself_is_taken_as_it_is(artifact: Path) -> None:
    model = onnx.load(str(artifact / "model.onnx"))
    expected = OnnxEncoder(artifact).encode(TEXTS[:3], role="query")
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["last_hidden_state"], ["v"], axes=[1], keepdims=0))
    model.graph.node.append(onnx.helper.make_node("Identity", ["v"], ["sentence_embedding"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("sentence_embedding", 1, ["batch", 32]))
    onnx.save(model, str(artifact / "model.onnx"))
    describe(artifact, pooling="in-graph")
    assert OnnxEncoder(artifact).encode(TEXTS[:3], role="query") == pytest.approx(expected, abs=1e-6)


def test_a_graph_without_the_promised_vector_is_refused(artifact: Path) -> None:
    describe(artifact, pooling="in-graph")
    with pytest.raises(IntegrityError, match="sentence_embedding"):
        OnnxEncoder(artifact)


def test_the_digest_names_the_three_files(artifact: Path) -> None:
    assert OnnxEncoder(artifact).digest == combine_digests(file_digests(artifact))
    (artifact / "compression.json").write_text("{}")  # a measurement is not part of the encoder
    assert OnnxEncoder(artifact).digest != combine_digests(file_digests(artifact))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "encoder.json"])
def test_a_missing_or_broken_file_is_named(artifact: Path, name: str) -> None:
    whole = (artifact / name).read_bytes()
    (artifact / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match=name):
        OnnxEncoder(artifact)
    (artifact / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        OnnxEncoder(artifact)


@pytest.mark.parametrize("field", ["pooling", "dimension", "max_query_tokens"])
def test_a_field_that_is_missing_from_the_description_is_named(artifact: Path, field: str) -> None:
    describe(artifact, **{field: None})
    with pytest.raises(IntegrityError, match=field):
        EncoderConfig.read(artifact / "encoder.json")


def test_an_unknown_pooling_is_refused(artifact: Path) -> None:
    describe(artifact, pooling="max")
    with pytest.raises(IntegrityError, match="'max'"):
        OnnxEncoder(artifact)


def test_a_model_that_answers_nan_is_refused(artifact: Path) -> None:
    def poison(values: np.ndarray) -> np.ndarray:
        values[len(SPECIAL)] = np.nan  # the word "red"
        return values

    edit_model(artifact, poison)
    encoder = OnnxEncoder(artifact)
    assert encoder.encode(["blue"], role="query").shape == (1, 32)
    with pytest.raises(IntegrityError, match=r"model\.onnx answered with NaN"):
        encoder.encode(["blue", "red", "lamp"], role="query")


def test_a_tokenizer_with_another_vocabulary_is_refused(artifact: Path) -> None:
    write_tokenizer(artifact / "tokenizer.json", [*SPECIAL, *(f"filler{n}" for n in range(99)), *WORDS])
    with pytest.raises(IntegrityError, match=r"cannot run what .*tokenizer\.json makes"):
        OnnxEncoder(artifact).encode(["red shoe"], role="query")


def test_a_wrong_tokenizer_is_refused_at_loading_where_the_description_names_its_digest(artifact: Path) -> None:
    digests = {name: sha256_file(artifact / name) for name in ("model.onnx", "tokenizer.json")}
    describe(artifact, files=digests)
    OnnxEncoder(artifact)
    write_tokenizer(artifact / "tokenizer.json", [*SPECIAL, *reversed(WORDS)])  # runs, and means something else
    with pytest.raises(IntegrityError, match=r"tokenizer\.json is not the file"):
        OnnxEncoder(artifact)


def test_a_description_of_another_width_is_refused(artifact: Path) -> None:
    describe(artifact, dimension=64)
    with pytest.raises(IntegrityError, match=r"vectors of 32.* says 64"):
        OnnxEncoder(artifact).encode(["red"], role="query")


def test_a_provider_that_is_not_installed_is_bad_input(artifact: Path) -> None:
    with pytest.raises(BadInput, match="NoSuchExecutionProvider"):
        OnnxEncoder(artifact, providers=["NoSuchExecutionProvider"])


def test_importing_it_loads_nothing_that_trains() -> None:
    code = (
        "import sys, rankops.encoding;"
        "print([m for m in ('torch', 'transformers', 'polars', 'pandas', 'optimum') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_session_that_fell_back_from_the_gpu_in_silence_is_refused(monkeypatch):
    from rankops import onnx_session

    class FellBack:
        def __init__(self, *_: object, **__: object) -> None: ...
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    preloaded = []
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(onnx_session.ort, "get_available_providers", lambda: list(wanted))
    monkeypatch.setattr(onnx_session.ort, "preload_dlls", lambda: preloaded.append(True))
    monkeypatch.setattr(onnx_session.ort, "InferenceSession", FellBack)
    with pytest.raises(BadInput, match="cannot be started here"):
        onnx_session.open_session(Path("model.onnx"), wanted)
    assert preloaded == [True]
