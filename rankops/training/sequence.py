"""Fitting the sequential part of a next-item model: a causal transformer over baskets (:mod:`rankops.torch_sequence`).

The order of a basket's products says little (an invoice lists them as they were keyed in), so with ``order="any"`` each
basket is shuffled anew in every epoch, and every prefix of it is asked for all products that are still to come: the
mean of their log-likelihoods, which is what the next product of a random order has on average, at less variance.
With ``order="given"`` products stay as they came, their places count, and each prefix is asked for the next one
(Kang & McAuley, ICDM 2018). The softmax is over all products that sold; baskets fade with age as in the item-item part.

State is written after each epoch, and all that an epoch draws follows from the seed and its number: a run that was
killed goes on from its last epoch to the same bytes. Importing this module imports PyTorch.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rankops.cooccurrence import Items
from rankops.files import write_bytes
from rankops.specs import SequenceSpec
from rankops.torch_sequence import SequenceNetwork, Shape
from rankops.training.job import Progress, ShouldStop, TrainingInterrupted

_STATE = "epoch.pt"
_WEIGHT_DECAY, _BETAS, _CLIP = 0.01, (0.9, 0.98), 1.0
_WARM_STEPS = 100
_PREFIXES = 4
"""Of each batch, drawn anew: those of a basket tell much the same, and the softmax over all products is what costs."""
_LAST_RATE = 0.02
"""Share of the learning rate that is left at the end of the cosine."""


@dataclass(frozen=True)
class Histories:
    """What is learned from: ``baskets`` (rows of products, in order), what each ``counts``, and of each product its
    text's vector (``vectors``, float32 ``(n, d)``) and how often it sold (``sales``)."""

    baskets: list[NDArray[np.int64]]
    counts: NDArray[np.float32]
    vectors: NDArray[np.float32]
    sales: NDArray[np.float32]

    @classmethod
    def of(cls, baskets: pl.DataFrame, items: Items, vectors: NDArray[np.float32], half_life: float) -> Histories:
        """Of baskets (:func:`rankops.baskets.baskets_of`), whose ``items`` are over the products of ``vectors``."""
        place = items.place
        rows = [np.array([place[p] for p in ids if p in place], np.int64) for ids in baskets["product_ids"].to_list()]
        faded = np.power(0.5, items.age / half_life)
        sales = np.asarray(items.counts.T @ faded).ravel()
        asked = [i for i, row in enumerate(rows) if len(row) > 1]
        return cls(
            [rows[i] for i in asked], faded[asked].astype(np.float32), vectors, np.asarray(sales, dtype=np.float32)
        )


def fit_sequence(
    histories: Histories, spec: SequenceSpec, seed: int, work: Path, progress: Progress, should_stop: ShouldStop
) -> SequenceNetwork:
    """The fitted network, ready to answer; ``work`` keeps its state (one fit a folder).

    Raises :class:`TrainingInterrupted` when asked to stop; what was fitted up to the last epoch is kept.
    """
    torch.manual_seed(seed)
    network = _network(histories, spec)
    optimizer = torch.optim.AdamW(_groups(network), lr=spec.learning_rate, betas=_BETAS)
    begun, started = _restore(work / _STATE, network, optimizer), time.monotonic()
    network.train()
    for epoch in range(begun, spec.epochs):
        loss = _epoch(network, optimizer, histories, spec, seed, epoch, should_stop)
        _save(work / _STATE, network, optimizer, epoch + 1)
        seconds = (time.monotonic() - started) / (epoch + 1 - begun)
        progress(f"sequence: epoch {epoch + 1}/{spec.epochs}  loss {loss:.4f}  {seconds:.1f} s an epoch")
    return network.eval()


