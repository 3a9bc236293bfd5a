"""What a release says about a product for display, and where it keeps that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rankops.errors import IntegrityError
from rankops.files import write_bytes

PRODUCTS = "products.parquet"
PRODUCT_COLUMNS = ("product_id", "title", "category", "brand", "price")


def write_products(products: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write ``products.parquet`` (deterministic bytes) into a bundle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.float64() if name == "price" else pa.string() for name in PRODUCT_COLUMNS]
    rows = [{name: product.get(name) for name in PRODUCT_COLUMNS} for product in products]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(zip(PRODUCT_COLUMNS, kinds, strict=True))))
    pq.write_table(table, sink, compression="zstd")
    write_bytes(folder / PRODUCTS, sink.getvalue().to_pybytes())


def read_products(folder: Path, needed: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``{product_id: row}``. Raises :class:`IntegrityError` where a needed product is not described."""
    import pyarrow.parquet as pq

    # not read_table: it imports pyarrow.dataset, and with it pandas where that is installed (0.3 s of a start)
    with pq.ParquetFile(folder / PRODUCTS) as file:
        rows = file.read(columns=list(PRODUCT_COLUMNS)).to_pylist()
    products = {row["product_id"]: row for row in rows}
    if absent := [product_id for product_id in needed if product_id not in products]:
        raise IntegrityError(
            f"{PRODUCTS} lacks {len(absent)} products of the index, e.g. {absent[0]!r}",
            "roll back to the last release that verified, and rematerialize this one",
        )
    return products
