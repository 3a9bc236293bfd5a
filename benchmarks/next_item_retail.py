"""Next item on a year of a shop's invoices (``retail``): our model against tuned item-item co-occurrence.

Everything is fitted on what was sold before October 2011 and asked the 1,714 given cases of that month. Settings were
chosen on September (the model's own dev days). ``also`` has every system with its interval. A given case holds one
product of a basket out, drawn by lot: ``every product in turn`` holds each product of the same baskets out and takes
the mean of a basket, which is what the lot has for its expectation and has half its standard error. ``new products``
are those of fewer than ten sales, against the text model alone, at every sale of one in October. What standing still
costs is :mod:`benchmarks.retail_drift`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl

from benchmarks.harness import Comparison
from benchmarks.retail import (
    SEED,
    Run,
    Say,
    base_model,
    before,
    compared,
    fitted,
    floors_of,
    folder,
    invoices,
    mean,
    paired,
    ranked,
)
from rankops.baskets import MAX_CONTEXT, MIN_BASKET, NEW_SALES, baskets_of
from rankops.cooccurrence import items_of
from rankops.dataset import Dataset
from rankops.evaluation.metrics import per_query
from rankops.evaluation.next_item import floor_runs
from rankops.next_item import NextItemModel
from rankops.specs import Floor

_PEER: tuple[Floor, ...] = ("item-item",)
_AT_ONCE = 5_000  # questions: their scores over all products take 70 MB
Questions = tuple[pl.DataFrame, pl.DataFrame]
"""Next-item questions, by query_id, and their judgements."""


def measure(progress: Say) -> Comparison:
    """HR@20 over item-item's. Raises :class:`rankops.errors.BadInput` where the data is absent."""
    cases = given_cases(folder() / "next_item_cases_dev.jsonl.gz")
    whole, base = invoices(), base_model(progress)
    seen = before(whole, date(2011, 10, 1))
    model = fitted(seen, base, progress)
    in_turn = october_questions(whole, seen)
    new = _of(in_turn, in_turn[0].filter(pl.col("popularity") == "new"))
    floors = _floors(seen, [cases, new], base, progress)
    tables = {name: per_query(run, cases[1]) for name, run in {"ours": ranked(model, cases[0]), **floors}.items()}
    also = {
        "every product in turn": _in_turn(seen, in_turn, model, progress),
        "new products": _new_products(new, ranked(model, new[0]), floors["text"]),
    }
    return _comparison(tables, also, model)


def given_cases(path: Path) -> Questions:
    """The cases as next-item questions and their judgements."""
    cases = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]
    columns = {"query_id": [c["invoice"] for c in cases], "query": [" ".join(c["context"]) for c in cases]}
    queries = pl.DataFrame(columns).with_columns(
        group_id=pl.col("query_id"), split=pl.lit("test"), popularity=pl.lit("torso"), category=pl.lit(None, pl.String)
    )
    held_out = pl.DataFrame({"query_id": columns["query_id"], "product_id": [c["held_out"] for c in cases]})
    return queries.sort("query_id"), held_out.with_columns(grade=pl.lit(3, pl.Int8))


def _floors(seen: Dataset, asked: Sequence[Questions], base: Path, progress: Say) -> dict[str, Run]:
    """The baselines' runs over all questions."""
    columns = asked[0][0].columns
    queries = pl.concat([questions.select(columns) for questions, _ in asked])
    together = replace(seen, queries=queries, judgements=pl.concat([judgements for _, judgements in asked]))
    return floors_of(together, base, progress)


