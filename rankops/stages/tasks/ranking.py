"""Ranking: a cross-encoder over pairs, that orders candidates (graded) or decides whether two offers match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.cross_encoding import OnnxCrossEncoder, PairScorer
from rankops.dataset import Dataset, Split, load_dataset
from rankops.errors import IntegrityError
from rankops.evaluation.metrics import MATCH_METRICS, ORDER_METRICS, per_query
from rankops.specs import Metric, ModelSpec, Target
from rankops.stages.tasks import (
    CHAMPION,
    CHECKPOINT,
    SEED,
    Contenders,
    Progress,
    Run,
    Runs,
    split_queries,
)

if TYPE_CHECKING:
    import numpy as np

    from rankops.compression.report import CompressionReport
    from rankops.encoding import Encoder
    from rankops.release.manifest import ReleaseFacts, ReleaseManifest

FIRST_STAGE = "first-stage"
_THREADS = 2
_GOLDEN_DEPTH = 10
_SELECTION_PAIRS = 2000


def metrics(spec: ModelSpec) -> tuple[Metric, ...]:
    """F1 of decisions, or the metrics of an order."""
    return MATCH_METRICS if _matches(spec) else ORDER_METRICS


def _matches(spec: ModelSpec) -> bool:
    return spec.ranking.objective == "match"


def view(dataset: Dataset, spec: ModelSpec) -> Dataset:
    """The dataset as it is: its queries are search queries, or the left titles of pairs."""
    return dataset


def rank_systems(dataset: Dataset, contenders: Contenders, spec: ModelSpec, progress: Progress) -> Runs:
    """The floors (see :mod:`rankops.evaluation.ranking`), the checkpoint and the champion on the test split."""
    from rankops.evaluation.ranking import match_floors
    from rankops.release.ranking import RANKER
    from rankops.torch_cross_encoding import load_checkpoint

    def base() -> Encoder:
        from rankops.training.torch_encoder import TorchEncoder

        longest = spec.ranking.max_pair_tokens
        return TorchEncoder(contenders.base, max_query_tokens=longest, max_product_tokens=longest)

    if _matches(spec):
        runs: Runs = match_floors(dataset, base, progress)
    else:
        runs = _orders(dataset, base(), contenders.first_stage, progress)
    progress("evaluation: the checkpoint's scores of the test pairs")
    runs[CHECKPOINT] = _run(load_checkpoint(contenders.checkpoint), dataset, spec, runs)
    if contenders.champion is not None:
        champion = OnnxCrossEncoder(contenders.champion / RANKER, threads=_THREADS)
        runs[CHAMPION] = _run(champion, dataset, spec, runs)
    return runs


def _orders(dataset: Dataset, base: Encoder, first_stage: Path | None, progress: Progress) -> Runs:
    """What orders the whole catalogue: random, BM25, the un-tuned bi-encoder, the first stage where there is one."""
    from rankops.fusion import load_fusion
    from rankops.runs import bm25_run, encoder_run, random_run, search_run
    from rankops.training.torch_encoder import TorchEncoder

    queries, texts = split_queries(dataset, "test"), dataset.product_texts()
    ids = dataset.catalogue["product_id"].to_list()
    progress(f"evaluation: candidates of {len(queries)} queries among {len(ids):,} products")
    runs = {
        "random": random_run([query_id for query_id, _ in queries], ids, SEED),
        "bm25": bm25_run(queries, texts, ids),
        "base": encoder_run(base, queries, texts, ids, progress=progress),
    }
    if first_stage is not None:
        encoder, fusion = TorchEncoder(first_stage), load_fusion(first_stage)
        runs[FIRST_STAGE] = search_run(encoder, fusion, dataset, queries, progress=progress)
    return runs


def _run(scorer: PairScorer, dataset: Dataset, spec: ModelSpec, orders: Runs) -> Run:
    from rankops.evaluation.ranking import match_run, reranked_run
    from rankops.runs import candidates_of

    if _matches(spec):
        return match_run(scorer, _threshold(scorer), dataset, "test")
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    found = [orders[FIRST_STAGE]] if FIRST_STAGE in orders else [orders["bm25"], orders["base"]]
    candidates = candidates_of(found, spec.ranking.candidates)
    return reranked_run(scorer, split_queries(dataset, "test"), texts, candidates)


def _threshold(scorer: PairScorer) -> float:
    """The threshold that a model was made with. Raises :class:`IntegrityError` for a ranker, which has none."""
    config = getattr(scorer, "config", None)
    if config is None or config.threshold is None:
        raise IntegrityError("the model has no threshold: it orders products and decides nothing", "train a matcher")
    return float(config.threshold)


def rank_artifact(artifact: Path, dataset: Dataset, spec: ModelSpec, runs: Runs, progress: Progress) -> Run:
    """The test split as the compressed model answers it: the same pairs or candidates as the checkpoint's."""
    progress("evaluation: the compressed model's scores of the test pairs")
    return _run(OnnxCrossEncoder(artifact, threads=_THREADS), dataset, spec, runs)


