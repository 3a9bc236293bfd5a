"""Recommendation: the next product for a basket or session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rankops.baskets import contexts, next_item_view
from rankops.dataset import Dataset, load_dataset
from rankops.errors import BadInput
from rankops.evaluation.metrics import NEXT_ITEM_METRICS, per_query
from rankops.next_item import NextItemModel, load_next_item, next_item_digest
from rankops.specs import Metric, ModelSpec, Target
from rankops.stages.tasks import CHAMPION, CHECKPOINT, SEED, Contenders, Progress, Run, Runs, golden_queries

if TYPE_CHECKING:
    from rankops.compression.report import CompressionReport
    from rankops.release.manifest import ReleaseFacts, ReleaseManifest

_TIMED = 200  # contexts that latency is measured on


def metrics(spec: ModelSpec) -> tuple[Metric, ...]:
    """What a recommendation of the next item is measured by."""
    return NEXT_ITEM_METRICS


def view(dataset: Dataset, spec: ModelSpec) -> Dataset:
    """Next-item questions of the last days; see :func:`rankops.baskets.next_item_view`."""
    return next_item_view(dataset, spec.recommendation)


def rank_systems(dataset: Dataset, contenders: Contenders, spec: ModelSpec, progress: Progress) -> Runs:
    """The floors (see :mod:`rankops.evaluation.next_item`), the checkpoint and the champion."""
    from rankops.evaluation.next_item import floor_runs
    from rankops.release.recommendation import MODEL
    from rankops.torch_sequence import load_checkpoint
    from rankops.training.torch_encoder import TorchEncoder

    if not spec.recommendation.test_days:
        raise BadInput("no day is held out to judge on", "set recommendation.test_days to 1 or more")
    lengths = {
        "max_query_tokens": spec.training.max_query_tokens,
        "max_product_tokens": spec.training.max_product_tokens,
    }
    runs = floor_runs(dataset, lambda: TorchEncoder(contenders.base, **lengths), SEED, progress, spec.gates.floors)
    runs[CHECKPOINT] = _rank(load_checkpoint(contenders.checkpoint), dataset, "test")
    if contenders.champion is not None:
        champion = contenders.champion_judged or contenders.champion / MODEL
        runs[CHAMPION] = _rank(load_next_item(champion), dataset, "test")
    return runs


def rank_artifact(artifact: Path, dataset: Dataset, spec: ModelSpec, runs: Runs, progress: Progress) -> Run:
    """The artifact's answers to the test questions."""
    return _rank(load_next_item(artifact), dataset, "test")


def artifact_digest(artifact: Path) -> str:
    """Digest over the model's files."""
    return next_item_digest(artifact)


def compress(
    checkpoint: Path,
    dataset: Dataset,
    spec: ModelSpec,
    target: Target,
    out: Path,
    *,
    refusal: Callable[[Path], str | None],
    progress: Progress,
) -> CompressionReport:
    """Fewer links and smaller numbers; see :mod:`rankops.compression.next_item`."""
    from rankops.compression.next_item import compress_next_item

    dev = dataset.split("dev")
    judgements = dataset.judgements.filter(dataset.judgements["query_id"].is_in(dev["query_id"].to_list()))

    def score(model: NextItemModel) -> np.ndarray:
        table = per_query(_rank(model, dataset, "dev"), judgements, min_grade=spec.gates.min_grade)
        return table[spec.gates.metric].to_numpy()

    return compress_next_item(
        checkpoint, contexts(dev)[:_TIMED], spec, target, out, score=score, refusal=refusal, progress=progress
    )


def whole(dataset: Dataset, spec: ModelSpec) -> tuple[Dataset, ModelSpec]:
    """Everything sold is learned from, to the last day; settings are chosen on the last days, as before."""
    days = spec.recommendation.model_copy(update={"test_days": 0})
    return dataset, spec.model_copy(update={"recommendation": days})


def recalibrated(checkpoint: Path, dataset: Dataset, spec: ModelSpec, out: Path, progress: Progress) -> bool:
    """More days: it has to be fitted."""
    return False


def bundle(
    out: Path, *, artifact: Path, dataset: Path, spec: ModelSpec, facts: ReleaseFacts, progress: Progress
) -> ReleaseManifest:
    """Model, products for display, golden answers."""
    from rankops.release.recommendation import build_recommender_bundle

    seen = view(load_dataset(dataset), spec)
    return build_recommender_bundle(
        out,
        artifact=artifact,
        catalogue_parquet=dataset / "catalogue.parquet",
        golden_contexts=golden_queries(seen, spec.serving.golden_queries),
        facts=facts,
        progress=progress,
    )


def _rank(model: NextItemModel, dataset: Dataset, split: str) -> Run:
    asked = dataset.queries.filter(dataset.queries["split"] == split).sort("query_id")
    ranked = model.rank(contexts(asked), exclude=dataset.unavailable())
    return dict(zip(asked["query_id"].to_list(), ranked, strict=True))
