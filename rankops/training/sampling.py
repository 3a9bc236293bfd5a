"""Which rows make a batch: drawn by weight, never right for each other, a pure function of (seed, step).

Because a batch depends on nothing but the seed and its number, a resumed run needs no sampler state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rankops.errors import BadInput
from rankops.training.examples import Examples

_OVERSAMPLE = 8
Share = Callable[[Sequence[int]], list[int]]


class RankingBatches:
    """``steps`` batches of up to ``batch_size`` row numbers for a loss with in-batch negatives.

    Rows are drawn without replacement with probability proportional to their weight (Efraimidis & Spirakis 2006:
    the largest values of ``log(u) / w``). A row joins a batch only if its query's group is new there, none of its
    products occurs there (``same_text[p]`` is one number for all products with one text), and no product of either
    side is known to be relevant for the other side's group: each would be a false negative. Iteration yields what
    ``share`` leaves of each batch: this process's part of it.
    """

    def __init__(
        self,
        examples: Examples,
        same_text: Sequence[int],
        *,
        batch_size: int,
        steps: int,
        seed: int,
        share: Share = list,
    ) -> None:
        self._examples = examples
        self._same_text = same_text
        self._batch_size = batch_size
        self._steps = steps
        self._seed = seed
        self._share = share
        relevant = examples.relevant.items()
        self._relevant = {group: frozenset(same_text[p] for p in rows) for group, rows in relevant}

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        return (self._share(self.batch(step)) for step in range(self._steps))

    def set_epoch(self, epoch: int) -> None:
        """Part of the trainer's protocol; one epoch holds all steps."""

    def batch(self, step: int) -> list[int]:
        """The rows of one step. Raises :class:`BadInput` when no two rows can stand in one batch."""
        generator = np.random.default_rng([self._seed, 2, step])
        keys = np.log(generator.random(len(self._examples))) / self._examples.weights
        wanted = min(len(keys), self._batch_size * _OVERSAMPLE)
        rows = self._pick(self._largest(keys, wanted))
        if len(rows) < self._batch_size and wanted < len(keys):
            rows = self._pick(self._largest(keys, len(keys)))
        if len(rows) < 2:
            raise BadInput(
                "no two training pairs can stand in one batch: every product is relevant for every query",
                "check the interactions: a broken feed clicks everything",
            )
        return rows

    @staticmethod
    def _largest(keys: np.ndarray, count: int) -> np.ndarray:
        top = np.argpartition(-keys, count - 1)[:count]
        return top[np.argsort(-keys[top], kind="stable")]

    def _pick(self, candidates: np.ndarray) -> list[int]:
        chosen: list[int] = []
        groups: set[str] = set()
        products: set[int] = set()
        wrong: set[int] = set()  # relevant for some query in the batch: no new row may bring one in
        for row in candidates.tolist():
            group = self._examples.groups[row]
            texts = {self._same_text[p] for p in self._examples.row_products(row)}
            own = self._relevant[group]
            if group in groups or texts & products or texts & wrong or own & products:
                continue
            chosen.append(row)
            groups.add(group)
            products |= texts
            wrong |= own
            if len(chosen) == self._batch_size:
                break
        return chosen
