"""SmoothQuant: outliers of activations moved into the weights, where int8 per channel has a scale for each.

Dynamic int8 gives a whole text one range, so a channel that is always large leaves few steps to all others. Each
input channel ``j`` of a matrix is divided by ``s_j = max|x_j|^a / max|w_j|^(1 - a)`` and row ``j`` of the weights
multiplied by it, which computes the same in fp32 (Xiao et al., "SmoothQuant", ICML 2023, eq. 4; the maxima are those of
real texts). The residual stream needs the undivided values too, so the division is a node of its own and not folded
into the layer norm. Measured on all-MiniLM-L6-v2 over Icecat's products: mean distance to fp32 (1 - cosine) 0.0019
where plain int8 has 0.0059. The divisions cost little beside a product's text (2.65 against 2.64 ms) and a tenth to a
fifth of a query's time.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankops.compression.feeds import feeds
from rankops.compression.matrices import NO_MATRIX, constants, products
from rankops.errors import BadInput

MIGRATION = 0.75
"""The exponent ``a``: how much of the difficulty goes into the weights. 0.5 to 0.9 were tried on Icecat's products."""
_LEAST = 1e-5


def smooth(base: Path, out: Path, texts: Sequence[Any], *, migration: float = MIGRATION) -> Path:
    """Write ``base/model.onnx`` with smoothed inputs of its constant matrices to ``out``, beside its other files.

    Raises :class:`BadInput` without texts, or for a graph that multiplies by no constant matrix.
    """
    import onnx

    if not texts:
        raise BadInput("smoothing needs texts", "give the workshop real queries and product texts")
    model = onnx.load(str(base / "model.onnx"))
    readers = _readers(model.graph)
    if not readers:
        raise BadInput(*NO_MATRIX)
    _rewrite(model.graph, readers, _largest(model, feeds(base, texts), list(readers)), migration)
    out.mkdir(parents=True, exist_ok=True)
    for path in base.iterdir():
        if path.is_file() and path.suffix == ".json":
            shutil.copyfile(path, out / path.name)
    onnx.save(model, str(out / "model.onnx"))
    return out


def _readers(graph: Any) -> dict[str, list[Any]]:
    """The nodes that multiply a tensor by a constant matrix, by that tensor."""
    fixed = constants(graph)
    found: dict[str, list[Any]] = {}
    for node in products(graph):
        if node.input[0] not in fixed:
            found.setdefault(node.input[0], []).append(node)
    return found


def _largest(model: Any, samples: Sequence[dict[str, np.ndarray]], tensors: Sequence[str]) -> dict[str, np.ndarray]:
    """The largest magnitude of each channel of each tensor, ``(channels,)``, over all tokens of all samples."""
    import onnx
    from onnx import helper

    from rankops.onnx_session import quiet_session

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors)
    session = quiet_session(watched.SerializeToString())
    largest: dict[str, np.ndarray] = {}
    for sample in samples:
        for name, values in zip(tensors, session.run(list(tensors), sample), strict=True):
            channels = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, channels), channels)
    return largest


def _rewrite(graph: Any, readers: dict[str, list[Any]], largest: dict[str, np.ndarray], migration: float) -> None:
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {output: place for place, node in enumerate(graph.node) for output in node.output}
    divisions: dict[int, list[Any]] = {}
    for tensor, nodes in readers.items():
        names = list(dict.fromkeys(node.input[1] for node in nodes))
        matrices = {name: numpy_helper.to_array(weights[name]) for name in names}
        scale = _scale(largest[tensor], list(matrices.values()), migration)
        for name, matrix in matrices.items():
            graph.initializer.append(numpy_helper.from_array(matrix * scale[:, None], f"{name}.{tensor}.smooth"))
        graph.initializer.append(numpy_helper.from_array(1 / scale, f"{tensor}.smooth.by"))
        division = helper.make_node("Mul", [tensor, f"{tensor}.smooth.by"], [f"{tensor}.smooth"], f"{tensor}/smooth")
        divisions.setdefault(made.get(tensor, -1), []).append(division)
        for node in nodes:
            node.input[0], node.input[1] = f"{tensor}.smooth", f"{node.input[1]}.{tensor}.smooth"
    ordered = list(divisions.get(-1, []))
    for place, node in enumerate(graph.node):
        ordered += [node, *divisions.get(place, [])]
    del graph.node[:]
    graph.node.extend(ordered)
    used = {name for node in ordered for name in node.input}
    for unused in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(unused)


def _scale(largest: np.ndarray, matrices: Sequence[np.ndarray], migration: float) -> np.ndarray:
    """float32 ``(channels,)`` with geometric mean 1."""
    rows = np.maximum(np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0), _LEAST)
    scale = np.maximum(largest, _LEAST) ** migration / rows ** (1 - migration)
    balanced: np.ndarray = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
    return balanced