def _in_turn(seen: Dataset, asked: Questions, model: NextItemModel, progress: Say) -> dict[str, Any]:
    """HR@20 and MRR@20 of ours and of item-item, each the mean of baskets' means; intervals over baskets."""
    questions, parts = asked[0], []
    for start in range(0, questions.height, _AT_ONCE):
        part, truth = _of(asked, questions.slice(start, _AT_ONCE))
        progress(f"every product in turn: {start:,} of {questions.height:,} questions answered")
        floor = floor_runs(replace(seen, queries=part), _unread, SEED, lambda _: None, _PEER)["item-item"]
        both = [per_query(run, truth).select("hr@20", "mrr@20") for run in (ranked(model, part), floor)]
        parts.append(pl.concat([part.select("group_id"), both[0], both[1].select(pl.all().name.prefix("peer_"))],
                               how="horizontal"))  # fmt: skip
    found = pl.concat(parts).group_by("group_id").mean().sort("group_id")
    baskets = found["group_id"].to_list()
    values = {name: found[name].to_numpy() for name in found.columns[1:]}
    return {
        "questions": questions.height,
        "baskets": len(baskets),
        "ours": {m: mean(values[m], baskets) for m in ("hr@20", "mrr@20")},
        "item-item": {m: mean(values[f"peer_{m}"], baskets) for m in ("hr@20", "mrr@20")},
        "difference": paired(values["hr@20"], values["peer_hr@20"], baskets),
    }


def _of(asked: Questions, some: pl.DataFrame) -> Questions:
    """Some of the questions, and their judgements."""
    return some, asked[1].join(some, on="query_id", how="semi")


def _unread() -> NoReturn:
    raise AssertionError("item-item reads no text")


def _new_products(new: Questions, ours: Run, texts: Run) -> dict[str, Any]:
    """HR@20 on products with one to nine sales before October, ours and by texts alone; intervals over baskets."""
    asked, judgements = new
    hits = {name: per_query(run, judgements)["hr@20"].to_numpy() for name, run in (("ours", ours), ("text", texts))}
    baskets = asked["group_id"].to_list()
    return {
        "questions": asked.height,
        "baskets": len(set(baskets)),
        **{name: mean(values, baskets) for name, values in hits.items()},
        "difference": paired(hits["ours"], hits["text"], baskets),
    }


def october_questions(whole: Dataset, seen: Dataset) -> Questions:
    """Each product of each October basket, held out of it in turn: questions and judgements, by query_id.

    ``popularity`` is ``new`` where the held-out product had one to nine sales before.
    """
    ids = sorted(seen.catalogue["product_id"].to_list())
    sales = dict(zip(ids, items_of(baskets_of(seen.interactions), ids).sales.tolist(), strict=True))
    october = baskets_of(before(whole, date(2011, 11, 1)).interactions.filter(pl.col("day") >= date(2011, 10, 1)))
    rows = [
        (
            f"{basket}:{product}",
            basket,
            " ".join(_context(products, product)),
            product,
            "new" if 0 < sales.get(product, 0) < NEW_SALES else "torso",
        )
        for basket, products in october.select("basket_id", "product_ids").iter_rows()
        for product in products
        if len(products) >= MIN_BASKET
    ]
    names = ["query_id", "group_id", "query", "product_id", "popularity"]
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()), orient="row").sort("query_id")
    asked = table.drop("product_id").with_columns(split=pl.lit("test"), category=None)
    return asked, table.select("query_id", "product_id", pl.lit(3, pl.Int8).alias("grade"))


def _context(products: Sequence[str], held_out: str) -> list[str]:
    others = [product for product in products if product != held_out]
    drawn = np.random.default_rng([SEED, zlib.crc32(" ".join(others).encode())]).permutation(len(others))
    return [others[i] for i in drawn[:MAX_CONTEXT]]


def _comparison(tables: dict[str, pl.DataFrame], also: dict[str, Any], model: NextItemModel) -> Comparison:
    values = {name: {m: table[m].to_numpy() for m in ("hr@20", "mrr@20")} for name, table in tables.items()}
    ours, peer = values["ours"]["hr@20"], values["item-item"]["hr@20"]
    groups = [str(i) for i in range(len(ours))]
    return compared(
        "next_item_retail",
        "HR@20 of the next item, 1,714 cases of October 2011, fitted on what came before",
        ours,
        peer,
        groups,
        peer_version="cosine of co-occurrence, baskets weighted by 1/size and halved every 150 days",
        also={
            "systems": {name: {m: mean(v, groups) for m, v in found.items()} for name, found in values.items()},
            "difference to item-item": mean(ours - peer, groups),
            **also,
            "setting": model.config.facts.get("setting"),
        },
    )
