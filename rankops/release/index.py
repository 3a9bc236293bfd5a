"""The product index: every product's vector, searched exactly.

A catalogue of some ten thousand products is one matrix-vector product of a few milliseconds: exact search needs no
tuning, has no recall to lose, and gives the same answer everywhere. Rows are sorted by product id, so that equal
scores have one order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from rankops.encoding import Encoder
from rankops.errors import BadInput, IntegrityError
from rankops.files import write_json
from rankops.text import product_text

VECTORS, PRODUCT_IDS, DESCRIPTION = "vectors.npy", "product_ids.json", "index.json"
_CHUNK = 1024
_REBUILD = "rematerialize the release: the index must be built with the encoder that it ships with"


class IndexEncoder(Encoder, Protocol):
    """An encoder that can say which one it is, as :class:`rankops.encoding.OnnxEncoder` can."""

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the encoder's files."""
        ...


def read_catalogue(parquet: Path) -> list[dict[str, Any]]:
    """The rows of a catalogue parquet, sorted by ``product_id``.

    Raises :class:`BadInput` naming the missing file or column, or the row whose id is empty or repeated.
    """
    import pyarrow.parquet as pq

    if not parquet.is_file():
        raise BadInput(f"{parquet} is missing", "rematerialize the dataset asset")
    table = pq.read_table(parquet)
    absent = sorted({"product_id", "title"} - set(table.column_names))
    if absent:
        raise BadInput(f"{parquet} has no column {', '.join(absent)}", "a catalogue has product_id and title")
    return sorted_products(table.to_pylist(), source=str(parquet))


def sorted_products(products: Sequence[Mapping[str, Any]], *, source: str = "catalogue") -> list[dict[str, Any]]:
    """Rows by ``product_id``. Raises :class:`BadInput` for no rows, or naming the row with a bad id."""
    if not products:
        raise BadInput(f"{source} holds no product", "an index needs at least one product")
    seen: set[str] = set()
    for row, product in enumerate(products):
        product_id = product.get("product_id")
        if not isinstance(product_id, str) or not product_id or product_id in seen:
            what = "repeats" if product_id in seen else "has no text in"
            raise BadInput(f"{source}, row {row}: {what} product_id ({product_id!r})", "give each product its own id")
        seen.add(product_id)
    return sorted((dict(p) for p in products), key=lambda p: str(p["product_id"]))


def build_index(
    encoder: IndexEncoder,
    products: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Encode ``products`` and write ``vectors.npy`` (float32, N x d), ``product_ids.json``, ``index.json`` to ``out``.

    Vectors are written chunk by chunk: memory does not grow with the catalogue. The same products and encoder give
    the same bytes. Raises :class:`BadInput` as :func:`sorted_products`, ``OSError`` when the disk is full.
    """
    rows = sorted_products(products)
    out.mkdir(parents=True, exist_ok=True)
    texts = [product_text(row) for row in rows]
    with (out / VECTORS).open("wb") as handle:
        _write_header(handle, (len(rows), encoder.dimension))
        for vectors in _encode_chunks(encoder, texts, progress):
            handle.write(np.ascontiguousarray(vectors, dtype="<f4").data)
    ids = [str(row["product_id"]) for row in rows]
    write_json(out / PRODUCT_IDS, ids)
    description = {
        "encoder_digest": encoder.digest,
        "count": len(rows),
        "dimension": encoder.dimension,
        "catalogue_digest": catalogue_digest(ids, texts),
    }
    write_json(out / DESCRIPTION, description)


def catalogue_digest(ids: Sequence[str], texts: Sequence[str]) -> str:
    """Hex SHA-256 over what the encoder saw: each product's id and text."""
    digest = sha256()
    for product_id, text in zip(ids, texts, strict=True):
        digest.update(json.dumps([product_id, text], ensure_ascii=False).encode())
    return digest.hexdigest()


def _write_header(handle: BinaryIO, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(handle, header)


def _encode_chunks(encoder: Encoder, texts: list[str], progress: Callable[[str], None]) -> Iterator[np.ndarray]:
    started = said = time.monotonic()
    for start in range(0, len(texts), _CHUNK):
        yield encoder.encode(texts[start : start + _CHUNK], role="product")
        now, done = time.monotonic(), min(start + _CHUNK, len(texts))
        if now - said > 2:
            said = now
            progress(f"index: {done:,} of {len(texts):,} products encoded ({done / (now - started):,.0f}/s)")


@dataclass(frozen=True)
class ProductIndex:
    """An opened index. ``vectors`` is a read-only memory map (N, d): processes share its pages."""

    vectors: np.ndarray
    product_ids: list[str]
    encoder_digest: str
    catalogue_digest: str

    @classmethod
    def open(cls, folder: Path, *, encoder_digest: str) -> ProductIndex:
        """Open what :func:`build_index` wrote.

        Raises :class:`IntegrityError` when the index was built with another encoder (both digests are named), or its
        files contradict each other.
        """
        try:
            description = json.loads((folder / DESCRIPTION).read_text())
            ids = json.loads((folder / PRODUCT_IDS).read_text())
            vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
            built_with, catalogue = str(description["encoder_digest"]), str(description["catalogue_digest"])
            expected_shape = (int(description["count"]), int(description["dimension"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"the index in {folder} cannot be read: {type(error).__name__}: {error}", _REBUILD
            ) from error
        if built_with != encoder_digest:
            raise IntegrityError(
                f"the index in {folder} was built with encoder {built_with}, the encoder of this release is "
                f"{encoder_digest}",
                _REBUILD,
            )
        if vectors.shape != expected_shape or vectors.dtype != np.float32 or len(ids) != len(vectors):
            raise IntegrityError(
                f"{folder}: {VECTORS} is {vectors.dtype} {vectors.shape}, {PRODUCT_IDS} names {len(ids)} products, "
                f"{DESCRIPTION} says float32 {expected_shape}",
                _REBUILD,
            )
        return cls(vectors=vectors, product_ids=ids, encoder_digest=built_with, catalogue_digest=catalogue)

    def __len__(self) -> int:
        return len(self.product_ids)

    def scores(self, vector: np.ndarray) -> np.ndarray:
        """float32 ``(N,)``: each product's inner product with ``vector`` (d,), the cosine for unit vectors.

        Raises :class:`BadInput` for a vector of another width.
        """
        if vector.shape != (self.vectors.shape[1],):
            raise BadInput(f"a query vector of shape {vector.shape} does not fit an index of {self.vectors.shape[1]}")
        found: np.ndarray = self.vectors @ vector
        return found
