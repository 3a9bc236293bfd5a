"""Texts to vectors with ONNX Runtime: what the server, the index and the offline evaluation all use.

Only numpy, onnxruntime and tokenizers are needed: the serving image holds no torch and no transformers.
An artifact folder (written by ``rankops.compression``) holds ``model.onnx``, ``tokenizer.json`` and
``encoder.json``; see :class:`EncoderConfig` for the last.

Dynamically quantized graphs take the range of their activations over everything in one run of the session, so in
a batch a text's vector depends on its neighbours (measured: cosine down to 0.985 to the same text alone). On a CPU
every text is therefore run alone, which costs no throughput there: a text has one vector, offline scores are the live
scores, and adding a product leaves the vectors of the others as they are. Many texts are spread over threads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from tokenizers import Encoding, Tokenizer

from rankops.errors import IntegrityError
from rankops.files import combine_digests
from rankops.onnx_session import (
    ACCELERATOR_BATCH_TOKENS,
    CPU,
    CUDA,
    DEFAULT,
    REBUILD,
    SessionSettings,
    open_session,
    part_digests,
    read_tokenizer,
    require_parts,
    run_session,
    similar_lengths,
)

Role = Literal["query", "product"]
Pooling = Literal["mean", "cls", "in-graph"]

FILES = ("encoder.json", "model.onnx", "tokenizer.json")
POOLED_OUTPUTS = ("sentence_embedding", "embedding")


class Encoder(Protocol):
    """Anything that turns texts into unit vectors."""

    def encode(self, texts: Sequence[str], *, role: Role) -> np.ndarray:
        """float32 ``(len(texts), dimension)``, each row of Euclidean length 1, in input order."""
        ...


@dataclass(frozen=True)
class EncoderConfig:
    """``encoder.json``: what the two other files do not say.

    ``pooling`` is ``mean`` (over the attention mask), ``cls`` (the first token) or ``in-graph`` (the output named in
    :data:`POOLED_OUTPUTS` is the vector). ``files`` holds the SHA-256 of the model and of the tokenizer that belong
    together; it may be absent in folders written by hand.
    """

    pooling: Pooling
    normalize: bool
    dimension: int
    max_query_tokens: int
    max_product_tokens: int
    files: dict[str, str]
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> EncoderConfig:
        """Raises :class:`IntegrityError` naming the file and the field that is missing or wrong."""
        try:
            facts = json.loads(path.read_text())
            config = cls(
                pooling=facts["pooling"],
                normalize=bool(facts["normalize"]),
                dimension=int(facts["dimension"]),
                max_query_tokens=int(facts["max_query_tokens"]),
                max_product_tokens=int(facts["max_product_tokens"]),
                files=dict(facts.get("files", {})),
                facts=facts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"{path} is not an encoder description: {error!r}", REBUILD) from error
        if config.pooling not in get_args(Pooling):
            raise IntegrityError(f"{path}: pooling is {config.pooling!r}, not one of {get_args(Pooling)}", REBUILD)
        return config


class OnnxEncoder:
    """An artifact folder, loaded. Safe to share between threads: nothing changes after construction.

    ``threads`` is the number of cores that one call with many texts may use; one text takes one core, and results
    do not depend on it. ``batch_tokens`` is how many tokens run together (None: one text at a time on a CPU, large
    batches on an accelerator); texts of similar length are then batched, and results stay in input order.

    Raises :class:`IntegrityError` naming the file when one is missing, unreadable, or does not belong to the others;
    :class:`BadInput` for a provider this machine lacks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU,
        batch_tokens: int | None = None,
        session: SessionSettings = DEFAULT,
    ) -> None:
        self.folder = Path(folder)
        digests = part_digests(self.folder, FILES)
        self.config = EncoderConfig.read(self.folder / "encoder.json")
        require_parts(self.folder, "encoder.json", self.config.files, digests)
        self.digest = combine_digests(digests)
        self._tokenizers: dict[str, Tokenizer] = {
            "query": read_tokenizer(self.folder / "tokenizer.json", self.config.max_query_tokens),
            "product": read_tokenizer(self.folder / "tokenizer.json", self.config.max_product_tokens),
        }
        self._session = open_session(self.folder / "model.onnx", providers, session)
        self._bound_to, self._device = "cuda" if tuple(providers) == CUDA else None, session.device
        self.threads = threads
        self.on_cpu = tuple(providers) == CPU
        self._batch_tokens = batch_tokens or (1 if self.on_cpu else ACCELERATOR_BATCH_TOKENS)
        self._output, self._pooled = self._choose_output()
        self._token_types = "token_type_ids" in {i.name for i in self._session.get_inputs()}

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return self.config.dimension

    def encode(self, texts: Sequence[str], *, role: Role) -> np.ndarray:
        """float32 ``(len(texts), dimension)`` unit rows in input order.

        Raises :class:`IntegrityError` when the model answers with NaN, infinities or another width, or cannot run
        the tokenizer's ids (the tokenizer of another model).
        """
        tokenizer = self._tokenizers[role]
        if len(texts) == 1:
            return self._run([tokenizer.encode(texts[0])])
        encoded = tokenizer.encode_batch(list(texts))
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)

        def fill(batch: list[int]) -> None:
            vectors[batch] = self._run([encoded[i] for i in batch])

        batches = similar_lengths([len(e) for e in encoded], self._batch_tokens)
        if self.threads == 1:
            for batch in batches:
                fill(batch)
            return vectors
        with ThreadPoolExecutor(self.threads) as pool:  # the session releases the interpreter's lock
            list(pool.map(fill, batches))
        return vectors

    def _choose_output(self) -> tuple[str, bool]:
        names = [output.name for output in self._session.get_outputs()]
        pooled = next((name for name in POOLED_OUTPUTS if name in names), None)
        if pooled is not None:
            return pooled, True
        if self.config.pooling == "in-graph":
            raise IntegrityError(
                f"{self.folder / 'model.onnx'} has no output named {' or '.join(POOLED_OUTPUTS)}", REBUILD
            )
        return ("last_hidden_state" if "last_hidden_state" in names else names[0]), False

    def _run(self, encoded: list[Encoding]) -> np.ndarray:
        ids, mask = _matrices(encoded)
        feed = {"input_ids": ids, "attention_mask": mask}
        if self._token_types:
            feed["token_type_ids"] = np.zeros_like(ids)
        try:
            output = run_session(self._session, self._output, feed, bound_to=self._bound_to, device=self._device)
        except Exception as error:  # onnxruntime's own exceptions share no narrower base class
            raise IntegrityError(
                f"{self.folder / 'model.onnx'} cannot run what {self.folder / 'tokenizer.json'} makes: {error}",
                REBUILD,
            ) from error
        vectors = output if self._pooled else _pool(output, mask, self.config.pooling)
        vectors, finite = _unit(vectors.astype(np.float32, copy=False), normalize=self.config.normalize)
        if not finite:
            raise IntegrityError(f"{self.folder / 'model.onnx'} answered with NaN or infinite values", REBUILD)
        if vectors.shape[1] != self.dimension:
            raise IntegrityError(
                f"{self.folder / 'model.onnx'} makes vectors of {vectors.shape[1]}, encoder.json says {self.dimension}",
                REBUILD,
            )
        return vectors


