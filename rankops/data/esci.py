"""ESCI, Amazon's shopping queries (Reddy et al. 2022): the examples and products Parquet files of the published set.

Gains: E (exact) 3, S (substitute) 2, C (complement) 1, I (irrelevant) 0. The paper gives E 1, S 0.1, C 0.01, I 0; its
published scorer has the gains of S and C the other way round, so figures from that scorer are not comparable with
figures by the paper's gains, nor with ours.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rankops.data.judged import graded, judged_dataset
from rankops.data.tabular import find_file, read_parquet_columns
from rankops.dataset import Dataset
from rankops.errors import BadInput

GAINS = {"E": 3, "S": 2, "C": 1, "I": 0}
NOTE = (
    "ESCI labels: E 3, S 2, C 1, I 0. The paper's gains are E 1, S 0.1, C 0.01, I 0; the published scorer swaps those "
    "of S and C. Figures by either are not comparable with these"
)
LOCALES = ("us", "es", "jp")
_EXAMPLES = ["query_id", "query", "product_id", "product_locale", "esci_label", "small_version", "split"]
_PRODUCTS = [
    "product_id", "product_title", "product_description", "product_bullet_point", "product_brand", "product_color",
    "product_locale",
]  # fmt: skip


def import_esci(folder: Path, locale: str = "us", version: str = "small") -> Dataset:
    """Queries of one ``locale`` and ``version`` (small: the ranking task; large: all), with the published train and
    test; a tenth of the train groups becomes dev. The catalogue has every product of the locale that was judged.

    Raises :class:`BadInput` naming the file, column, label or option that is missing or unknown.
    """
    if locale not in LOCALES or version not in ("small", "large"):
        raise BadInput(f"locale {locale!r}, version {version!r}", f"give one of {', '.join(LOCALES)}; small or large")
    root = folder / "shopping_queries_dataset" if (folder / "shopping_queries_dataset").is_dir() else folder
    examples_file = find_file(root, "shopping_queries_dataset_examples.parquet")
    products_file = find_file(root, "shopping_queries_dataset_products.parquet")
    examples = read_parquet_columns(examples_file, _EXAMPLES).filter(pl.col("product_locale") == locale)
    if version == "small":
        examples = examples.filter(pl.col("small_version").cast(pl.Int64) == 1)
    labels = examples.with_columns(pl.col("query_id").cast(pl.String)).collect()
    if labels.is_empty():
        raise BadInput(f"{examples_file} has no example of locale {locale}, version {version}", "choose another")
    products = read_parquet_columns(products_file, _PRODUCTS).filter(pl.col("product_locale") == locale)
    judged = products.filter(pl.col("product_id").is_in(labels["product_id"].unique().implode())).collect()
    colour = pl.when(pl.col("product_color").fill_null("") != "").then(pl.format("colour {}", "product_color"))
    catalogue = judged.select(
        "product_id",
        pl.col("product_title").alias("title"),
        pl.col("product_description").alias("description"),
        pl.col("product_brand").alias("brand"),
        pl.concat_str(colour, "product_bullet_point", separator="; ", ignore_nulls=True).alias("attributes"),
    )
    catalogue = catalogue.filter(pl.col("title").str.strip_chars() != "").unique("product_id", maintain_order=True)
    queries = labels.select("query_id", "query", "split", pl.lit(None, dtype=pl.String).alias("category")).unique(
        "query_id", keep="first", maintain_order=True
    )
    return judged_dataset(
        name="esci",
        source=f"ESCI ({locale}, {version})",
        catalogue=catalogue,
        queries=queries,
        judgements=graded(labels, "esci_label", GAINS, str(examples_file)),
        gains=GAINS,
        note=NOTE,
    )
