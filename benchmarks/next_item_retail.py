"""Next item on a year of a shop's invoices (``retail``): our model against tuned item-item co-occurrence.

Everything is fitted on what was sold before October 2011 and asked the 1,714 given cases of that month. Settings were
chosen on September (the model's own dev days). ``also`` has every system with its interval; new products (fewer than
ten sales) against the text model alone, where every sale of one in October is asked, for the given cases hold out few;
and what standing still costs: a model fitted before July, asked month by month, against one that is fitted again every
month, and one that is when the drift tests of the product say so.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Comparison, machine
from rankops.baskets import MAX_CONTEXT, MIN_BASKET, NEW_SALES, baskets_of, contexts, next_item_view
from rankops.cooccurrence import items_of
from rankops.data.retail import import_retail
from rankops.dataset import Dataset
from rankops.drift.causes import name_causes
from rankops.drift.decision import policy_for
from rankops.drift.summarize import Traffic, summarize, summarize_days
from rankops.errors import BadInput
from rankops.evaluation.bootstrap import CONFIDENCE, interval_of, mean_interval, paired_difference, resampled_means
from rankops.evaluation.metrics import per_query
from rankops.evaluation.next_item import floor_runs
from rankops.next_item import NextItemModel
from rankops.specs import BaseModelSpec, RecommendationSpec, TrainingSpec

Say = Callable[[str], None]
Run = dict[str, list[str]]

_SHARED = Path(os.environ.get("RANKOPS_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
_MONTHS = (7, 8, 9, 10)
_SEED = 7


def measure(progress: Say) -> Comparison:
    """HR@20 over item-item's. Raises :class:`BadInput` where the data is absent."""
    from rankops.training.base_models import resolve_base_model

    folder = _SHARED / "retail"
    if not folder.is_dir():
        raise BadInput(f"{folder} is absent", "set RANKOPS_SHARED_DATA to the folder that holds retail/")
    base = resolve_base_model(BaseModelSpec(), progress).path
    whole = import_retail(next(folder.glob("online_retail_*.csv.gz")))
    asked, judgements = given_cases(folder / "next_item_cases_dev.jsonl.gz")
    model = fitted(before(whole, date(2011, 10, 1)), base, progress)
    seen = replace(before(whole, date(2011, 10, 1)), queries=asked, judgements=judgements)
    runs: dict[str, Run] = {"ours": ranked(model, asked), **_floors(seen, base, progress)}
    tables = {name: per_query(run, judgements) for name, run in runs.items()}
    new = new_products(whole, seen, model, base, progress)
    drift = drift_line(whole, base, progress)
    return _comparison(tables, new, drift, model)


def before(dataset: Dataset, day: date) -> Dataset:
    """What was known before ``day``: its sales and the products sold by then."""
    return replace(
        dataset,
        interactions=dataset.interactions.filter(pl.col("day") < day),
        catalogue=dataset.catalogue.filter(pl.col("added_day") < day),
    )


