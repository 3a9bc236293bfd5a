"""The Hugging Face trainer of lessons. Importing this module imports PyTorch.

A batch is a pure function of (seed, step), so a resumed run needs no sampler state. Of several processes each reads all
products of a batch and its own share of the queries; averaged gradients are those of the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import kl_div, log_softmax, normalize, softmax

from rankops.specs import TrainingSpec
from rankops.training.ranks import Ranks
from rankops.training.trainer import NumberedTrainer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from rankops.training.teacher import Lesson


class Pupil(torch.nn.Module):
    """Unit vectors of queries and products in one forward pass: several processes average gradients once for each."""

    def __init__(self, encoder: SentenceTransformer) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, query: dict[str, Any], product: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 ``(queries, d)`` and ``(products, d)`` of two batches of tokens."""
        queries, products = (
            normalize(self.encoder(side)["sentence_embedding"].float(), dim=-1) for side in (query, product)
        )
        return queries, products


class TeacherTrainer(NumberedTrainer):
    """Kullback-Leibler divergence from the target's softmax over a batch's products, mean over its queries."""

    def __init__(self, *, spec: TrainingSpec, lesson: Lesson, temperature: float, **options: Any) -> None:
        steps = spec.max_steps  # a batch is the number of its step
        super().__init__(rows=steps, batches=[[step] for step in range(steps)], **options)
        self._spec, self._lesson, self._temperature = spec, lesson, temperature

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_args: Any, **_kwargs: Any) -> Any:
        """See the class."""
        queries, products = model(inputs["query"], inputs["product"])
        found = log_softmax(queries @ products.T / self._temperature, dim=-1)
        wanted = softmax(inputs["target"] / self._temperature, dim=-1)
        return kl_div(found, wanted, reduction="batchmean")

    def _collate(self, numbers: list[int]) -> dict[str, Any]:
        spec, lesson = self._spec, self._lesson
        batch = lesson.batch(spec.seed, numbers[0])
        asked = np.array(Ranks.current().share(batch.queries.tolist()))
        return {
            "query": self._tokens([lesson.queries[row] for row in asked], spec.max_query_tokens),
            "product": self._tokens([lesson.texts[row] for row in batch.products], spec.max_product_tokens),
            "target": torch.from_numpy(lesson.target[np.ix_(asked, batch.products)]),
        }

    def _tokens(self, texts: list[str], longest: int) -> dict[str, Any]:
        tokens: dict[str, Any] = self.model.encoder.preprocess(
            texts, processing_kwargs={"text": {"max_length": longest}}
        )
        return tokens
