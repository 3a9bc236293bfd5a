"""Product texts of a release: what a ranker reads of a product when a request gives its id alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rankops.errors import IntegrityError
from rankops.files import write_bytes

TEXTS = "texts.parquet"


def write_texts(texts: Mapping[str, str], folder: Path) -> None:
    """Write ``texts.parquet`` (product_id, text; sorted, deterministic bytes) into a bundle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = sorted(texts)
    columns = {"product_id": pa.array(ids, pa.string()), "text": pa.array([texts[i] for i in ids], pa.string())}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    write_bytes(folder / TEXTS, sink.getvalue().to_pybytes())


def read_texts(folder: Path) -> dict[str, str]:
    """``{product_id: text}``. Raises :class:`IntegrityError` where the file is no such table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(folder / TEXTS) as file:  # not pq.read_table: see rankops.release.products
            table = file.read(columns=["product_id", "text"])
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{folder / TEXTS} cannot be read: {error}", "rematerialize the release") from error
    return dict(zip(table["product_id"].to_pylist(), table["text"].to_pylist(), strict=True))