def given_cases(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cases as next-item questions and their judgements."""
    cases = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]
    columns = {"query_id": [c["invoice"] for c in cases], "query": [" ".join(c["context"]) for c in cases]}
    queries = pl.DataFrame(columns).with_columns(
        group_id=pl.col("query_id"), split=pl.lit("test"), popularity=pl.lit("torso"), category=pl.lit(None, pl.String)
    )
    held_out = pl.DataFrame({"query_id": columns["query_id"], "product_id": [c["held_out"] for c in cases]})
    return queries.sort("query_id"), held_out.with_columns(grade=pl.lit(3, pl.Int8))


def fitted(dataset: Dataset, base: Path, progress: Say) -> NextItemModel:
    """The product's own training: the last 30 days choose the settings; everything is learned from in the end."""
    from rankops.torch_sequence import load_checkpoint
    from rankops.training.job import TrainingJob
    from rankops.training.next_item import train

    with tempfile.TemporaryDirectory(prefix="rankops-retail-") as scratch:
        root = Path(scratch)
        (root / "dataset").mkdir()
        dataset.save(root / "dataset")
        job = TrainingJob(
            task="recommendation",
            spec=TrainingSpec(),
            recommendation=RecommendationSpec(test_days=0, dev_days=30),
            base_model=base,
            dataset=root / "dataset",
            output=root / "checkpoint",
            work=root / "work",
        )
        train(job, lambda event: progress(f"    {event}"))
        return load_checkpoint(root / "checkpoint")


def ranked(model: NextItemModel, asked: pl.DataFrame) -> Run:
    """The 100 best products of each question."""
    return dict(zip(asked["query_id"].to_list(), model.rank(contexts(asked)), strict=True))


def _floors(seen: Dataset, base: Path, progress: Say) -> dict[str, Run]:
    from rankops.training.torch_encoder import TorchEncoder

    return floor_runs(seen, lambda: TorchEncoder(base), _SEED, progress)


def new_products(whole: Dataset, seen: Dataset, model: NextItemModel, base: Path, progress: Say) -> dict[str, Any]:
    """HR@20 on products with one to nine sales before October, ours and by texts alone; intervals over baskets."""
    asked, judgements = new_product_questions(whole, seen)
    texts = _floors(replace(seen, queries=asked, judgements=judgements), base, progress)["text"]
    runs = {"ours": ranked(model, asked), "text": texts}
    hits = {name: per_query(run, judgements)["hr@20"].to_numpy() for name, run in runs.items()}
    baskets = asked["group_id"].to_list()
    return {
        "questions": asked.height,
        "baskets": len(set(baskets)),
        **{name: _mean(values, baskets) for name, values in hits.items()},
        "difference": _pair(hits["ours"], hits["text"], baskets),
    }


def new_product_questions(whole: Dataset, seen: Dataset) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each new product of each October basket, held out of it in turn: questions and judgements, by query_id."""
    ids = sorted(seen.catalogue["product_id"].to_list())
    sales = dict(zip(ids, items_of(baskets_of(seen.interactions), ids).sales.tolist(), strict=True))
    october = baskets_of(before(whole, date(2011, 11, 1)).interactions.filter(pl.col("day") >= date(2011, 10, 1)))
    rows = [
        (f"{basket}:{product}", basket, " ".join(_context(products, product)), product)
        for basket, products in october.select("basket_id", "product_ids").iter_rows()
        for product in products
        if 0 < sales.get(product, 0) < NEW_SALES and len(products) >= MIN_BASKET
    ]
    names = ["query_id", "group_id", "query", "product_id"]
    table = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()), orient="row").sort("query_id")
    asked = table.drop("product_id").with_columns(split=pl.lit("test"), popularity=pl.lit("new"), category=None)
    return asked, table.select("query_id", "product_id", pl.lit(3, pl.Int8).alias("grade"))


def _context(products: Sequence[str], held_out: str) -> list[str]:
    others = [product for product in products if product != held_out]
    drawn = np.random.default_rng([_SEED, zlib.crc32(" ".join(others).encode())]).permutation(len(others))
    return [others[i] for i in drawn[:MAX_CONTEXT]]


def drift_line(whole: Dataset, base: Path, progress: Say) -> dict[str, dict[str, Any]]:
    """HR@20 of each month from July on, by how often the model is fitted again.

    ``when drift says so``: before a month, if the drift tests of the product find in the last week of the month before
    one of the causes that a recommender is fitted again for (``causes`` names them), against the days it learned from.
    """
    never, monthly, on_drift = "fitted before July", "fitted again every month", "fitted again when drift says so"
    line: dict[str, dict[str, Any]] = {never: {}, monthly: {}, on_drift: {}, "causes": {}}
    since = date(2011, _MONTHS[0], 1)
    frozen = live = fitted(before(whole, since), base, progress)
    for month in _MONTHS:
        first, name = date(2011, month, 1), f"2011-{month:02}"
        fresh = frozen if month == _MONTHS[0] else fitted(before(whole, first), base, progress)
        causes = [] if month == _MONTHS[0] else causes_to_refit(whole, since, first)
        if causes:
            live, since = fresh, first
            line["causes"][name] = causes
        asked, judgements = month_questions(whole, month)
        for label, model in ((never, frozen), (monthly, fresh), (on_drift, live)):
            hits = per_query(ranked(model, asked), judgements)["hr@20"].to_numpy()
            line[label][name] = round(float(hits.mean()), 4)
        progress(f"{name}: {line}")
    return line


def causes_to_refit(whole: Dataset, since: date, today: date) -> list[str]:
    """What drifted in the week before ``today`` against the days before ``since``, and is a reason to fit again."""
    known, now = before(whole, since), before(whole, today)
    week = now.interactions.filter(pl.col("day") >= today - timedelta(days=7))
    days = summarize_days(Traffic(known.interactions, known.catalogue))
    found = name_causes(days, summarize(Traffic(week, now.catalogue)))
    reasons = policy_for("recommendation").causes
    return [f"{cause.name}: {cause.evidence}" for cause in found if cause.drifted and cause.name in reasons]


def month_questions(whole: Dataset, month: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The questions that the invoices of a month of 2011 ask, and their judgements."""
    first, after = date(2011, month, 1), date(2011, month + 1, 1)
    view = next_item_view(before(whole, after), RecommendationSpec(test_days=(after - first).days, dev_days=1))
    asked = view.split("test")
    return asked, view.judgements.join(asked, on="query_id", how="semi")


def _comparison(
    tables: dict[str, pl.DataFrame], new: dict[str, Any], drift: dict[str, dict[str, Any]], model: NextItemModel
) -> Comparison:
    values = {name: {m: table[m].to_numpy() for m in ("hr@20", "mrr@20")} for name, table in tables.items()}
    ours, peer = values["ours"]["hr@20"], values["item-item"]["hr@20"]
    groups = [str(i) for i in range(len(ours))]
    draws = resampled_means(np.stack([ours, peer], axis=1), seed=_SEED)
    ratio = float(ours.mean() / peer.mean())
    interval = interval_of(draws[:, 0] / draws[:, 1], ratio, confidence=CONFIDENCE, n=len(ours), groups=len(ours))
    return Comparison(
        name="next_item_retail",
        what="HR@20 of the next item, 1,714 cases of October 2011, fitted on what came before",
        ours=float(ours.mean()),
        peer=float(peer.mean()),
        ratio=ratio,
        interval=(interval.low, interval.high),
        n=len(ours),
        unit="HR@20",
        peer_version="cosine of co-occurrence, baskets weighted by 1/size and halved every 150 days",
        machine=machine(),
        goal=1.0,
        also={
            "systems": {name: {m: _mean(v, groups) for m, v in found.items()} for name, found in values.items()},
            "difference to item-item": _mean(ours - peer, groups),
            "new products": new,
            "drift": drift,
            "setting": model.config.facts.get("setting"),
        },
    )


def _mean(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    found = mean_interval(values, groups=list(groups), seed=_SEED)
    return [round(found.mean, 4), round(found.low, 4), round(found.high, 4)]


def _pair(a: np.ndarray, b: np.ndarray, groups: Sequence[str]) -> list[float]:
    found = paired_difference(a, b, groups=list(groups), seed=_SEED)
    return [round(found.mean, 4), round(found.low, 4), round(found.high, 4)]
