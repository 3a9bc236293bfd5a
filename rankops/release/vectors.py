"""Embedding a catalogue: every product's vector on disk, each made once.

Texts whose vector is in a :class:`rankops.vector_cache.VectorCache` are not embedded again. The others go in chunks
of similar length, longest first, to as many sessions as there are cores; each finished chunk is a segment of the cache,
so that a run that was killed goes on where it was. A text is run alone on a CPU (see :mod:`rankops.encoding`), so its
vector has the same bits in whatever chunk, session or run it was made.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from rankops.cpu import cpu_flags
from rankops.encoding import Encoder, OnnxEncoder
from rankops.errors import IntegrityError
from rankops.lexical import Floats

if TYPE_CHECKING:
    from rankops.vector_cache import CachedVectors, VectorCache

_CHUNK = 256
_WORTH_SESSIONS = 1024
"""Texts from which on sessions of their own pay for being opened."""
_SAY_EVERY = 2.0

Progress = Callable[[str], None]


def embed(
    encoder: Encoder,
    texts: Sequence[str],
    cache: CachedVectors,
    *,
    progress: Progress = lambda _: None,
    why: str = "index",
) -> dict[str, int]:
    """Have the vector of every product text in ``cache``; returns how many were ``embedded`` and ``reused``.

    ``why`` starts each progress line. Equal texts are embedded once. Raises :class:`IntegrityError` for vectors that
    are not finite unit vectors.
    """
    missing = cache.missing(texts)
    distinct = len(dict.fromkeys(texts))
    counts = {"embedded": len(missing), "reused": distinct - len(missing)}
    if not missing:
        return counts
    if counts["reused"]:
        progress(f"{why}: {counts['reused']:,} of {distinct:,} product texts are embedded already")
    ordered = sorted(missing, key=lambda text: (-len(text), text))
    chunks = [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
    started = said = time.monotonic()
    done = 0
    with _sessions(encoder, len(missing)) as encoded:
        for chunk, vectors in zip(chunks, encoded(chunks), strict=True):
            cache.put(chunk, checked(vectors))
            done += len(chunk)
            if (now := time.monotonic()) - said > _SAY_EVERY:
                said = now
                rate = done / (now - started)
                left = (len(missing) - done) / rate
                progress(f"{why}: {done:,} of {len(missing):,} products embedded ({rate:,.0f}/s, {left:,.0f} s to go)")
    cache.compact()
    return counts


def write_vectors(
    encoder: Encoder,
    texts: Sequence[str],
    path: Path,
    *,
    dimension: int,
    cache: CachedVectors | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, int]:
    """Write ``path`` (npy, float32, N x d) with the vector of each text, chunk by chunk; see :func:`embed`."""
    from rankops.vector_cache import VectorCache

    with tempfile.TemporaryDirectory(prefix="rankops-vectors-") as scratch:
        vectors = cache if cache is not None else VectorCache(scratch).of({}, dimension)
        counts = embed(encoder, texts, vectors, progress=progress)
        with path.open("wb") as handle:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), dimension)}
            np.lib.format.write_array_header_1_0(handle, header)
            for start in range(0, len(texts), _CHUNK):
                handle.write(np.ascontiguousarray(vectors.get(texts[start : start + _CHUNK]), dtype="<f4").data)
    return counts


class CachedEncoder:
    """An encoder whose product vectors come from a cache where it has them, and go into it where not."""

    def __init__(self, encoder: Encoder, cache: CachedVectors, progress: Progress = lambda _: None) -> None:
        self._encoder, self._cache, self._progress = encoder, cache, progress

    def encode(self, texts: Sequence[str], *, role: Any) -> Floats:
        """See :class:`rankops.encoding.Encoder`."""
        if role != "product":
            return self._encoder.encode(texts, role=role)
        embed(self._encoder, texts, self._cache, progress=self._progress)
        return self._cache.get(texts)


def cached_vectors(cache: VectorCache, encoder: OnnxEncoder, *, providers: Sequence[str] = ()) -> CachedVectors:
    """The cache of an ONNX encoder's product vectors: its files, the runtime and the CPU decide their bits."""
    import onnxruntime

    runtime = f"onnxruntime {onnxruntime.__version__} {' '.join(providers)}".strip()
    return vectors_made_by(
        cache, encoder.digest, tokens=encoder.config.max_product_tokens, runtime=runtime, dimension=encoder.dimension
    )


def vectors_made_by(cache: VectorCache, digest: str, *, tokens: int, runtime: str, dimension: int) -> CachedVectors:
    """The cache of the product vectors of a model with this digest: at most ``tokens`` a text, made by ``runtime``."""
    import platform

    key = {
        "encoder": digest,
        "role": "product",
        "tokens": tokens,
        "runtime": runtime,
        "cpu": f"{platform.machine()} {_instructions()}".strip(),
    }
    return cache.of(key, dimension)


def checked(vectors: Floats) -> Floats:
    """The vectors. Raises :class:`IntegrityError` where one is not finite or not of length 1 (or 0)."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    if not np.isfinite(lengths).all():
        raise IntegrityError("the encoder made vectors with NaN or infinite values", "rematerialize the artifact")
    return np.ascontiguousarray(vectors, dtype=np.float32)


@contextmanager
def _sessions(encoder: Encoder, count: int) -> Iterator[Callable[[Sequence[Sequence[str]]], Iterator[Floats]]]:
    """A function that encodes chunks of product texts, in order: in a session a core where that pays."""
    if not isinstance(encoder, OnnxEncoder) or encoder.threads < 2 or count < _WORTH_SESSIONS or not encoder.on_cpu:
        yield lambda chunks: (encoder.encode(chunk, role="product") for chunk in chunks)
        return
    # Threads, not processes: sessions and tokenizers leave the interpreter's lock, and nothing has to be started anew.
    idle: SimpleQueue[OnnxEncoder] = SimpleQueue()
    for _ in range(encoder.threads):
        idle.put(OnnxEncoder(encoder.folder))

    def encode(chunk: Sequence[str]) -> Floats:
        session = idle.get()
        try:
            return session.encode(chunk, role="product")
        finally:
            idle.put(session)

    with ThreadPoolExecutor(encoder.threads) as pool:
        try:
            yield lambda chunks: pool.map(encode, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _instructions() -> str:
    """The vector instructions that matter to ONNX Runtime's kernels; empty where the system does not say."""
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")
    flags = cpu_flags()
    return " ".join(flag for flag in known if flag in flags)
