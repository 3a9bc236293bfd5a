"""Multi-CPR, e-commerce part (Long et al., SIGIR 2022): Chinese queries and product titles, one right title a query."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rankops.data.judged import judged_dataset
from rankops.data.tabular import find_file, read_text_table
from rankops.dataset import Dataset

GAINS = {"1": 3}
NOTE = "Multi-CPR judges one title a query as right (3); what is not judged is not known to be wrong"


def import_multi_cpr(folder: Path) -> Dataset:
    """Read ``corpus.tsv``, ``{train,dev}.query.txt`` and ``qrels.{train,dev}.tsv`` (none has a header).

    The published dev part is what results are reported on, so it is our test; a tenth of the train groups becomes dev.
    Raises :class:`rankops.errors.BadInput` naming the file that is missing or malformed.
    """
    root = next((folder / name for name in ("data/ecom", "ecom") if (folder / name).is_dir()), folder)
    corpus = read_text_table(find_file(root, "corpus.tsv"), ["product_id", "title"], header=False)
    parts, qrels = [], []
    for published, split in (("train", "train"), ("dev", "test")):
        table = read_text_table(find_file(root, f"{published}.query.txt"), ["query_id", "query"], header=False)
        parts.append(table.with_columns(pl.lit(split).alias("split"), pl.lit(None, dtype=pl.String).alias("category")))
        columns = ["query_id", "iteration", "product_id", "label"]
        qrels.append(read_text_table(find_file(root, f"qrels.{published}.tsv"), columns, header=False))
    right = pl.concat(qrels).filter(pl.col("label").str.strip_chars() == "1")
    return judged_dataset(
        name="multi-cpr",
        source="Multi-CPR e-commerce",
        catalogue=corpus,
        queries=pl.concat(parts),
        judgements=right.with_columns(pl.lit(GAINS["1"], dtype=pl.Int8).alias("grade")),
        gains=GAINS,
        note=NOTE,
    )
