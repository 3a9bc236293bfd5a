"""WANDS, Wayfair's annotation data set (Chen et al., ECIR 2022): product, query and label files, tab-separated."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rankops.data.judged import graded, judged_dataset
from rankops.data.tabular import find_file, read_text_table
from rankops.dataset import Dataset

GAINS = {"Exact": 3, "Partial": 1, "Irrelevant": 0}
NOTE = "WANDS labels: Exact 3, Partial 1, Irrelevant 0 (the paper's nDCG gives Partial half of Exact, here a third)"
_PRODUCT = [
    "product_id",
    "product_name",
    "product_class",
    "category hierarchy",
    "product_description",
    "product_features",
]


def import_wands(folder: Path) -> Dataset:
    """Read the folder ``dataset`` of the WANDS repository. The set has no split: near-duplicate groups decide.

    Raises :class:`rankops.errors.BadInput` naming the file, column or label that is missing or unknown.
    """
    root = folder / "dataset" if (folder / "dataset").is_dir() else folder
    products = read_text_table(find_file(root, "product.csv"), _PRODUCT, quoted=True)
    queries = read_text_table(find_file(root, "query.csv"), ["query_id", "query", "query_class"], quoted=True)
    labels = read_text_table(find_file(root, "label.csv"), ["query_id", "product_id", "label"], quoted=True)
    parts = pl.col("category hierarchy").str.split("/").list.eval(pl.element().str.strip_chars())
    features = pl.col("product_features").str.split("|").list.eval(pl.element().str.strip_chars())
    catalogue = products.select(
        "product_id",
        pl.col("product_name").alias("title"),
        pl.col("product_description").alias("description"),
        pl.coalesce(parts.list.join(" > "), "product_class").alias("category"),
        features.list.unique(maintain_order=True).list.head(12).list.join("; ").alias("attributes"),
    )
    return judged_dataset(
        name="wands",
        source="WANDS",
        catalogue=catalogue,
        queries=queries.select(
            "query_id", "query", pl.lit(None, dtype=pl.String).alias("split"), pl.col("query_class").alias("category")
        ),
        judgements=graded(labels, "label", GAINS, "WANDS label.csv"),
        gains=GAINS,
        note=NOTE,
    )
