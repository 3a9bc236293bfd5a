"""Embedding a catalogue: our pipeline on both cores against sentence-transformers ``encode``, same weights and lengths.

The peer is measured at several batch sizes in the same run and the best of them counts; it has all cores, as PyTorch
takes them. Ours is the release's own path: tokenize, sessions, cache segments on disk, ``vectors.npy``. The texts are
those of Icecat's products, evenly drawn.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.harness import Comparison, interleave, machine, ratio_of_medians, timed
from rankops.compression.targets import available_cores
from rankops.encoding import OnnxEncoder
from rankops.release.vectors import cached_vectors, write_vectors
from rankops.vector_cache import VectorCache

BATCHES = (8, 16, 32, 64, 128)
GOAL = 4.0
PARTS = 4
_ROUNDS = 3


def measure(progress: Callable[[str], None]) -> Comparison:
    """Ratio = seconds of the peer with its best batch size / ours, over the same texts, by part of the sample."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from sentence_transformers import SentenceTransformer

    from benchmarks.icecat_release import PRODUCT_TOKENS, served_shop
    from rankops.release.index import read_catalogue
    from rankops.release.searcher import ENCODER
    from rankops.text import product_texts

    shop = served_shop(progress)
    products = read_catalogue(shop.catalogue)
    size = int(os.environ.get("RANKOPS_BENCH_EMBED_TEXTS", "512"))
    texts = product_texts(products[:: max(1, len(products) // size)][:size])
    parts = [texts[number::PARTS] for number in range(PARTS)]
    cores = available_cores()
    encoder = OnnxEncoder(shop.release / ENCODER, threads=cores)
    model = SentenceTransformer(str(shop.weights), device="cpu", local_files_only=True)
    model.max_seq_length = PRODUCT_TOKENS
    with tempfile.TemporaryDirectory(prefix="rankops-embed-") as scratch:
        sides = {"ours": timed(_ours(encoder, Path(scratch)), parts, warm_up=0)}
        for batch in BATCHES:
            sides[f"batch {batch}"] = timed(
                lambda part, batch=batch: model.encode(part, batch_size=batch, show_progress_bar=False),
                parts,
                warm_up=0,
            )
        progress(f"catalogue_embedding: {_ROUNDS} rounds of {len(texts)} texts, {len(BATCHES)} batch sizes of the peer")
        encoder.encode(texts[:8], role="product")
        model.encode(texts[:8])
        taken = interleave(sides, _ROUNDS)
    ours = taken.pop("ours")
    best = min(taken, key=lambda name: float(np.median(taken[name])))
    ratio, interval = ratio_of_medians(ours, taken[best])
    cosine = np.vecdot(encoder.encode(texts[:64], role="product"), model.encode(texts[:64], normalize_embeddings=True))
    a_text = len(parts[0]) / 1e3
    return Comparison(
        name="catalogue_embedding",
        what=f"embed {len(texts)} Icecat products, {cores} cores, {PRODUCT_TOKENS} tokens at most; peer at {best}",
        ours=float(np.median(ours)) / a_text / 1e3,
        peer=float(np.median(taken[best])) / a_text / 1e3,
        ratio=ratio,
        interval=interval,
        n=int(ours.size),
        unit="ms",
        peer_version=f"sentence-transformers {version('sentence-transformers')}, torch {torch.__version__}",
        machine=machine(),
        goal=GOAL,
        also={
            "texts a second": 1e3 * a_text * 1e3 / float(np.median(ours)),
            "peer texts a second by batch size": {
                name: 1e3 * a_text * 1e3 / float(np.median(values)) for name, values in taken.items()
            },
            "cosine to the peer, mean": float(cosine.mean()),
            "cosine to the peer, worst": float(cosine.min()),
        },
    )


def _ours(encoder: OnnxEncoder, scratch: Path) -> Callable[[list[str]], object]:
    """A run of the release's path over an empty cache."""
    number = count()

    def run(part: list[str]) -> object:
        folder = scratch / str(next(number))
        folder.mkdir()
        cache = cached_vectors(VectorCache(str(folder / "cache")), encoder)
        return write_vectors(encoder, part, folder / "vectors.npy", dimension=encoder.dimension, cache=cache)

    return run
