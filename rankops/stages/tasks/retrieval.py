"""Retrieval: queries to products by a bi-encoder, and the words of both, over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.dataset import Dataset, load_dataset
from rankops.evaluation.metrics import METRICS
from rankops.files import combine_digests, digest_of, file_digests, sha256_file
from rankops.fusion import FUSION, Fusion, Hybrid, load_fusion
from rankops.specs import Metric, ModelSpec, Target
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
from rankops.state import LocalState
from rankops.text import product_texts

if TYPE_CHECKING:
    import numpy as np

    from rankops.compression.report import CompressionReport
    from rankops.encoding import Encoder, OnnxEncoder
    from rankops.release.manifest import ReleaseFacts, ReleaseManifest
    from rankops.training.torch_encoder import TorchEncoder
    from rankops.vector_cache import VectorCache


DENSE = "dense"
"""How the vectors of a hybrid alone are called in runs and evidence."""


def metrics(spec: ModelSpec) -> tuple[Metric, ...]:
    """What a ranking of products for a query is measured by."""
    return METRICS


def view(dataset: Dataset, spec: ModelSpec) -> Dataset:
    """The dataset as it is: its queries are search queries."""
    return dataset


def rank_systems(dataset: Dataset, contenders: Contenders, spec: ModelSpec, progress: Progress) -> Runs:
    """The top 100 of random, BM25, base, checkpoint and champion for each query of the test split.

    Where the checkpoint is a hybrid, its vectors alone are ranked too, as ``dense``.
    """
    from rankops.encoding import OnnxEncoder
    from rankops.release.searcher import ENCODER
    from rankops.runs import bm25_run, random_run
    from rankops.training.torch_encoder import TorchEncoder

    asked = _Asked(dataset, split_queries(dataset, "test"))
    runs: Runs = {
        "random": random_run([query_id for query_id, _ in asked.queries], asked.ids, SEED),
        "bm25": bm25_run(asked.queries, asked.texts, asked.ids),
    }
    lengths = {
        "max_query_tokens": spec.training.max_query_tokens,
        "max_product_tokens": spec.training.max_product_tokens,
    }

    def rank(name: str, encoder: Encoder, fusion: Fusion | None) -> None:
        progress(f"evaluation: ranking {len(asked.queries)} queries over {len(asked.ids):,} products with {name}")
        vectors = encoder.encode(asked.texts, role="product")
        if fusion is not None and name == CHECKPOINT:
            runs[DENSE] = asked.rank(encoder, None, vectors)
        runs[name] = asked.rank(encoder, fusion, vectors)

    rank("base", _remembering_torch(contenders.base, TorchEncoder(contenders.base, **lengths), spec, progress), None)
    rank(CHECKPOINT, TorchEncoder(contenders.checkpoint, **lengths), load_fusion(contenders.checkpoint))
    if (champion := contenders.champion) is not None:
        rank(CHAMPION, _remembering(OnnxEncoder(champion / ENCODER, threads=2), progress), load_fusion(champion))
    return runs


def rank_artifact(artifact: Path, dataset: Dataset, spec: ModelSpec, runs: Runs, progress: Progress) -> Run:
    """The top 100 of an artifact for each query of the test split."""
    from rankops.encoding import OnnxEncoder

    asked = _Asked(dataset, split_queries(dataset, "test"))
    progress(f"evaluation: ranking {len(asked.queries)} held-out queries with the compressed model")
    return asked.rank(_remembering(OnnxEncoder(artifact, threads=2), progress), load_fusion(artifact))


def artifact_digest(artifact: Path) -> str:
    """Digest over encoder.json, model.onnx, tokenizer.json, and a hybrid's fusion.json."""
    from rankops.encoding import artifact_digest as encoder_digest

    digest = encoder_digest(artifact)
    fusion = artifact / FUSION
    return combine_digests({"encoder": digest, FUSION: sha256_file(fusion)}) if fusion.is_file() else digest


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
    """Climb the ladder of the target (see :func:`rankops.compression.ladder.compress`), every rung with the fusion."""
    from rankops.compression.ladder import compress as climb

    fusion = load_fusion(checkpoint)

    def fused(folder: Path) -> Path:
        if fusion is not None:
            fusion.save(folder)
        return folder

    report = climb(
        checkpoint,
        dataset,
        spec,
        target,
        out,
        score=selection_scorer(dataset, spec, fusion),
        refusal=lambda folder: refusal(fused(folder)),
        progress=progress,
    )
    fused(out)
    return report


def whole(dataset: Dataset, spec: ModelSpec) -> tuple[Dataset, ModelSpec]:
    """The held-out queries are trained on."""
    from rankops.data.held_out import given_back

    return given_back(dataset, "train"), spec


def recalibrated(checkpoint: Path, dataset: Dataset, spec: ModelSpec, out: Path, progress: Progress) -> bool:
    """More train queries: it has to be trained."""
    return False


