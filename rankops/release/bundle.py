"""Building a bundle: encoder, index, products for display, golden answers and manifest, all or nothing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankops.encoding import FILES as ENCODER_FILES
from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, RankopsError
from rankops.files import combine_digests, staged_directory, write_bytes, write_json
from rankops.release.index import ProductIndex, build_index, read_catalogue
from rankops.release.manifest import ReleaseFacts, ReleaseManifest, payload_digests
from rankops.text import normalize_query

ENCODER, INDEX, PRODUCTS, GOLDEN = "encoder", "index", "products.parquet", "golden.json"
PRODUCT_COLUMNS = ("product_id", "title", "category", "brand", "price")
GOLDEN_DEPTH = 10
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def build_bundle(
    out: Path,
    *,
    artifact: Path,
    catalogue_parquet: Path,
    golden_queries: Sequence[str],
    facts: ReleaseFacts,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> ReleaseManifest:
    """Build an unsigned bundle in ``out`` (absent or an empty folder) and return its manifest.

    ``artifact`` is the folder of a quantized artifact: the index and the golden answers are made with the very copy
    that is shipped. The same artifact, catalogue and queries give the same release digest. On any failure nothing is
    left in ``out``. Raises :class:`BadInput` for bad input, :class:`RankopsError` when the disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is not empty", "give a new folder: bundles are never changed")
    queries = _golden(golden_queries)
    products = read_catalogue(catalogue_parquet)
    with _room_on_disk(out), staged_directory(out) as staged:
        encoder = _copy_encoder(artifact, staged / ENCODER, threads)
        progress(f"index: encoding {len(products):,} products")
        build_index(encoder, products, staged / INDEX, progress=progress)
        _write_products(products, staged / PRODUCTS)
        index = ProductIndex.open(staged / INDEX, encoder_digest=encoder.digest)
        write_json(staged / GOLDEN, [answer(encoder, index, query) for query in queries])
        files = payload_digests(staged)
        manifest = ReleaseManifest(
            **facts.model_dump(), files=files, encoder_digest=encoder.digest, digest=combine_digests(files)
        )
        manifest.write(staged)
    progress(f"release {manifest.short}: {len(files)} files, {len(products):,} products, {len(queries)} golden queries")
    return manifest


def answer(encoder: OnnxEncoder, index: ProductIndex, query: str, k: int = GOLDEN_DEPTH) -> dict[str, Any]:
    """``{query, product_ids, scores}`` as a server must answer it: the query normalized and encoded alone."""
    (vector,) = encoder.encode([normalize_query(query)], role="query")
    ids, scores = index.search(vector, k)
    return {"query": query, "product_ids": ids, "scores": [round(float(score), 6) for score in scores]}


def _golden(queries: Sequence[str]) -> list[str]:
    """In the given order, without repetitions."""
    kept = list(dict.fromkeys(query for query in queries if normalize_query(query)))
    if not kept:
        raise BadInput("a release needs at least one golden query", "give the held-out queries of the dataset")
    return kept


def _copy_encoder(artifact: Path, target: Path, threads: int) -> OnnxEncoder:
    target.mkdir()
    for name in ENCODER_FILES:
        if not (artifact / name).is_file():
            raise BadInput(f"{artifact / name} is missing", "rematerialize the quantized artifact")
        shutil.copyfile(artifact / name, target / name)
    return OnnxEncoder(target, threads=threads)


def _write_products(products: Sequence[Mapping[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.float64() if name == "price" else pa.string() for name in PRODUCT_COLUMNS]
    rows = [{name: product.get(name) for name in PRODUCT_COLUMNS} for product in products]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(zip(PRODUCT_COLUMNS, kinds, strict=True))))
    pq.write_table(table, sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


@contextmanager
def _room_on_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise RankopsError(
            f"the disk is full: {out} could not be written ({error.strerror}); nothing of it was left behind",
            f"free space on the file system of {out.parent}, then rematerialize the release",
        ) from error
