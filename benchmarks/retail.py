"""A shop's invoices (``retail``) as its benchmarks see them: what was known before a day, and models of that."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Comparison, machine
from rankops.baskets import contexts
from rankops.data.retail import import_retail
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.evaluation.bootstrap import CONFIDENCE, interval_of, mean_interval, paired_difference, resampled_means
from rankops.evaluation.next_item import floor_runs
from rankops.next_item import NextItemModel
from rankops.specs import BaseModelSpec, RecommendationSpec, TrainingSpec

Say = Callable[[str], None]
Run = dict[str, list[str]]

SEED = 7
_SHARED = Path(os.environ.get("RANKOPS_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def folder() -> Path:
    """Where the files lie. Raises :class:`BadInput` where they do not."""
    found = _SHARED / "retail"
    if not found.is_dir():
        raise BadInput(f"{found} is absent", "set RANKOPS_SHARED_DATA to the folder that holds retail/")
    return found


def invoices() -> Dataset:
    """All of them, December 2010 to October 2011."""
    return import_retail(next(folder().glob("online_retail_*.csv.gz")))


def base_model(progress: Say) -> Path:
    """The template's, which reads the products' texts."""
    from rankops.training.base_models import resolve_base_model

    return resolve_base_model(BaseModelSpec(), progress).path


def before(dataset: Dataset, day: date) -> Dataset:
    """What was known before ``day``: its sales and the products sold by then."""
    return replace(
        dataset,
        interactions=dataset.interactions.filter(pl.col("day") < day),
        catalogue=dataset.catalogue.filter(pl.col("added_day") < day),
    )


def fitted(dataset: Dataset, base: Path, progress: Say, test_days: int = 0) -> NextItemModel:
    """The product's own training: 30 days choose the settings; all but the test days are learned from in the end."""
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
            recommendation=RecommendationSpec(test_days=test_days, dev_days=30),
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


def floors_of(asked: Dataset, base: Path, progress: Say) -> dict[str, Run]:
    """The baselines' answers to the test questions of a next-item view."""
    from rankops.training.torch_encoder import TorchEncoder

    return floor_runs(asked, lambda: TorchEncoder(base), SEED, progress)


def compared(
    name: str,
    what: str,
    ours: np.ndarray,
    peer: np.ndarray,
    groups: Sequence[str],
    *,
    peer_version: str,
    also: dict[str, Any],
) -> Comparison:
    """HR@20 of two systems on the same questions: their ratio with its 95 % interval (bootstrap over groups)."""
    draws = resampled_means(np.stack([ours, peer], axis=1), groups=list(groups), seed=SEED)
    ratio = float(ours.mean() / peer.mean())
    count = len(set(groups))
    found = interval_of(draws[:, 0] / draws[:, 1], ratio, confidence=CONFIDENCE, n=len(ours), groups=count)
    return Comparison(
        name=name,
        what=what,
        ours=float(ours.mean()),
        peer=float(peer.mean()),
        ratio=ratio,
        interval=(found.low, found.high),
        n=len(ours),
        unit="HR@20",
        peer_version=peer_version,
        machine=machine(),
        goal=1.0,
        also=also,
    )


def mean(values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Mean and interval, rounded for the record."""
    found = mean_interval(values, groups=list(groups), seed=SEED)
    return [round(found.mean, 4), round(found.low, 4), round(found.high, 4)]


def paired(a: np.ndarray, b: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Mean of the difference and its interval, rounded for the record."""
    found = paired_difference(a, b, groups=list(groups), seed=SEED)
    return [round(found.mean, 4), round(found.low, 4), round(found.high, 4)]
