"""RetailRocket's e-commerce events (2015): events.csv, item_properties_part*.csv and category_tree.csv.

All texts of the set are hashed. A product's title is therefore its id; its hashed words (numbers) are its attributes,
so that text models can at least see which products share words. There are no queries: sessions are baskets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from rankops.data.sessions import PURCHASE, VIEW, interactions_of_events
from rankops.data.steps import Preparation
from rankops.data.tables import check_table
from rankops.data.tabular import find_file, read_text_table
from rankops.dataset import COLUMNS, Dataset
from rankops.errors import BadInput

KINDS = {"view": VIEW, "addtocart": VIEW, "transaction": PURCHASE}
_MAX_WORDS = 30
_MAX_DEPTH = 20


def import_retailrocket(folder: Path) -> Dataset:
    """Sessions (30-minute rule) as interactions, and a catalogue of the products that occur in them.

    Raises :class:`BadInput` naming the file, column, row or event that is missing or unknown.
    """
    log = Preparation()
    events = _events(find_file(folder, "events.csv"), log)
    interactions, facts = interactions_of_events(events, KINDS)
    log.change("sessions (30 minutes)", "events", events.height, {}, [f"{name} {n:,}" for name, n in facts.items()])
    catalogue = check_table("catalogue", _catalogue(folder, interactions), str(folder))
    checked = check_table("interactions", interactions, str(folder), catalogue=catalogue)
    return Dataset(
        catalogue=catalogue.sort("product_id"),
        interactions=checked,
        queries=pl.DataFrame(schema=COLUMNS["queries"]),
        judgements=pl.DataFrame(schema=COLUMNS["judgements"]),
        info={
            "name": "retailrocket",
            "source": "RetailRocket",
            "counts": {"products": catalogue.height, "interactions": checked.height, **facts},
            "preparation": log.facts(),
        },
    )


def _events(path: Path, log: Preparation) -> pl.DataFrame:
    raw = read_text_table(path, ["timestamp", "visitorid", "event", "itemid"], separator=",", quoted=True)
    typed = raw.select(
        pl.concat_str(pl.lit("v"), "visitorid").alias("user_id"),
        pl.from_epoch(pl.col("timestamp").cast(pl.Int64, strict=False), time_unit="ms").alias("time"),
        pl.col("itemid").alias("product_id"),
        "event",
    )
    if (wrong := typed.with_row_index("row", offset=1).filter(pl.col("time").is_null())).height:
        raise BadInput(f"{path}, row {wrong['row'][0]}: timestamp cannot be read", "fetch the file again")
    rules = {
        "repeated event": pl.struct(pl.all()).is_first_distinct(),
        "no product": pl.col("product_id").is_not_null(),
    }
    return log.drop("clean", "events", typed, rules, show=["user_id", "product_id"])


def _catalogue(folder: Path, interactions: pl.DataFrame) -> pl.DataFrame:
    first = interactions.group_by("product_id").agg(pl.col("day").min().alias("added_day"))
    latest = _properties(folder, first["product_id"])
    paths = _category_paths(find_file(folder, "category_tree.csv"))
    category = latest.filter(pl.col("property") == "categoryid").select(
        "product_id", pl.col("value").replace_strict(paths, default=None, return_dtype=pl.String).alias("category")
    )
    words = latest.filter(~pl.col("property").is_in(["categoryid", "available"])).select(
        "product_id", pl.col("value").str.split(" ").alias("word")
    )
    hashed = (
        words.explode("word")
        .filter(pl.col("word").str.contains(r"^\d+$"))  # numbers with a leading n are measures, not words
        .unique()
        .sort("product_id", "word")
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("word").head(_MAX_WORDS).str.join(" ").alias("attributes"))
    )
    joined = first.join(category, on="product_id", how="left").join(hashed, on="product_id", how="left")
    return joined.with_columns(pl.concat_str(pl.lit("item "), "product_id").alias("title")).sort("product_id")


def _properties(folder: Path, products: pl.Series) -> pl.DataFrame:
    """``product_id, property, value``: the last snapshot of each property of these products."""
    files = sorted(folder.glob("item_properties*.csv"))
    if not files:
        raise BadInput(f"{folder / 'item_properties_part1.csv'} is missing", "give the folder that holds events.csv")
    names = ["timestamp", "itemid", "property", "value"]
    parts = []
    for path in files:
        lazy = pl.scan_csv(path, infer_schema=False)
        if missing := [name for name in names if name not in lazy.collect_schema().names()]:
            raise BadInput(f"{path} has no column {', '.join(missing)}", "fetch the file again")
        parts.append(lazy.select(names).filter(pl.col("itemid").is_in(products.implode())))
    table: pl.DataFrame = pl.concat(parts).collect()
    ordered = table.sort("itemid", "property", pl.col("timestamp").cast(pl.Int64, strict=False), "value")
    latest = ordered.unique(["itemid", "property"], keep="last", maintain_order=True)
    return latest.rename({"itemid": "product_id"}).drop("timestamp")


def _category_paths(path: Path) -> Mapping[str, str]:
    """``{category: "root > ... > category"}``."""
    table = read_text_table(path, ["categoryid", "parentid"], separator=",", quoted=True)
    parent = dict(table.rows())
    paths = {}
    for category in parent:
        names: list[str] = [category]
        while (above := parent.get(names[-1])) and above not in names and len(names) < _MAX_DEPTH:
            names.append(above)
        paths[category] = " > ".join(f"category {name}" for name in reversed(names))
    return paths
