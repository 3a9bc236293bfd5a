"""Invoices of a shop (UCI "Online Retail": Chen, Sain & Guo 2012, doi:10.24432/C5BW33) as catalogue and interactions.

What is dropped, and counted in ``info["dropped"]``: cancellations, returns and gifts (quantity or price not above
zero), lines without a description, and codes that are no products (postage, fees, samples). Customer ids are replaced
by short hashes on the way in.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import polars as pl

from rankops.baskets import NO_QUERY
from rankops.data.tables import check_table
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput

INVOICE_COLUMNS = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
INVOICES = "online_retail_*.csv*"
"""What the file is called in a folder."""
_PRODUCT = r"^\d{5}[A-Z]{0,2}$"


def import_retail(path: Path) -> Dataset:
    """Read an invoice file (CSV, may end in .gz) with the columns :data:`INVOICE_COLUMNS`.

    Each invoice is a basket: its id is the interactions' ``search_id``, their query is ``-``. The catalogue has the
    last description of each product as its title, its median price and the day of its first sale. There are no
    queries and no judgements: next-item questions come from the invoices themselves (:mod:`rankops.baskets`).
    Raises :class:`BadInput` naming a missing file or column, or the row that cannot be read.
    """
    if not path.is_file():
        raise BadInput(f"{path} is missing", "give the CSV file of invoices")
    raw = pl.read_csv(path, infer_schema=False)
    if absent := [name for name in INVOICE_COLUMNS if name not in raw.columns]:
        raise BadInput(f"{path} has no column {', '.join(absent)}", f"it needs {', '.join(INVOICE_COLUMNS)}")
    lines = _typed(raw, path)
    kept, dropped = _clean(lines)
    catalogue = check_table("catalogue", _catalogue(kept), str(path))
    interactions = check_table("interactions", _interactions(kept), str(path), catalogue=catalogue)
    return Dataset(
        catalogue=catalogue.sort("product_id"),
        interactions=interactions,
        queries=pl.DataFrame(schema=COLUMNS["queries"]),
        judgements=pl.DataFrame(schema=COLUMNS["judgements"]),
        info={
            "name": "retail",
            "source": path.name,
            "dropped": dropped,
            "counts": {"products": catalogue.height, "interactions": interactions.height},
        },
    )


def _typed(raw: pl.DataFrame, path: Path) -> pl.DataFrame:
    typed = raw.select(
        pl.int_range(1, pl.len() + 1).alias("row"),
        pl.col("InvoiceNo").str.strip_chars(),
        pl.col("StockCode").str.strip_chars().str.to_uppercase(),
        pl.col("Description").str.strip_chars(),
        pl.col("Quantity").cast(pl.Int64, strict=False),
        pl.col("UnitPrice").cast(pl.Float64, strict=False),
        pl.col("InvoiceDate").str.to_datetime(strict=False).dt.date().alias("day"),
        pl.col("CustomerID"),
    )
    for column in ("Quantity", "UnitPrice", "day"):
        if (wrong := typed.filter(pl.col(column).is_null())).height:
            name = "InvoiceDate" if column == "day" else column
            raise BadInput(f"{path}, row {wrong['row'][0]}: {name} cannot be read", "correct the row")
    return typed


def _clean(lines: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    rules = {
        "cancellations": ~pl.col("InvoiceNo").str.starts_with("C"),
        "quantity or price not above zero": (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0),
        "no description": pl.col("Description").is_not_null() & (pl.col("Description") != ""),
        "no product": pl.col("StockCode").str.contains(_PRODUCT),
        "repeated in its invoice": pl.struct("InvoiceNo", "StockCode").is_first_distinct(),
    }
    kept, dropped = lines, {}
    for name, rule in rules.items():
        before = kept.height
        kept = kept.filter(rule)
        dropped[name] = before - kept.height
    if kept.is_empty():
        raise BadInput("no line of an invoice is left after cleaning", "look at the file")
    return kept, dropped


def _catalogue(kept: pl.DataFrame) -> pl.DataFrame:
    return (
        kept.sort("day", "row")
        .group_by(pl.col("StockCode").alias("product_id"))
        .agg(
            pl.col("Description").last().alias("title"),
            pl.col("UnitPrice").median().alias("price"),
            pl.col("day").first().alias("added_day"),
        )
        .sort("product_id")
    )


def _interactions(kept: pl.DataFrame) -> pl.DataFrame:
    known = kept.filter(pl.col("CustomerID").is_not_null())["CustomerID"].unique().sort().to_list()
    hashed = {customer: f"c{sha256(customer.encode()).hexdigest()[:12]}" for customer in known}
    user = pl.col("CustomerID").replace_strict(hashed, default=None, return_dtype=pl.String)
    return kept.select(
        pl.col("InvoiceNo").alias("search_id"),
        pl.col("day").min().over("InvoiceNo"),
        # an invoice without a customer is its own shopper
        pl.coalesce(user.first().over("InvoiceNo"), pl.concat_str(pl.lit("i"), "InvoiceNo")).alias("user_id"),
        pl.lit(NO_QUERY).alias("query"),
        pl.int_range(1, pl.len() + 1).over("InvoiceNo").cast(pl.Int32).alias("position"),
        pl.col("StockCode").alias("product_id"),
        pl.lit(True).alias("clicked"),
        pl.lit(True).alias("purchased"),
    )
