"""The lean graph and what int8 spares: fewer nodes, the same vectors, and matrices chosen by measuring."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from rankops.compression.lean import fold_embeddings, split_attention
from rankops.compression.rungs import Rung, Workshop
from rankops.compression.sensitivity import most_sensitive, scan
from rankops.errors import BadInput

TEXTS = ["red shoe", "blue lamp for garden", "green chair", "black phone", "white bag", "knife"]


@pytest.fixture(scope="module")
def workshop(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(checkpoint, tmp_path_factory.mktemp("lean"), "cpu-avx512-vnni", texts=TEXTS)


def kinds(model: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(model)).graph.node)


def hidden(model: Path, ids: list[list[int]], mask: list[list[int]]) -> np.ndarray:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    values = {"input_ids": np.array(ids), "attention_mask": np.array(mask), "token_type_ids": np.zeros_like(ids)}
    feed = {tensor.name: values[tensor.name].astype(np.int64) for tensor in session.get_inputs()}
    return session.run(None, feed)[0]


def test_a_lean_graph_keeps_sums_and_norms_apart_and_answers_as_the_plain_one(workshop: Workshop) -> None:
    lean, plain = (workshop.graph(graph) / "model.onnx" for graph in ("lean", "plain"))
    found = kinds(lean)
    assert found["SkipLayerNormalization"] == 0
    assert (found["Attention"], found["LayerNormalization"]) == (2, 5)
    assert found["Gather"] == 1  # the words; positions and types are one table
    assert [tensor.name for tensor in onnx.load(str(lean)).graph.input] == ["input_ids", "attention_mask"]
    ids, mask = [[2, 4, 12, 3], [2, 5, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]]
    left, right = hidden(lean, ids, mask), hidden(plain, ids, mask)
    assert left[0] == pytest.approx(right[0], abs=2e-3)  # GELU is approximated
    assert left[1, :3] == pytest.approx(right[1, :3], abs=2e-3)


def test_a_split_graph_projects_apart_and_answers_as_the_lean_one(workshop: Workshop) -> None:
    lean, split = (workshop.graph(graph) / "model.onnx" for graph in ("lean", "split"))
    assert (kinds(split)["Attention"], kinds(split)["MultiHeadAttention"]) == (0, 2)
    ids, mask = [[2, 4, 12, 3], [2, 5, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]]
    left, right = hidden(lean, ids, mask), hidden(split, ids, mask)
    assert left[0] == pytest.approx(right[0], abs=1e-5)
    assert left[1, :3] == pytest.approx(right[1, :3], abs=1e-5)  # the padding is masked
    with pytest.raises(BadInput, match="no fused attention"):
        split_attention(split)


def test_embeddings_of_another_form_stay_as_they_are(workshop: Workshop, tmp_path: Path) -> None:
    model = onnx.load(str(workshop.graph("O1") / "model.onnx"))
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "token_type_ids":
                node.input[place] = "input_ids"  # two look-ups of words: not BERT's embeddings
    onnx.save(model, str(tmp_path / "other.onnx"))
    before = (tmp_path / "other.onnx").read_bytes()
    assert not fold_embeddings(tmp_path / "other.onnx")
    assert (tmp_path / "other.onnx").read_bytes() == before


def test_the_scan_finds_the_matrix_that_was_made_hard_to_round(workshop: Workshop, tmp_path: Path) -> None:
    source = workshop.graph("lean")
    model = onnx.load(str(source / "model.onnx"))
    node = [node for node in model.graph.node if node.op_type == "MatMul"][2]
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] += 100 * np.abs(values).max()  # one row dwarfs the others: their steps are lost in its scale
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    found = scan(tmp_path, TEXTS)
    assert found[0].node == node.name
    assert [entry.loss for entry in found] == sorted((entry.loss for entry in found), reverse=True)
    assert {entry.kind for entry in found} == {"MatMul", "Attention"}
    assert most_sensitive(tmp_path, TEXTS, share=0.01) == [node.name]
    assert (tmp_path / "sensitivity.json").is_file()  # scanned once


def test_a_scan_that_was_copied_beside_another_graph_is_not_believed(workshop: Workshop, tmp_path: Path) -> None:
    most_sensitive(workshop.graph("lean"), TEXTS)
    copied = tmp_path / "split"
    shutil.copytree(workshop.graph("lean"), copied)
    split_attention(copied / "model.onnx")
    assert {entry.kind for entry in scan(copied, TEXTS)} == {"MatMul"}


def test_rungs_that_need_texts_say_so(checkpoint: Path, tmp_path: Path) -> None:
    bare = Workshop(checkpoint, tmp_path, "cpu-avx512-vnni")
    rungs = [
        Rung("a", "int8", spared="sensitive"),
        Rung("b", "int8", "apart", calibration="minmax"),
        Rung("c", "int8", smooth=True),
    ]
    for rung in rungs:
        with pytest.raises(BadInput, match="texts"):
            bare.build(rung)


def test_blocks_replace_the_matrices_that_int8_would_have_taken(workshop: Workshop) -> None:
    mixed = kinds(workshop.build(Rung("some", "int8", spared="sensitive", bits=8)))
    every = kinds(workshop.build(Rung("all", "int8", bits=8)))
    assert 0 < mixed["MatMulNBits"] < every["MatMulNBits"] == 6
    assert mixed["MatMulNBits"] + mixed["MatMulInteger"] == 6
    assert every["QAttention"] == mixed["QAttention"] == 2
    assert len(workshop.spared["some"]) == mixed["MatMulNBits"]


def test_split_and_smoothed_every_matrix_is_in_blocks_and_words_stay_in_fp32(workshop: Workshop) -> None:
    rung = Rung("every", "int8", "split", bits=8, smooth=True, words="fp32")
    found = kinds(workshop.build(rung))
    assert (found["MatMulNBits"], found["MatMul"], found["QAttention"]) == (8, 0, 0)
    assert found["DequantizeLinear"] == 0  # the words' table
    assert "smoothed" in rung.what
    assert "fp32" in rung.what


@pytest.mark.parametrize("way", ["minmax", "entropy", "percentile"])
def test_static_ranges_come_from_real_texts_and_leave_attention_scores_alone(workshop: Workshop, way: str) -> None:
    found = kinds(workshop.build(Rung(f"static-{way}", "int8", "apart", calibration=way)))
    assert found["DynamicQuantizeLinear"] == 0
    assert found["QuantizeLinear"] > 0
    assert found["MultiHeadAttention"] == 2
