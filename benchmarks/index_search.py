"""Searching the product index: our formats against faiss, one thread, one query at a time, 100 results.

At 19,406 products the vectors are Icecat's and the index is the one that the release chose; at 200,000 (and more:
``RANKOPS_BENCH_INDEX_SIZES=200000,1000000``, a million takes about 15 minutes and 6 GB) they are made up, for how it
grows. Ours includes scoring with the full-precision vectors; faiss' int8 and graph return their own approximate scores.
``.rankops/bench/index_search.png`` draws milliseconds, bytes and build time over the number of products.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import DEFAULT_FOLDER, Block, Comparison, interleave, machine, ratio_of_medians
from benchmarks.peers.environments import HERE, python_of, version_in
from rankops.compression.reference import torch_threads
from rankops.release.finders import FullScan, open_finder
from rankops.release.formats import EXPANSIONS, MIN_RECALL, exact, recall_and_time, write_format
from rankops.release.index import ProductIndex

OURS = ("f32", "f16", "int8", "int8-pca", "hnsw")
PEERS = {"flat": "faiss IndexFlatIP", "sq8": "faiss IndexScalarQuantizer 8 bit", "hnsw": "faiss IndexHNSWFlat"}
DEPTH, WIDTH, QUERIES = 100, 384, 60
GOAL = 1.0
_ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One system at one size."""

    system: str
    products: int
    recall: float
    ms: float
    bytes: int
    build_seconds: float


def measure(progress: Callable[[str], None]) -> Comparison:
    """Ratio = milliseconds of faiss' exact index / of the format that the release chose, over Icecat's products."""
    python = python_of("faiss", progress)
    rows: list[Row] = []
    with torch_threads(1):
        vectors, queries, chosen = icecat(progress)
        taken = compare_at(vectors, queries, python, rows, progress)
        for size in sizes():
            compare_at(*made_up(size), python, rows, progress)
    draw(rows, DEFAULT_FOLDER / "index_search.png")
    ours, peer = taken[chosen], taken[PEERS["flat"]]
    ratio, interval = ratio_of_medians(ours, peer)
    return Comparison(
        name="index_search",
        what=f"{DEPTH} best of {len(vectors):,} Icecat products by vector, exact cosines, {chosen}, one thread",
        ours=float(np.median(ours)),
        peer=float(np.median(peer)),
        ratio=ratio,
        interval=interval,
        n=int(ours.size),
        unit="ms",
        peer_version=f"faiss-cpu {version_in(python, 'faiss-cpu')} IndexFlatIP",
        machine=machine(),
        goal=GOAL,
        also={"rows": [asdict(row) for row in rows]},
    )


def sizes() -> list[int]:
    """Sizes of the made-up catalogues."""
    given = os.environ.get("RANKOPS_BENCH_INDEX_SIZES", "200000")
    return [int(size) for size in given.split(",") if size]


def icecat(progress: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray, str]:
    """Vectors of the shared Icecat release, of its 135 queries, and the format that its build chose."""
    from benchmarks.icecat_release import served_shop
    from rankops.release.searcher import Searcher

    shop = served_shop(progress)
    searcher = Searcher.open(shop.release)
    return np.asarray(searcher.index.vectors), searcher.embed(shop.queries), searcher.index.format


