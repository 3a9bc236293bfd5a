"""A bi-encoder as the ladder sees it: vectors of dev queries and products."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from rankops.compression.artifact import write_artifact
from rankops.compression.export import ExportTask, check_checkpoint, read_pooling
from rankops.compression.parity import VectorParity, compare
from rankops.compression.reference import CheckpointEncoder
from rankops.compression.sampling import sample_texts
from rankops.compression.targets import providers_for
from rankops.dataset import Dataset
from rankops.encoding import Encoder, OnnxEncoder, Pooling
from rankops.specs import ModelSpec, Target

Vectors = tuple[np.ndarray, np.ndarray]


@dataclass
class BiEncoderSubject:
    """Implements :class:`rankops.compression.subject.Subject`."""

    checkpoint: Path
    spec: ModelSpec
    target: Target
    pooling: Pooling
    questions: list[str]
    products: list[str]
    dimension: int = 0
    export_task: ExportTask = "feature-extraction"
    what: str = "fp32, PyTorch (sentence-transformers)"
    batches: tuple[int, ...] = ()

    @property
    def texts(self) -> list[str]:
        """Dev queries and products in turn."""
        return [text for pair in zip_longest(self.questions, self.products) for text in pair if text is not None]

    def reference(self) -> CheckpointEncoder:
        """The checkpoint, truncating as an artifact does."""
        training = self.spec.training
        return CheckpointEncoder(
            self.checkpoint,
            max_query_tokens=training.max_query_tokens,
            max_product_tokens=training.max_product_tokens,
        )

    def open(self, folder: Path, *, threads: int = 1) -> OnnxEncoder:
        """The artifact as the server runs it."""
        return OnnxEncoder(folder, threads=threads, providers=providers_for(self.target))

    def write(self, folder: Path, model: Path, rung: str) -> Path:
        """See :func:`rankops.compression.artifact.write_artifact`; the reference must have been measured before."""
        return write_artifact(
            folder,
            model=model,
            tokenizer=self.checkpoint / "tokenizer.json",
            spec=self.spec,
            target=self.target,
            rung=rung,
            dimension=self.dimension,
            pooling=self.pooling,
        )

    def outputs(self, model: Encoder) -> tuple[Vectors, float]:
        """Vectors of the queries and the products, and products per second."""
        queries = model.encode(self.questions, role="query")
        start = time.perf_counter()
        products = model.encode(self.products, role="product")
        self.dimension = self.dimension or products.shape[1]
        return (queries, products), len(self.products) / (time.perf_counter() - start)

    def compare(self, reference: Vectors, found: Vectors) -> VectorParity:
        """By cosine."""
        return compare(*reference, *found)

    def ask(self, model: Encoder, question: str) -> object:
        """Encode one query."""
        return model.encode([question], role="query")

    def ask_many(self, model: Encoder, count: int) -> object:
        """Encode many queries."""
        return model.encode(self.questions[:count], role="query")


def subject(checkpoint: Path, dataset: Dataset, spec: ModelSpec, target: Target) -> BiEncoderSubject:
    """A subject over evenly spaced dev queries and products."""
    check_checkpoint(checkpoint)
    return BiEncoderSubject(checkpoint, spec, target, read_pooling(checkpoint), *sample_texts(dataset))
