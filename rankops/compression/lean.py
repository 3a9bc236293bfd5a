"""What a lean graph computes in other nodes: folded embeddings, and attention with its projection apart.

The embeddings are one table look-up and one sum instead of three of each. A bi-encoder reads one segment, so every
token has type 0 and the position's and the type's vectors can be added once and for all. ``token_type_ids`` then is no
input any more. Graphs whose embeddings look otherwise (RoBERTa counts its positions from the mask) stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankops.errors import BadInput

_TYPES = "token_type_ids"
_ATTENTION_INPUTS = 4


@dataclass(frozen=True)
class _Embeddings:
    """What was found: where the sum goes, the words' table and the sum of the two others ``(positions, d)``."""

    total: str
    words: str
    rest: np.ndarray


def fold_embeddings(path: Path) -> bool:
    """Rewrite ``path`` with folded embeddings and return True; False where its embeddings are not BERT's."""
    import onnx

    model = onnx.load(str(path))
    found = _find(model.graph)
    if found is None:
        return False
    _rewrite(model.graph, found)
    onnx.checker.check_model(model, full_check=False)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return True


def split_attention(path: Path) -> None:
    """Rewrite each fused ``Attention`` of ``path`` as a product with a constant matrix and ``MultiHeadAttention``.

    ONNX Runtime quantizes the fused node per text only; the product alone can be treated in blocks. The same numbers,
    as fast in fp32. Raises :class:`BadInput` where there is no such node.
    """
    import onnx

    model = onnx.load(str(path))
    nodes = [part for node in model.graph.node for part in _split(node)]
    if len(nodes) == len(model.graph.node):
        raise BadInput("the lean graph has no fused attention", "nothing to do: this rung is for graphs that have it")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _split(node: Any) -> list[Any]:
    """The nodes that compute what a fused attention computes (inputs: hidden, weights, bias, mask); else the node."""
    from onnx import helper

    if node.op_type != "Attention" or len(node.input) > _ATTENTION_INPUTS:
        return [node]
    hidden, weights, bias, *mask = node.input
    name = node.name
    heads = next(attribute.i for attribute in node.attribute if attribute.name == "num_heads")
    parts = [f"{name}.{part}" for part in ("query", "key", "value")]
    return [
        helper.make_node("MatMul", [hidden, weights], [f"{name}.projected"], f"{name}/projection"),
        helper.make_node("Split", [f"{name}.projected"], parts, f"{name}/split", axis=2, num_outputs=len(parts)),
        helper.make_node(
            "MultiHeadAttention",
            [*parts, bias, *mask],
            list(node.output),
            f"{name}/heads",
            domain="com.microsoft",
            num_heads=heads,
        ),
    ]


def _find(graph: Any) -> _Embeddings | None:
    from onnx import numpy_helper

    made = {output: node for node in graph.node for output in node.output}
    values = {tensor.name: tensor for tensor in graph.initializer}
    norm = next((node for node in graph.node if node.op_type == "LayerNormalization"), None)
    tables = {} if norm is None else _tables(norm.input[0], made, values)
    if norm is None or set(tables) != {"words", "types", "positions"}:
        return None
    order = numpy_helper.to_array(values[made[made[tables["positions"]].input[1]].input[0]])[0]
    positions, types = (numpy_helper.to_array(values[made[tables[name]].input[0]]) for name in ("positions", "types"))
    return _Embeddings(norm.input[0], made[tables["words"]].input[0], (positions[order] + types[0]).astype(np.float32))


def _tables(total: str, made: dict[str, Any], values: dict[str, Any]) -> dict[str, str]:
    """The outputs of the look-ups that are added up to ``total``, by what they look up."""
    node = made.get(total)
    if node is None:
        return {}
    if node.op_type == "Add":
        return {name: output for side in node.input for name, output in _tables(side, made, values).items()}
    if node.op_type != "Gather" or node.input[0] not in values:
        return {}
    if node.input[1] == "input_ids":
        return {"words": total}
    if node.input[1] == _TYPES:
        return {"types": total}
    asked = made.get(node.input[1])
    constant = asked is not None and asked.op_type == "Slice" and asked.input[0] in values
    return {"positions": total} if constant else {}


def _rewrite(graph: Any, found: _Embeddings) -> None:
    from onnx import helper, numpy_helper

    graph.initializer.append(numpy_helper.from_array(found.rest, "embeddings.rest"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "embeddings.first"))
    nodes = [
        helper.make_node("Gather", [found.words, "input_ids"], ["embeddings.word"], "embeddings/words", axis=0),
        helper.make_node("Shape", ["input_ids"], ["embeddings.length"], "embeddings/length", start=1, end=2),
        helper.make_node(
            "Slice",
            ["embeddings.rest", "embeddings.first", "embeddings.length"],
            ["embeddings.rest_here"],
            "embeddings/rest",
        ),
        helper.make_node("Add", ["embeddings.word", "embeddings.rest_here"], [found.total], "embeddings/sum"),
    ]
    kept = _needed([*nodes, *(node for node in graph.node if found.total not in node.output)], graph)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    for field in (graph.initializer, graph.input):
        unused = [entry for entry in field if entry.name not in used]
        for entry in unused:
            field.remove(entry)


def _needed(nodes: list[Any], graph: Any) -> list[Any]:
    """The nodes that the outputs depend on, in their order."""
    wanted = {output.name for output in graph.output}
    kept: list[Any] = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
