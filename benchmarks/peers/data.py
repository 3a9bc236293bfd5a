"""What peers search: the products of a release as JSON lines, and their vectors by the peer's own library."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.icecat_release import PRODUCT_TOKENS, ServedShop
from rankops.files import digest_of, sha256_file, staged_directory
from rankops.release.products import PRODUCT_COLUMNS
from rankops.text import product_texts

VECTORS = "vectors.npy"


def peer_data(shop: ServedShop, progress: Callable[[str], None], *, cache: Path) -> Path:
    """A folder with products.jsonl (what /search answers of a product) and vectors.npy (float32, unit length).

    The vectors are sentence-transformers' fp32 ones of the texts that the release's index is made of.
    """
    from sentence_transformers import SentenceTransformer

    weights = sha256_file(shop.weights / "model.safetensors")
    key = digest_of({"weights": weights, "products": sha256_file(shop.catalogue), "tokens": PRODUCT_TOKENS, "code": 1})
    folder = cache / key[:16]
    if folder.is_dir():
        return folder
    products = sorted(pq.read_table(shop.catalogue).to_pylist(), key=lambda row: row["product_id"])
    texts = product_texts(products)
    model = SentenceTransformer(str(shop.weights), device="cpu", local_files_only=True)
    model.max_seq_length = PRODUCT_TOKENS
    blocks = []
    for start in range(0, len(texts), 2048):
        progress(f"peers: sentence-transformers encodes products, {start:,} of {len(texts):,}")
        blocks.append(model.encode(texts[start : start + 2048], batch_size=64, normalize_embeddings=True))
    with staged_directory(folder) as staged:
        np.save(staged / VECTORS, np.concatenate(blocks).astype(np.float32))
        rows = [{name: product.get(name) for name in PRODUCT_COLUMNS} for product in products]
        (staged / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
