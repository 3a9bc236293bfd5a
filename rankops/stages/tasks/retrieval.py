"""Retrieval: queries to products by a bi-encoder over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.dataset import Dataset, load_dataset
from rankops.evaluation.metrics import METRICS
from rankops.specs import ModelSpec, Target
from rankops.stages.tasks import (
    CHAMPION,
    CHECKPOINT,
    SEED,
    Contenders,
    Progress,
    Run,
    Runs,
    golden_queries,
    split_queries,
)

if TYPE_CHECKING:
    import numpy as np

    from rankops.compression.report import CompressionReport
    from rankops.encoding import Encoder
    from rankops.release.manifest import ReleaseFacts, ReleaseManifest

__all__ = ["METRICS"]


def view(dataset: Dataset, spec: ModelSpec) -> Dataset:
    """The dataset as it is: its queries are search queries."""
    return dataset


def rank_systems(dataset: Dataset, contenders: Contenders, spec: ModelSpec, progress: Progress) -> Runs:
    """The top 100 of random, BM25, base, champion and checkpoint for each query of the test split."""
    from rankops.encoding import OnnxEncoder
    from rankops.evaluation.baselines import bm25_run, encoder_run, random_run
    from rankops.training.torch_encoder import TorchEncoder

    queries = split_queries(dataset, "test")
    texts, ids = dataset.product_texts(), dataset.catalogue["product_id"].to_list()
    runs: Runs = {
        "random": random_run([query_id for query_id, _ in queries], ids, SEED),
        "bm25": bm25_run(queries, texts, ids),
    }
    lengths = {
        "max_query_tokens": spec.training.max_query_tokens,
        "max_product_tokens": spec.training.max_product_tokens,
    }
    encoders: list[tuple[str, Callable[[], Encoder]]] = [
        ("base", lambda: TorchEncoder(contenders.base, **lengths)),
        (CHECKPOINT, lambda: TorchEncoder(contenders.checkpoint, **lengths)),
    ]
    if (champion := contenders.champion) is not None:
        encoders.append((CHAMPION, lambda: OnnxEncoder(champion / "encoder", threads=2)))
    for name, build in encoders:
        progress(f"evaluation: ranking {len(queries)} queries over {len(ids):,} products with {name}")
        runs[name] = encoder_run(build(), queries, texts, ids)
    return runs


def rank_artifact(artifact: Path, dataset: Dataset, spec: ModelSpec, progress: Progress) -> Run:
    """The top 100 of an artifact for each query of the test split."""
    from rankops.encoding import OnnxEncoder
    from rankops.evaluation.baselines import encoder_run

    queries, ids = split_queries(dataset, "test"), dataset.catalogue["product_id"].to_list()
    progress(f"evaluation: ranking {len(queries)} held-out queries with the compressed model")
    return encoder_run(OnnxEncoder(artifact, threads=2), queries, dataset.product_texts(), ids)


def artifact_digest(artifact: Path) -> str:
    """Digest over encoder.json, model.onnx and tokenizer.json."""
    from rankops.encoding import artifact_digest as digest

    return digest(artifact)


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
    """Climb the ladder of the target; see :func:`rankops.compression.ladder.compress`."""
    from rankops.compression.ladder import compress as climb

    return climb(
        checkpoint,
        dataset,
        spec,
        target,
        out,
        score=selection_scorer(dataset, spec),
        refusal=lambda encoder: refusal(encoder.folder),
        progress=progress,
    )


def bundle(
    out: Path, *, artifact: Path, dataset: Path, spec: ModelSpec, facts: ReleaseFacts, progress: Progress
) -> ReleaseManifest:
    """Encoder, index of the whole catalogue, products for display, golden answers."""
    from rankops.release.retrieval import build_bundle

    return build_bundle(
        out,
        artifact=artifact,
        catalogue_parquet=dataset / "catalogue.parquet",
        golden_queries=golden_queries(load_dataset(dataset), spec.serving.golden_queries),
        facts=facts,
        threads=2,
        progress=progress,
    )


def selection_scorer(
    dataset: Dataset, spec: ModelSpec, *, max_queries: int = 300, max_products: int = 600
) -> Callable[[Encoder], np.ndarray]:
    """A function that gives an encoder's nDCG@10 per query: what compression selects rungs by.

    Never the test split: a rung chosen there would be judged on the queries that chose it. Dev queries come first,
    then train queries: a rung's loss is a difference to the same checkpoint on the same query, so queries that the
    checkpoint has seen measure it as well. The catalogue is the two best products of each query, filled up with
    distractors.
    """
    import polars as pl

    from rankops.evaluation.baselines import encoder_run
    from rankops.evaluation.metrics import per_query

    known = dataset.judgements.filter(pl.col("grade") >= spec.gates.min_grade)
    answerable = set(known["query_id"])
    asked = [query for name in ("dev", "train") for query in split_queries(dataset, name) if query[0] in answerable]
    queries = asked[:max_queries]
    mine = known.filter(pl.col("query_id").is_in([query_id for query_id, _ in queries]))
    best = mine.sort("grade", "product_id", descending=[True, False]).group_by("query_id", maintain_order=True).head(2)
    ids, texts = dataset.catalogue["product_id"].to_list(), dataset.product_texts()
    pool = _filled(set(best["product_id"].to_list()), ids, max_products)
    pairs = [(product, text) for product, text in zip(ids, texts, strict=True) if product in pool]
    judgements = dataset.judgements.filter(
        pl.col("query_id").is_in([query_id for query_id, _ in queries]) & pl.col("product_id").is_in(sorted(pool))
    )

    def score(encoder: Encoder) -> np.ndarray:
        run = encoder_run(encoder, queries, [text for _, text in pairs], [product for product, _ in pairs])
        return per_query(run, judgements, min_grade=spec.gates.min_grade).sort("query_id")["ndcg@10"].to_numpy()

    return score


def _filled(wanted: set[str], ids: list[str], size: int) -> set[str]:
    """``wanted`` and evenly spaced others, ``size`` in all (or more, if more are wanted)."""
    others = [product for product in ids if product not in wanted]
    room = max(0, size - len(wanted))
    return wanted | set(others[:: max(1, len(others) // room)][:room] if room else [])
