"""The nodes of a graph that multiply, told apart by whether their right side is a matrix of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PRODUCTS = ("MatMul", "Attention")
NO_MATRIX = ("the graph has no product with a constant matrix", "nothing to do: this rung is for such models")
"""Problem and remedy of a rung that has nothing to treat."""


def constants(graph: Any) -> set[str]:
    """Names of the tensors that are part of the graph."""
    return {tensor.name for tensor in graph.initializer}


def products(graph: Any, kinds: Sequence[str] = PRODUCTS, *, constant: bool = True) -> list[Any]:
    """The nodes of ``kinds`` whose right side is, or is not, a matrix of weights, in the graph's order."""
    weights = constants(graph)
    return [node for node in graph.node if node.op_type in kinds and (node.input[1] in weights) is constant]
