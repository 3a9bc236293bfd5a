"""The sequential part of a next-item checkpoint in PyTorch: the network, what evaluation measures with, its export.

A causal transformer over products (Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018; blocks of
Vaswani et al. 2017, normalized before each part). A product's vector is the sum of a learned one and a projection of
its text's, both in the table that is looked up and in the one that answers are scored with: a product that never sold
has only the second, and so has a place. The score of a product adds the logarithm of one plus its sales, which the
network need not learn.

A checkpoint holds ``sequence.safetensors`` beside the files of :mod:`rankops.next_item`.
Importing this module imports PyTorch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from rankops.errors import IntegrityError
from rankops.files import canonical_json, write_bytes
from rankops.next_item import NextItemModel, load_next_item
from rankops.sequence import GRAPH, ITEMS, PROBABILITIES, SequenceConfig

WEIGHTS = "sequence.safetensors"
_TOLD = "rankops"
_OPSET = 17


@dataclass(frozen=True)
class Shape:
    """Of a network: width, blocks, heads of each, products that are read, and whether their order counts."""

    dimension: int
    layers: int
    heads: int
    length: int
    positions: bool


class Block(nn.Module):
    """Attention to what came before, then two dense layers; each adds to what it read."""

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.dense_norm = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.into, self.out_of = nn.Linear(dimension, 3 * dimension), nn.Linear(dimension, dimension)
        self.wide, self.narrow = nn.Linear(dimension, 4 * dimension), nn.Linear(4 * dimension, dimension)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, hidden: Tensor) -> Tensor:
        """``(b, t, d)`` to the same; ``hidden`` is bool ``(t, t)``: what each position must not see."""
        attended = self._attend(self.attention_norm(states), hidden)
        states = states + self.dropout(self.out_of(attended))
        dense = self.narrow(self.dropout(functional.gelu(self.wide(self.dense_norm(states)))))
        return cast("Tensor", states + self.dropout(dense))

    def _attend(self, states: Tensor, hidden: Tensor) -> Tensor:
        batch, length, dimension = states.shape
        parts = self.into(states).view(batch, length, 3, self.heads, dimension // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        scores = query @ key.transpose(-1, -2) / (dimension // self.heads) ** 0.5
        shares = self.dropout(scores.masked_fill(hidden, float("-inf")).softmax(-1))
        return (shares @ value).transpose(1, 2).reshape(batch, length, dimension)


class SequenceNetwork(nn.Module):
    """See the module. ``vectors`` float32 ``(n, text dimension)``, ``sales`` float ``(n,)``.

    Product ``n`` is padding, which stands after a sequence and so is seen by none of its products.
    """

    text_vectors: Tensor
    sales: Tensor

    def __init__(
        self, vectors: Tensor, sales: Tensor, shape: Shape, *, dropout: float = 0.0, forget: float = 0.0
    ) -> None:
        super().__init__()
        self.shape, self.forget = shape, forget
        self.register_buffer("text_vectors", vectors)
        self.register_buffer("sales", sales.float())
        self.learned = nn.Parameter(torch.randn(len(vectors), shape.dimension) * 0.02)
        self.text = nn.Linear(vectors.shape[1], shape.dimension, bias=False)
        self.places = nn.Parameter(torch.zeros(shape.length, shape.dimension)) if shape.positions else None
        self.blocks = nn.ModuleList(Block(shape.dimension, shape.heads, dropout) for _ in range(shape.layers))
        self.norm, self.dropout = nn.LayerNorm(shape.dimension), nn.Dropout(dropout)

    def table(self) -> Tensor:
        """``(n, d)``: the products' vectors. In training a share ``forget`` of them is by text alone, as a new
        product's is, so that the text's part learns to stand alone."""
        keep = (self.sales > 0).float()
        if self.training and self.forget:
            keep = keep * (torch.rand(len(keep), device=keep.device) >= self.forget)
        return self.learned * keep[:, None] + self.text(self.text_vectors)

    def states(self, items: Tensor, table: Tensor) -> Tensor:
        """int64 ``(b, t)`` to ``(b, t, d)``: what each position expects next."""
        padded = functional.pad(table, (0, 0, 0, 1))
        states = functional.embedding(items, padded) * table.shape[1] ** 0.5
        length = items.shape[1]
        if self.places is not None:
            states = states + self.places[:length]
        hidden = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        states = self.dropout(states)
        for block in self.blocks:
            states = block(states, hidden)
        return cast("Tensor", self.norm(states))

    def scores(self, states: Tensor, table: Tensor) -> Tensor:
        """``(..., d)`` to ``(..., n)``: logits of the next product."""
        return states @ table.T + torch.log1p(self.sales)


class Answering(nn.Module):
    """A network whose table is fixed: what answers, and what is exported."""

    table: Tensor

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()  # whole, for an export leaves the mode as it found it
        with torch.no_grad():
            self.register_buffer("table", network.table())

    def forward(self, items: Tensor) -> Tensor:
        """int64 ``(1, t)`` to float32 ``(n,)``: probabilities of what comes after the last."""
        states = self.network.states(items, self.table)[0, -1]
        return self.network.scores(states, self.table).softmax(-1)


@dataclass(frozen=True)
class TorchSequence:
    """Implements :class:`rankops.sequence.SequenceScorer` over a network."""

    config: SequenceConfig
    network: SequenceNetwork

    @cached_property
    def answering(self) -> Answering:
        """The network as it answers."""
        return Answering(self.network)

    def probabilities(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """See :class:`rankops.sequence.SequenceScorer`."""
        with torch.inference_mode():
            return cast("NDArray[np.float32]", self.answering(torch.tensor([[*rows][-self.config.length :]])).numpy())

    def save(self, folder: Path) -> None:
        """Write ``sequence.safetensors`` into a folder; its metadata holds the configuration."""
        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        told = canonical_json({"config": asdict(self.config), "shape": asdict(self.network.shape)})
        write_bytes(folder / WEIGHTS, save(tensors, {_TOLD: told}))

    def export(self, folder: Path) -> None:
        """Write ``sequence.onnx`` and ``sequence.json`` of an artifact."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's notes on shapes
            torch.onnx.export(
                self.answering,
                (torch.zeros(1, 2, dtype=torch.int64),),
                folder / GRAPH,
                input_names=[ITEMS],
                output_names=[PROBABILITIES],
                dynamic_axes={ITEMS: {1: "length"}},
                opset_version=_OPSET,
                dynamo=False,  # the other exporter needs a package more, and unrolls nothing better here
            )
        self.config.save(folder)


def load_checkpoint(folder: Path) -> NextItemModel:
    """A next-item checkpoint, with its sequential part where it has one.

    Raises :class:`IntegrityError` naming the file that is wrong.
    """
    return replace(load_next_item(folder), sequence=_load(folder / WEIGHTS))


def _load(path: Path) -> TorchSequence | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as held:
            told = json.loads(held.metadata()[_TOLD])
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - it is no mapping
        network = SequenceNetwork(tensors["text_vectors"], tensors["sales"], Shape(**told["shape"]))
        network.load_state_dict(tensors)
    except Exception as error:  # safetensors and PyTorch share no narrower base class
        raise IntegrityError(f"{path} cannot be read: {error!r}", "rematerialize the checkpoint") from error
    return TorchSequence(SequenceConfig(**told["config"]), network)