def _network(histories: Histories, spec: SequenceSpec) -> SequenceNetwork:
    shape = Shape(spec.dimension, spec.layers, spec.heads, spec.length, positions=spec.order == "given")
    vectors, sales = torch.from_numpy(histories.vectors), torch.from_numpy(histories.sales)
    return SequenceNetwork(vectors, sales, shape, dropout=spec.dropout, forget=spec.forget)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Matrices decay, biases and norms do not."""
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    rest = [weight for weight in network.parameters() if weight.ndim <= 1]
    return [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}]


def _epoch(
    network: SequenceNetwork,
    optimizer: torch.optim.Optimizer,
    histories: Histories,
    spec: SequenceSpec,
    seed: int,
    epoch: int,
    should_stop: ShouldStop,
) -> float:
    """One pass over all baskets; the mean loss of its steps."""
    torch.manual_seed(seed * 1_000_003 + epoch)  # dropout
    steps = max(1, math.ceil(len(histories.baskets) / spec.batch_size))
    losses = []
    for number, (items, counts, places) in enumerate(_batches(histories, spec, np.random.default_rng([seed, epoch]))):
        if should_stop():
            raise TrainingInterrupted("stopped within an epoch of the sequence", "run it again to go on from the last")
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * _rate(epoch * steps + number, spec.epochs * steps)
        optimizer.zero_grad()
        loss = sequence_loss(network, items, counts, places, rest=spec.order == "any")
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: rises, then falls as a cosine does."""
    return min((step + 1) / _WARM_STEPS, max(_LAST_RATE, 0.5 * (1 + math.cos(math.pi * step / steps))))


def _batches(
    histories: Histories, spec: SequenceSpec, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """int64 ``(b, t)`` rows of products, padded behind, and what each basket counts ``(b,)``, in random order, and the
    places whose prefixes are asked ``(p,)``."""
    order, padding = rng.permutation(len(histories.baskets)), len(histories.vectors)
    for start in range(0, len(order), spec.batch_size):
        chosen = order[start : start + spec.batch_size]
        baskets = [_drawn(histories.baskets[i], spec, rng) for i in chosen]
        items = np.full((len(baskets), max(map(len, baskets))), padding, np.int64)
        for row, basket in enumerate(baskets):
            items[row, : len(basket)] = basket
        ends = items.shape[1] - 1
        places = np.sort(rng.choice(ends, min(_PREFIXES, ends), replace=False))
        yield torch.from_numpy(items), torch.from_numpy(histories.counts[chosen]), torch.from_numpy(places)


def _drawn(basket: NDArray[np.int64], spec: SequenceSpec, rng: np.random.Generator) -> NDArray[np.int64]:
    """A basket as one epoch sees it: no longer than is read, and one product more to ask for."""
    most = spec.length + 1
    if spec.order == "any":
        return rng.permutation(basket)[:most]
    start = int(rng.integers(0, max(1, len(basket) - most + 1)))
    return basket[start : start + most]


def sequence_loss(network: SequenceNetwork, items: Tensor, counts: Tensor, places: Tensor, *, rest: bool) -> Tensor:
    """Mean negative log-likelihood of what comes next, or (``rest``) of each product still to come.

    ``items`` int64 ``(b, t)``, padded behind; ``counts`` float32 ``(b,)``; ``places`` int64 ``(p,)`` below ``t - 1``:
    the ends of the prefixes that are asked.
    """
    table, sold = network.table(), network.sales > 0
    read, asked = items[:, :-1], items[:, 1:]
    states = network.states(read, table)[:, places]
    logits = network.scores(states, table).masked_fill(~sold, float("-inf"))
    there = asked < len(sold)
    named = asked.clamp(max=len(sold) - 1)
    ahead = torch.arange(read.shape[1]) >= places[:, None] if rest else torch.arange(read.shape[1]) == places[:, None]
    wanted = there[:, None, :] & ahead
    told = logits.gather(2, named[:, None, :].expand(-1, len(places), -1)).masked_fill(~wanted, 0.0).sum(-1)
    many = wanted.sum(-1)  # 0 behind a basket's end
    share = (many > 0) * counts[:, None]
    return ((logits.logsumexp(-1) - told / many.clamp(min=1)) * share).sum() / share.sum().clamp(min=1e-12)


def _save(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    buffer = io.BytesIO()
    torch.save({"epochs": epochs, "network": network.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    write_bytes(path, buffer.getvalue())


def _restore(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Epochs that an earlier run of this fit had done; 0 for a new one."""
    if not path.is_file():
        return 0
    held = torch.load(path, weights_only=True)
    network.load_state_dict(held["network"])
    optimizer.load_state_dict(held["optimizer"])
    return int(held["epochs"])