def bundle(
    out: Path, *, artifact: Path, dataset: Path, spec: ModelSpec, facts: ReleaseFacts, progress: Progress
) -> ReleaseManifest:
    """Encoder, indexes of the whole catalogue, products for display, golden answers."""
    from rankops.release.retrieval import build_bundle

    loaded = load_dataset(dataset)
    return build_bundle(
        out,
        artifact=artifact,
        catalogue_parquet=dataset / "catalogue.parquet",
        golden_queries=golden_queries(loaded, spec.serving.golden_queries),
        facts=facts,
        index_queries=[text for _, text in split_queries(loaded, "dev")],
        index_formats=spec.serving.index_formats,
        cache=vector_cache(),
        threads=2,
        progress=progress,
    )


def _remembering(encoder: OnnxEncoder, progress: Progress) -> Encoder:
    """The encoder with the vectors that an evaluation or a release made before, and those that it makes now."""
    from rankops.release.vectors import CachedEncoder, cached_vectors

    return CachedEncoder(encoder, cached_vectors(vector_cache(), encoder), progress)


def _remembering_torch(folder: Path, encoder: TorchEncoder, spec: ModelSpec, progress: Progress) -> Encoder:
    """A base model with the vectors of earlier evaluations: it is ranked each time, and most products stay."""
    import torch

    from rankops.release.vectors import CachedEncoder, vectors_made_by

    known = vectors_made_by(
        vector_cache(),
        combine_digests(file_digests(folder)),
        tokens=spec.training.max_product_tokens,
        runtime=f"torch {torch.__version__}",
        dimension=encoder.dimension,
    )
    return CachedEncoder(encoder, known, progress)


def vector_cache() -> VectorCache:
    """Product vectors that were made before, in the artifact store."""
    from rankops.vector_cache import VectorCache

    return VectorCache(f"{LocalState.current().store_url.rstrip('/')}/vectors")


class _Asked:
    """Queries and the catalogue that they are asked of, sorted by product id."""

    def __init__(self, dataset: Dataset, queries: list[tuple[str, str]]) -> None:
        self.queries = queries
        self.products = list(dataset.catalogue.sort("product_id").iter_rows(named=True))
        self.ids: list[str] = [product["product_id"] for product in self.products]
        self.texts = product_texts(self.products)
        self._hybrids: dict[str, Hybrid] = {}

    def rank(self, encoder: Encoder, fusion: Fusion | None, vectors: np.ndarray | None = None) -> Run:
        """The top 100 of each query; ``vectors`` (N, d) saves encoding the products again."""
        from rankops.runs import encoder_run

        hybrid = None if fusion is None else self._over(fusion)
        return encoder_run(encoder, self.queries, self.texts, self.ids, hybrid=hybrid, product_vectors=vectors)

    def _over(self, fusion: Fusion) -> Hybrid:
        key = digest_of([fusion.fields, fusion.k1, fusion.b, fusion.taught])
        standing = self._hybrids.get(key)  # the index is the costly part, and knows no weights
        self._hybrids[key] = fusion.over(self.products) if standing is None else Hybrid(fusion, standing.lexical)
        return self._hybrids[key]


def selection_scorer(
    dataset: Dataset, spec: ModelSpec, fusion: Fusion | None, *, max_queries: int = 300, max_products: int = 600
) -> Callable[[Encoder], np.ndarray]:
    """A function that gives the nDCG@10 per query of an encoder (with the fusion): what compression selects rungs by.

    Never the test split: a rung chosen there would be judged on the queries that chose it. Dev queries come first,
    then train queries: a rung's loss is a difference to the same checkpoint on the same query, so queries that the
    checkpoint has seen measure it as well. The catalogue is the two best products of each query, filled up with
    distractors.
    """
    import polars as pl

    from rankops.evaluation.metrics import per_query

    known = dataset.judgements.filter(pl.col("grade") >= spec.gates.min_grade)
    answerable = set(known["query_id"])
    asked = [query for name in ("dev", "train") for query in split_queries(dataset, name) if query[0] in answerable]
    queries = asked[:max_queries]
    mine = known.filter(pl.col("query_id").is_in([query_id for query_id, _ in queries]))
    best = mine.sort("grade", "product_id", descending=[True, False]).group_by("query_id", maintain_order=True).head(2)
    pool = _filled(set(best["product_id"].to_list()), dataset.catalogue["product_id"].to_list(), max_products)
    small = replace(dataset, catalogue=dataset.catalogue.filter(pl.col("product_id").is_in(sorted(pool))))
    task = _Asked(small, queries)
    judgements = dataset.judgements.filter(
        pl.col("query_id").is_in([query_id for query_id, _ in queries]) & pl.col("product_id").is_in(sorted(pool))
    )

    def score(encoder: Encoder) -> np.ndarray:
        return (
            per_query(task.rank(encoder, fusion), judgements, min_grade=spec.gates.min_grade)
            .sort("query_id")["ndcg@10"]
            .to_numpy()
        )

    return score


def _filled(wanted: set[str], ids: list[str], size: int) -> set[str]:
    """``wanted`` and evenly spaced others, ``size`` in all (or more, if more are wanted)."""
    others = [product for product in ids if product not in wanted]
    room = max(0, size - len(wanted))
    return wanted | set(others[:: max(1, len(others) // room)][:room] if room else [])