def artifact_digest(folder: Path) -> str:
    """What :attr:`OnnxEncoder.digest` would be, without loading the model. Raises :class:`IntegrityError`."""
    return combine_digests(part_digests(folder, FILES))


def _matrices(encoded: list[Encoding]) -> tuple[np.ndarray, np.ndarray]:
    """int64 ids and mask, ``(n, longest)``, padded with zeros (masked, so any id does)."""
    if len(encoded) == 1:
        ids = np.array([encoded[0].ids], dtype=np.int64)
        return ids, np.ones(ids.shape, dtype=np.int64)
    ids = np.zeros((len(encoded), max(len(e) for e in encoded)), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(encoded):
        ids[row, : len(one)] = one.ids
        mask[row, : len(one)] = 1
    return ids, mask


def _unit(vectors: np.ndarray, *, normalize: bool) -> tuple[np.ndarray, bool]:
    """Rows of length 1 where ``normalize``, and whether every number is finite.

    One row is the case of every search: its sum of squares says both, in a third of the time.
    """
    if len(vectors) == 1:
        row = vectors[0]
        length = math.sqrt(float(row.dot(row)))
        return (vectors / max(length, 1e-12) if normalize else vectors), math.isfinite(length)
    if normalize:
        vectors = vectors / np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None], 1e-12)
    return vectors, bool(np.isfinite(vectors).all())


def _pool(hidden: np.ndarray, mask: np.ndarray, pooling: Pooling) -> np.ndarray:
    """``hidden`` ``(n, tokens, d)`` → ``(n, d)``: the first token, or the mean where ``mask`` ``(n, tokens)`` is 1."""
    if pooling == "cls":
        first: np.ndarray = hidden[:, 0, :]
        return first
    if len(hidden) == 1:  # one text is never padded
        mean: np.ndarray = np.add.reduce(hidden, axis=1, dtype=np.float32)
        mean /= hidden.shape[1]
        return mean
    weights = mask.astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    pooled: np.ndarray = np.matmul(weights[:, None, :], hidden)[:, 0, :]
    return pooled