def made_up(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around 2,000 kinds, mostly in 64 directions as text embeddings are, and queries near some kinds."""
    rng = np.random.default_rng(count)
    directions = rng.standard_normal((64, WIDTH)).astype(np.float32)
    kinds = rng.standard_normal((2000, 64)).astype(np.float32)

    def unit(near: np.ndarray, spread: float) -> np.ndarray:
        points = near + spread * rng.standard_normal(near.shape).astype(np.float32)
        found = points @ directions
        found += 0.1 * np.linalg.norm(found, axis=1).mean() / WIDTH**0.5 * rng.standard_normal(found.shape).astype("f4")
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    members = rng.integers(0, len(kinds), count)
    parts = [unit(kinds[members[start : start + 50_000]], 0.7) for start in range(0, count, 50_000)]
    return np.concatenate(parts), unit(kinds[rng.integers(0, len(kinds), QUERIES)], 0.7)


def compare_at(
    vectors: np.ndarray, queries: np.ndarray, python: Path, rows: list[Row], progress: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Add a row for every system over these vectors; returns the milliseconds, (rounds, queries), by system."""
    vectors, queries = np.ascontiguousarray(vectors), np.ascontiguousarray(queries)
    truth = exact(vectors, queries, DEPTH)
    facts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rankops-index-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        sides: dict[str, Block] = {}
        for name in OURS:
            sides[name], facts[name] = _ours(name, vectors, queries, truth, folder / name)
            progress(f"index_search: {len(vectors):,} products, {name}: {facts[name]}")
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "queries.npy", queries)
        np.save(folder / "truth.npy", np.array([sorted(found) for found in truth]))
        for kind, name in PEERS.items():
            sides[name], facts[name] = stack.enter_context(_faiss(python, folder, kind))
            progress(f"index_search: {len(vectors):,} products, {name}: {facts[name]}")
        taken = interleave(sides, _ROUNDS)
    for name, values in taken.items():
        rows.append(Row(name, len(vectors), ms=float(np.median(values)), **facts[name]))
        progress(f"index_search: {rows[-1]}")
    return taken


def _ours(
    name: str, vectors: np.ndarray, queries: np.ndarray, truth: list[set[int]], folder: Path
) -> tuple[Block, dict[str, Any]]:
    started = time.perf_counter()
    chosen = write_format(name, vectors, folder)  # type: ignore[arg-type]
    seconds, recall = time.perf_counter() - started, 0.0
    for expansion in EXPANSIONS if "expansion" in chosen.facts else (None,):
        if expansion is not None:
            chosen = replace(chosen, facts=chosen.facts | {"expansion": expansion})
        finder = FullScan(vectors) if name == "f32" else open_finder(folder, name, chosen.facts, vectors)
        recall, _ = recall_and_time(finder, vectors, queries, truth, rounds=1)
        if recall >= MIN_RECALL:
            break
    index = ProductIndex(vectors, [], "", "", finder, name)

    def block() -> list[float]:
        taken = []
        for query in queries:
            begun = time.perf_counter()
            index.nearest(query[None], DEPTH)
            taken.append((time.perf_counter() - begun) * 1e3)
        return taken

    size = sum(path.stat().st_size for path in folder.iterdir()) + vectors.nbytes
    return block, {"recall": recall, "bytes": size, "build_seconds": seconds}


@contextmanager
def _faiss(python: Path, folder: Path, kind: str) -> Iterator[tuple[Block, dict[str, Any]]]:
    """A process of the peer that measures itself when it is told to."""
    command = [
        str(python),
        str(HERE / "faiss_search.py"),
        str(folder / "vectors.npy"),
        str(folder / "queries.npy"),
        kind,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        given, answered = process.stdin, process.stdout

        def block() -> list[float]:
            given.write("run\n")
            given.flush()
            found: list[float] = json.loads(answered.readline())
            return found

        try:
            yield block, json.loads(answered.readline())
        finally:
            given.close()


def draw(rows: list[Row], path: Path) -> None:
    """Milliseconds a query, megabytes and seconds to build over products, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for axis, (title, value) in zip(
        axes,
        {
            "ms a query (100 results, one thread)": lambda row: row.ms,
            "MB on disk": lambda row: row.bytes / 1e6,
            "seconds to build (one thread)": lambda row: row.build_seconds,
        }.items(),
        strict=True,
    ):
        for system in dict.fromkeys(row.system for row in rows):
            mine = [row for row in rows if row.system == system]
            style = "--" if system.startswith("faiss") else "-"
            worst = min(row.recall for row in mine)
            label = f"{system} (recall {worst:.3f})"
            axis.plot(
                [row.products for row in mine], [max(1e-3, value(row)) for row in mine], style, marker="o", label=label
            )
        axis.set(xscale="log", yscale="log", xlabel="products", title=title)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
