"""Which matrices int8 serves badly: found by measuring what each of them costs, all others left in fp32."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankops.compression.feeds import feeds
from rankops.compression.matrices import constants, products
from rankops.compression.targets import available_cores
from rankops.errors import BadInput
from rankops.files import sha256_file
from rankops.onnx_session import quiet_session

SHARE = 0.5
"""The most sensitive matrices are the fewest that together cause this share of the loss."""
_TEXTS = 24
SCAN = "sensitivity.json"


@dataclass(frozen=True)
class Sensitivity:
    """``loss`` is 1 - mean cosine to fp32 over the scanned texts when only this node is in int8."""

    node: str
    kind: str
    loss: float


def matrices_after_gelu(model: Path) -> list[str]:
    """Names of the MatMul nodes of a fused graph that read the output of a GELU node, smoothed or not.

    Raises :class:`BadInput` where there is none: the rung would be the same as the one without exclusions.
    """
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    fixed = constants(graph)
    activated: set[str] = set()
    names = []
    for node in graph.node:
        after = activated & set(node.input)
        if node.op_type.endswith("Gelu") or (node.op_type == "Mul" and after and fixed & set(node.input)):
            activated |= set(node.output)
        elif node.op_type == "MatMul" and after:
            names.append(node.name)
    if not names:
        raise BadInput("the graph has no matrix behind a GELU", "nothing to do: this rung is only for such models")
    return names


def most_sensitive(base: Path, texts: Sequence[Any], *, per_channel: bool = True, share: float = SHARE) -> list[str]:
    """The fewest nodes of ``base/model.onnx`` that cause ``share`` of the summed loss, most sensitive first."""
    found = [entry for entry in scan(base, texts, per_channel=per_channel) if entry.kind == "MatMul"]
    total = sum(entry.loss for entry in found)
    if total <= 0:
        raise BadInput("no matrix of the graph loses anything in int8", "nothing to spare: take the rung without")
    names: list[str] = []
    reached = 0.0
    for entry in found:
        if reached >= share * total:
            break
        names.append(entry.node)
        reached += entry.loss
    return names


def scan(base: Path, texts: Sequence[Any], *, per_channel: bool = True) -> list[Sensitivity]:
    """Every matrix of ``base/model.onnx`` with what int8 costs there, most sensitive first.

    Weights and inputs of one node at a time are rounded as dynamic int8 rounds them (weights symmetric, inputs by the
    run's own range); the result is remembered beside the graph, for these very bytes of it. Raises :class:`BadInput`
    without texts.
    """
    if not texts:
        raise BadInput("a sensitivity scan needs texts", "give the workshop real queries and product texts")
    memory, graph = base / SCAN, sha256_file(base / "model.onnx")
    if memory.is_file() and (known := json.loads(memory.read_text()))["graph"] == graph:
        return [Sensitivity(**entry) for entry in known["found"]]
    import onnx

    model = onnx.load(str(base / "model.onnx"))
    samples = feeds(base, texts[:: max(1, len(texts) // _TEXTS)][:_TEXTS])
    reference = _vectors(model, samples)
    nodes = products(model.graph)

    def loss(node: Any) -> Sensitivity:
        cosine = np.einsum("ij,ij->i", reference, _vectors(_rounded(model, node.name, per_channel), samples))
        return Sensitivity(node.name, node.op_type, max(0.0, float(1 - cosine.mean())))

    with ThreadPoolExecutor(available_cores()) as pool:
        found = sorted(pool.map(loss, nodes), key=lambda entry: (-entry.loss, entry.node))
    memory.write_text(json.dumps({"graph": graph, "found": [asdict(entry) for entry in found]}))
    return found


def _rounded(model: Any, name: str, per_channel: bool) -> Any:
    """A copy of the model in which one node computes with rounded weights and inputs. Other tensors are shared."""
    import onnx
    from onnx import helper, numpy_helper

    node = next(node for node in model.graph.node if node.name == name)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    values = numpy_helper.to_array(weight)
    scale = np.maximum(np.abs(values).max(axis=0 if per_channel else None), 1e-12) / np.float32(127)
    rounded = (np.round(values / scale) * scale).astype(np.float32)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.initializer.append(numpy_helper.from_array(rounded, f"{weight.name}.rounded"))
    parts = [f"rounded.{part}" for part in ("q", "scale", "zero")]
    inputs = [
        helper.make_node("DynamicQuantizeLinear", [node.input[0]], parts),
        helper.make_node("DequantizeLinear", parts, ["rounded.input"]),
    ]
    place = next(place for place, other in enumerate(copy.graph.node) if other.name == name)
    copy.graph.node[place].input[0] = "rounded.input"
    copy.graph.node[place].input[1] = f"{weight.name}.rounded"
    nodes = [*copy.graph.node[:place], *inputs, *copy.graph.node[place:]]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _vectors(model: Any, samples: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """Unit rows whose products say how alike two models are.

    One row a text, the mean of its tokens' vectors; for a model that answers with one logit, one row of the centred
    logits of all texts, so that the product is their correlation.
    """
    session = quiet_session(model.SerializeToString())
    rows = []
    for feed in samples:
        output = session.run(None, feed)[0]
        rows.append(output[0].mean(axis=0) if output.ndim == 3 else output[0])
    found = np.stack(rows)
    if found.shape[1] == 1:
        found = (found - found.mean()).T
    normalized: np.ndarray = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return normalized
