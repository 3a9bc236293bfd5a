"""Searching vectors with faiss, one thread: the peer of ``benchmarks.index_search``, run in faiss' own environment.

``python faiss_search.py vectors.npy queries.npy KIND`` builds an index and says how long it took; then it answers each
line on stdin with the milliseconds of every query, asked alone for its 100 best. KIND: flat, sq8 or hnsw.
"""

from __future__ import annotations

import json
import sys
import time

import faiss
import numpy as np

DEPTH = 100
EF_SEARCH = (128, 256, 512, 1024, 2048)


def say(value: object) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def build(kind: str, vectors: np.ndarray) -> faiss.Index:
    """The index that faiss' own guide suggests for the kind."""
    width = vectors.shape[1]
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
    elif kind == "sq8":
        index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
    else:
        index = faiss.IndexHNSWFlat(width, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 128
    index.add(vectors)
    return index


def recall(index: faiss.Index, queries: np.ndarray, truth: np.ndarray) -> float:
    """Mean recall@100."""
    _, rows = index.search(queries, DEPTH)
    return float(np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(rows, truth, strict=True)]))


def main() -> None:
    """See the module."""
    faiss.omp_set_num_threads(1)
    vectors, queries = np.load(sys.argv[1]), np.load(sys.argv[2])
    truth = np.load(sys.argv[2].replace("queries", "truth"))
    started = time.perf_counter()
    index = build(sys.argv[3], vectors)
    seconds, found = time.perf_counter() - started, 0.0
    for effort in EF_SEARCH if sys.argv[3] == "hnsw" else (None,):
        if effort is not None:
            index.hnsw.efSearch = effort
        if (found := recall(index, queries, truth)) >= 0.99:
            break
    say({"build_seconds": seconds, "recall": found, "bytes": len(faiss.serialize_index(index))})
    for _ in sys.stdin:
        taken = []
        for query in queries:
            begun = time.perf_counter()
            index.search(query[None], DEPTH)
            taken.append((time.perf_counter() - begun) * 1e3)
        say(taken)


if __name__ == "__main__":
    main()
