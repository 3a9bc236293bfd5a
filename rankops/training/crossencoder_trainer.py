"""The Hugging Face trainer over rows of pair tokens. Importing this module imports PyTorch.

Batches are a pure function of (seed, step), so a resumed run needs no sampler state: each epoch is a permutation cut
into batches of similar length, and a coin decides for each pair which side comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rankops.pair_tokens import PairTokens, padded
from rankops.training.sampling import Share
from rankops.training.trainer import NumberedTrainer

_CHUNK = 16  # batches among which pairs are sorted by length


class PairBatches:
    """``steps`` batches of row numbers; of ``n`` rows, ``n + i`` is row ``i`` with its sides swapped.

    Iteration yields what ``share`` leaves of each: this process's part.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        steps: int,
        seed: int,
        swap: bool,
        share: Share = list,
    ) -> None:
        self._lengths = np.asarray(lengths)
        self._size = min(batch_size, len(lengths))
        self._steps = steps
        self._seed = seed
        self._share = share
        self._swap = swap
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        return (self._share(self.batch(step)) for step in range(self._steps))

    def batch(self, step: int) -> list[int]:
        """The rows of one step."""
        per_epoch = len(self._lengths) // self._size
        epoch, place = divmod(step, per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return self._epoch[1][place]

    def _batches(self, epoch: int) -> list[list[int]]:
        generator = np.random.default_rng([self._seed, 2, epoch])
        count = len(self._lengths)
        order = generator.permutation(count)[: count // self._size * self._size]
        batches: list[np.ndarray] = []
        for start in range(0, len(order), self._size * _CHUNK):
            chunk = order[start : start + self._size * _CHUNK]
            chunk = chunk[np.argsort(self._lengths[chunk], kind="stable")]
            batches += np.split(chunk, len(chunk) // self._size)
        swapped = generator.random((len(batches), self._size)) < (0.5 if self._swap else 0.0)
        rows = [batch + count * flips for batch, flips in zip(batches, swapped, strict=True)]
        return [rows[place].tolist() for place in generator.permutation(len(rows))]


class PairTrainer(NumberedTrainer):
    """Binary cross-entropy on targets in 0..1 (a grade is a chance), and ``measure(model)`` as its dev metric."""

    def __init__(
        self,
        *,
        rows: Sequence[PairTokens],
        swapped: Sequence[PairTokens],
        targets: np.ndarray,
        positive_weight: float,
        typed: bool,
        **arguments: Any,
    ) -> None:
        self._rows = [*rows, *swapped]
        super().__init__(rows=len(self._rows), **arguments)
        self._targets = np.concatenate([targets, targets]).astype(np.float32)
        self._positive_weight = positive_weight
        self._typed = typed

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_args: Any, **_kwargs: Any) -> Any:
        """Mean binary cross-entropy; positives count ``positive_weight`` times."""
        targets = inputs.pop("labels")
        logits = model(**inputs).logits.squeeze(-1).float()
        weight = torch.tensor(self._positive_weight, device=logits.device)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)

    def _collate(self, numbers: list[int]) -> dict[str, Any]:
        ids, mask, types = padded([self._rows[number] for number in numbers])
        batch = {"input_ids": ids, "attention_mask": mask, **({"token_type_ids": types} if self._typed else {})}
        tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
        return {**tensors, "labels": torch.from_numpy(self._targets[numbers])}
