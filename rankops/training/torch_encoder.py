"""A checkpoint as an encoder, in PyTorch: what training measures with, and the reference for compression."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rankops.errors import BadInput
from rankops.specs import TrainingSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Role = Literal["query", "product"]

_CHUNK = 512


class TorchEncoder:
    """The Encoder protocol of ``rankops.encoding`` over a sentence-transformers folder: float32, unit length.

    Lengths come from the folder's ``training.json``; ``max_query_tokens`` and ``max_product_tokens`` override
    them, and are needed for nothing but base models that should be read at other lengths than the spec's defaults.
    Raises :class:`BadInput` when the folder is no model or has no safetensors weights.
    """

    def __init__(
        self,
        folder: Path,
        threads: int | None = None,
        *,
        max_query_tokens: int | None = None,
        max_product_tokens: int | None = None,
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        spec = _spec_of(folder)
        self._limits: dict[Role, int] = {
            "query": max_query_tokens or spec.max_query_tokens,
            "product": max_product_tokens or spec.max_product_tokens,
        }
        self._model = load_model(folder)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str], *, role: Role) -> np.ndarray:
        """float32 ``(len(texts), dimension)``, each row of Euclidean length 1, in input order."""
        return encode_texts(self._model, texts, self._limits[role])


def _spec_of(folder: Path) -> TrainingSpec:
    path = folder / "training.json"
    if not path.is_file():
        return TrainingSpec()
    return TrainingSpec.model_validate(json.loads(path.read_text())["spec"])


def load_model(folder: Path, device: str | None = None) -> SentenceTransformer:
    """Load a sentence-transformers or Hugging Face folder; never pickled weights, never remote code."""
    from sentence_transformers import SentenceTransformer

    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise BadInput(
            f"{folder} is no model folder: it needs config.json and .safetensors weights",
            "rematerialize the checkpoint, or save the base model with safe_serialization=True",
        )
    options: dict[str, Any] = {"use_safetensors": True}
    model = SentenceTransformer(
        str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=options
    )
    reset_tokenizer(model)
    return model


def reset_tokenizer(model: SentenceTransformer) -> None:
    """Drop padding and truncation that ``tokenizer.json`` fixes (128 in all-MiniLM-L6-v2) or a call left behind."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()


def save_model(model: SentenceTransformer, folder: Path) -> None:
    """Write the model into ``folder``, readable by everybody, with a tokenizer that neither pads nor cuts."""
    reset_tokenizer(model)
    model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes 0600: a server under another user could not read it


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    max_tokens: int,
    *,
    batch_size: int = 64,
    after_chunk: Callable[[int], None] | None = None,
) -> np.ndarray:
    """float32 unit vectors (n, d) of texts cut to ``max_tokens``; ``after_chunk(done)`` is called on the way."""
    if not texts:
        return np.zeros((0, int(model.get_embedding_dimension() or 0)), dtype=np.float32)
    before = model.max_seq_length
    model.max_seq_length = max_tokens
    try:
        parts = []
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            parts.append(
                model.encode(
                    chunk,
                    batch_size=batch_size,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                    precision="float32",
                )
            )
            if after_chunk is not None:
                after_chunk(start + len(chunk))
    finally:
        model.max_seq_length = before
    return np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)
