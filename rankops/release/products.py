"""What a release says about a product for display, and where it keeps that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankops.errors import IntegrityError
from rankops.files import write_bytes

PRODUCTS = "products.parquet"
PRODUCT_COLUMNS = ("product_id", "title", "category", "brand", "price")
AVAILABLE = "available"
"""A column that is there only where the catalogue has one: False is a product that cannot be bought."""


def write_products(products: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write ``products.parquet`` (deterministic bytes) into a bundle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.float64() if name == "price" else pa.string() for name in PRODUCT_COLUMNS}
    if any(AVAILABLE in product for product in products):
        kinds[AVAILABLE] = pa.bool_()
    rows = [{name: product.get(name) for name in kinds} for product in products]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))
    pq.write_table(table, sink, compression="zstd")
    write_bytes(folder / PRODUCTS, sink.getvalue().to_pybytes())


@dataclass(frozen=True)
class Products:
    """``shown``: what is displayed of each product, by id. ``unavailable``: ids of those that cannot be bought."""

    shown: dict[str, dict[str, Any]]
    unavailable: frozenset[str]


def read_products(folder: Path, needed: Iterable[str]) -> Products:
    """The products of a release; none is unavailable where its catalogue did not say.

    Raises :class:`IntegrityError` where a needed product is not described.
    """
    import pyarrow.parquet as pq

    # not read_table: it imports pyarrow.dataset, and with it pandas where that is installed (0.3 s of a start)
    with pq.ParquetFile(folder / PRODUCTS) as file:
        rows = file.read().to_pylist()
    unavailable = frozenset(row["product_id"] for row in rows if row.pop(AVAILABLE, None) is False)
    shown = {row["product_id"]: row for row in rows}
    if absent := [product_id for product_id in needed if product_id not in shown]:
        raise IntegrityError(
            f"{PRODUCTS} lacks {len(absent)} products of the index, e.g. {absent[0]!r}",
            "roll back to the last release that verified, and rematerialize this one",
        )
    return Products(shown, unavailable)