def artifact_digest(artifact: Path) -> str:
    """Digest over the model's files."""
    from rankops.cross_encoding import artifact_digest as digest

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

    score = selection_scorer(dataset, spec)
    return climb(checkpoint, dataset, spec, target, out, score=score, refusal=refusal, progress=progress)


def selection_scorer(dataset: Dataset, spec: ModelSpec) -> Callable[[PairScorer], np.ndarray]:
    """A function that gives a model's metric per query: what compression selects rungs by.

    Never the test split. Judged dev pairs, then train pairs, up to 2,000: a rung's loss is a difference to the same
    checkpoint on the same pair, so pairs that the checkpoint has seen measure it as well.
    """
    import polars as pl

    splits: tuple[Split, ...] = ("dev", "train")
    asked = [query_id for split in splits for query_id, _ in split_queries(dataset, split)]
    place = {query_id: row for row, query_id in enumerate(asked)}
    judged = dataset.judgements.filter(pl.col("query_id").is_in(asked))
    order = judged["query_id"].replace_strict(place, return_dtype=pl.Int64)
    judged = judged.with_columns(order.alias("place")).sort("place", "product_id").drop("place")
    kept = judged.head(_SELECTION_PAIRS)["query_id"].unique()
    judged = judged.filter(pl.col("query_id").is_in(kept.implode()))
    if not _matches(spec):
        judged = judged.filter((pl.col("grade") >= spec.gates.min_grade).any().over("query_id"))
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    queries = dict(dataset.queries.select("query_id", "query").iter_rows())
    rows = [(query_id, product_id) for query_id, product_id in judged.select("query_id", "product_id").iter_rows()]
    pairs = [(queries[query_id], texts[product_id]) for query_id, product_id in rows]
    metric: Metric = "f1" if _matches(spec) else "ndcg@10"

    def score(scorer: PairScorer) -> np.ndarray:
        scores = scorer.score(pairs).tolist()
        run: Run = {query_id: [] for query_id, _ in rows}
        least = _threshold(scorer) if _matches(spec) else -1.0
        for value, (query_id, product_id) in sorted(zip(scores, rows, strict=True), key=lambda found: -found[0]):
            if value >= least:
                run[query_id].append(product_id)
        return per_query(run, judged, min_grade=spec.gates.min_grade)[metric].to_numpy()

    return score


def whole(dataset: Dataset, spec: ModelSpec) -> tuple[Dataset, ModelSpec]:
    """The held-out queries are trained on; a matcher's decide its blend and threshold, which unseen pairs must do."""
    from rankops.data.held_out import given_back

    return given_back(dataset, "dev" if _matches(spec) else "train"), spec


def recalibrated(checkpoint: Path, dataset: Dataset, spec: ModelSpec, out: Path, progress: Progress) -> bool:
    """A matcher's network stays; blend and threshold are chosen on all dev pairs."""
    from rankops.training.crossencoder import recalibrate

    if not _matches(spec):
        return False
    recalibrate(checkpoint, dataset, spec, out, progress)
    return True


def bundle(
    out: Path, *, artifact: Path, dataset: Path, spec: ModelSpec, facts: ReleaseFacts, progress: Progress
) -> ReleaseManifest:
    """Cross-encoder, product texts, products for display, golden answers."""
    from rankops.release.ranking import build_ranker_bundle

    return build_ranker_bundle(
        out,
        artifact=artifact,
        catalogue_parquet=dataset / "catalogue.parquet",
        questions=_golden(load_dataset(dataset), spec),
        facts=facts,
        progress=progress,
    )


def _golden(dataset: Dataset, spec: ModelSpec) -> list[tuple[str, list[str]]]:
    """Held-out queries, spread evenly, with judged products; for a ranker filled up with others of the catalogue."""
    ids = dataset.catalogue["product_id"].to_list()
    known = dict(dataset.judgements.group_by("query_id").agg("product_id").iter_rows())
    asked = [(query_id, text) for query_id, text in split_queries(dataset, "test") if query_id in known]
    count = spec.serving.golden_queries
    found = []
    for query_id, text in asked[:: max(1, len(asked) // count)][:count]:
        products = sorted(known[query_id])[:_GOLDEN_DEPTH]
        if not _matches(spec):
            others = [product for product in ids[:: max(1, len(ids) // _GOLDEN_DEPTH)] if product not in products]
            products += others[: _GOLDEN_DEPTH - len(products)]
        found.append((text, products))
    return found
