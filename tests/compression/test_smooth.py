"""Smoothing moves outliers into the weights: nothing changes in fp32, and int8 comes nearer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rankops.compression.feeds import feeds
from rankops.compression.rungs import Workshop
from rankops.compression.smooth import smooth
from rankops.errors import BadInput
from rankops.onnx_session import quiet_session

TEXTS = ["red shoe", "blue lamp for garden", "green chair", "black phone", "white bag", "knife"]
CHANNEL, FACTOR = 3, np.float32(200)


@pytest.fixture(scope="module")
def workshop(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(checkpoint, tmp_path_factory.mktemp("smooth"), "cpu-avx512-vnni", texts=TEXTS)


def vectors(folder: Path) -> np.ndarray:
    session = quiet_session((folder / "model.onnx").read_bytes())
    rows = np.stack([session.run(None, sample)[0][0].mean(axis=0) for sample in feeds(folder, TEXTS)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def distance(left: Path, right: Path) -> float:
    return float(1 - np.vecdot(vectors(left), vectors(right)).mean())


def with_an_outlier(source: Path, out: Path) -> Path:
    """One channel behind each GELU is 200 times as large, and its weights as much smaller: the same answers."""
    shutil.copytree(source, out)
    model = onnx.load(str(out / "model.onnx"))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    activated = {output: node for node in model.graph.node if node.op_type.endswith("Gelu") for output in node.output}
    place = 0
    for node in list(model.graph.node):
        if node.op_type == "MatMul" and node.input[0] in activated:
            tensor = weights[node.input[1]]
            matrix = numpy_helper.to_array(tensor).copy()
            matrix[CHANNEL] /= FACTOR
            tensor.CopyFrom(numpy_helper.from_array(matrix, tensor.name))
            scale = np.ones(len(matrix), np.float32)
            scale[CHANNEL] = FACTOR
            model.graph.initializer.append(numpy_helper.from_array(scale, f"outlier.{place}"))
            larger = onnx.helper.make_node("Mul", [node.input[0], f"outlier.{place}"], [f"larger.{place}"])
            model.graph.node.insert(list(model.graph.node).index(node), larger)
            node.input[0] = f"larger.{place}"
            place += 1
    assert place == 2
    onnx.save(model, str(out / "model.onnx"))
    return out


def quantized(source: Path, out: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(source, out)
    quantize_dynamic(
        source / "model.onnx",
        out / "model.onnx",
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Attention"],
    )
    return out


def test_in_fp32_a_smoothed_graph_answers_as_before(workshop: Workshop, tmp_path: Path) -> None:
    lean = workshop.graph("lean")
    assert distance(lean, smooth(lean, tmp_path / "smooth", TEXTS)) == pytest.approx(0, abs=1e-6)


def test_outliers_cost_int8_less_once_they_are_in_the_weights(workshop: Workshop, tmp_path: Path) -> None:
    hard = with_an_outlier(workshop.graph("lean"), tmp_path / "hard")
    plain = distance(hard, quantized(hard, tmp_path / "plain"))
    smoothed = smooth(hard, tmp_path / "smooth", TEXTS)
    assert distance(hard, quantized(smoothed, tmp_path / "quantized")) < plain / 3


def test_texts_and_constant_matrices_are_needed(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="texts"):
        smooth(workshop.graph("lean"), tmp_path / "a", [])
    graph = onnx.helper.make_graph([], "nothing", [], [])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "model.onnx"))
    with pytest.raises(BadInput, match="constant matrix"):
        smooth(tmp_path, tmp_path / "b", TEXTS)
