"""Predictions of a ranker (a TREC run of reordered candidates) or a matcher (``pair_id<TAB>score<TAB>label``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.cross_encoding import OnnxCrossEncoder, PairScorer
from rankops.errors import BadInput
from rankops.files import write_text
from rankops.predict.task import Asked, Progress
from rankops.text import product_texts

if TYPE_CHECKING:
    from rankops.dataset import Dataset
    from rankops.predict.releases import Resolved

_DIGITS = 6
_CHUNK = 512
_DEPTH = 100  # candidates of a query, by BM25


def predict(release: Resolved, folder: Path, out: Path, asked: Asked, progress: Progress) -> str:
    """Write what the release says of the folder's pairs or queries; which of the two is the model's to say.

    A matcher reads a folder of pair files (``train``, ``valid``, ``test_pairs``; see :mod:`rankops.data.matching`) or
    a dataset made of one; a ranker what a retriever reads. Raises :class:`BadInput` for a folder of another kind.
    """
    from rankops.release.ranking import RANKER

    scorer = OnnxCrossEncoder(release.folder / RANKER, threads=os.cpu_count() or 1)
    if scorer.config.threshold is None:
        return _orders(scorer, release, folder, out, asked, progress)
    pair_ids, pairs = read_pairs_of(folder, asked)
    scores = _scores(scorer, pairs, progress)
    threshold = scorer.config.threshold
    lines = [
        f"{pair_id}\t{score:.{_DIGITS}f}\t{int(score >= threshold)}"
        for pair_id, score in zip(pair_ids, scores, strict=True)
    ]
    write_text(out, "\n".join(lines) + "\n")
    return f"{len(lines):,} pairs, {sum(score >= threshold for score in scores):,} of them matches"


def read_pairs_of(folder: Path, asked: Asked) -> tuple[list[str], list[tuple[str, str]]]:
    """Ids and texts of a split's pairs, sorted by id. Labels are not read."""
    from rankops.data.matching import is_matching_folder

    if is_matching_folder(folder):
        rows = _from_files(folder, asked)
    elif (folder / "queries.parquet").is_file():
        rows = _from_dataset(folder, asked)
    else:
        raise BadInput(
            f"{folder} holds neither test_pairs.tsv.gz nor queries.parquet",
            "give a folder of offer pairs, or a rankops dataset made of one",
        )
    if not rows:
        raise BadInput(f"{folder} has no pair in split {asked.split!r}", "give --split all, train, dev or test")
    rows.sort()
    return [pair_id for pair_id, _, _ in rows], [(left, right) for _, left, right in rows]


def _from_files(folder: Path, asked: Asked) -> list[tuple[str, str, str]]:
    from rankops.data.matching import FILES, read_pairs

    rows: list[tuple[str, str, str]] = []
    for split, names in FILES.items():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is not None and asked.split in ("all", split):
            rows += read_pairs(path, labelled=False).select("pair_id", "left_title", "right_title").iter_rows()
    return rows


def _from_dataset(folder: Path, asked: Asked) -> list[tuple[str, str, str]]:
    """Pairs of a dataset of ours. Which product a query is asked with is in its judgements; grades are not used."""
    from rankops.dataset import load_dataset

    dataset = load_dataset(folder)
    texts = _texts(dataset)
    pairs = dataset.queries.join(dataset.judgements.select("query_id", "product_id"), on="query_id")
    if pairs["query_id"].is_duplicated().any():
        raise BadInput(f"{folder} has queries with several judged products", "a matcher predicts pairs")
    kept = pairs if asked.split == "all" else pairs.filter(pairs["split"] == asked.split)
    return [(q, text, texts[p]) for q, text, p in kept.select("query_id", "query", "product_id").iter_rows()]


def _texts(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))


def _scores(scorer: PairScorer, pairs: Sequence[tuple[str, str]], progress: Progress) -> list[float]:
    found: list[float] = []
    for start in range(0, len(pairs), _CHUNK):
        found += scorer.score(pairs[start : start + _CHUNK]).tolist()
        progress(f"scored {len(found):,} of {len(pairs):,} pairs")
    return found


def _orders(
    scorer: OnnxCrossEncoder, release: Resolved, folder: Path, out: Path, asked: Asked, progress: Progress
) -> str:
    """A TREC run: each query's judged pool, or else what BM25 finds, in the ranker's order."""
    from rankops.predict.retrieval import read_questions
    from rankops.runs import bm25_run

    questions = read_questions(folder, asked.split)
    product_ids = [str(product["product_id"]) for product in questions.products]
    texts = dict(zip(product_ids, product_texts(questions.products), strict=True))
    progress(f"candidates of {len(questions.queries):,} queries among {len(texts):,} products")
    found = bm25_run(questions.queries, list(texts.values()), product_ids, k=max(asked.k, _DEPTH))
    lines: list[str] = []
    for number, (query_id, query) in enumerate(questions.queries, 1):
        pool = [product for product in questions.pools.get(query_id, ()) if product in texts]
        ids = list(dict.fromkeys([*found[query_id], *pool]))
        ranked, scores = scorer.rank(query, ids, [texts[product] for product in ids])
        kept = [row for row, product in enumerate(ranked) if row < asked.k or product in set(pool)]
        lines += [
            f"{query_id} Q0 {ranked[row]} {rank} {scores[row]:.{_DIGITS}f} {asked.tag_of(release)}"
            for rank, row in enumerate(kept, 1)
        ]
        progress(f"ordered the candidates of {number:,} of {len(questions.queries):,} queries")
    write_text(out, "\n".join(lines) + "\n")
    return f"{len(lines):,} lines for {len(questions.queries):,} queries"
