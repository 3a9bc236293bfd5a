"""The fp32 checkpoint in PyTorch, run by sentence-transformers: what every rung is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rankops.encoding import Role


class CheckpointEncoder:
    """A checkpoint folder as an :class:`rankops.encoding.Encoder`, truncating as the artifact does."""

    def __init__(self, checkpoint: Path, *, max_query_tokens: int, max_product_tokens: int) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
        self._model.eval()
        self._max_tokens = {"query": max_query_tokens, "product": max_product_tokens}

    def encode(self, texts: Sequence[str], *, role: Role) -> np.ndarray:
        """float32 ``(len(texts), d)`` unit rows in input order."""
        self._model.max_seq_length = self._max_tokens[role]
        vectors: np.ndarray = self._model.encode(
            list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return vectors.astype(np.float32, copy=False)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run PyTorch with ``count`` threads inside the block (the setting is the process's, so it is put back)."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
