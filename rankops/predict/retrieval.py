"""Predictions of a retriever's release over the queries of a dataset: a TREC run, no labels needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankops.errors import BadInput
from rankops.files import write_text
from rankops.fusion import DIGITS
from rankops.predict.task import Asked, Progress, QuerySplit
from rankops.text import product_texts

if TYPE_CHECKING:
    from rankops.encoding import OnnxEncoder
    from rankops.predict.releases import Resolved
    from rankops.release.searcher import Searcher

_CHUNK = 1024


@dataclass(frozen=True)
class Questions:
    """Queries (id, text), the catalogue they are asked of, and products that must be ranked whatever their place.

    Products are rows of a catalogue, sorted by ``product_id``.
    """

    queries: list[tuple[str, str]]
    products: list[dict[str, Any]]
    pools: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_questions(folder: Path, split: QuerySplit = "all") -> Questions:
    """Queries and catalogue of a dataset folder of ours, or of a folder like ``search_icecat``; labels are not read.

    Raises :class:`BadInput` naming the file that is missing or the split that has no query.
    """
    if (folder / "catalogue.parquet").is_file():
        questions, splits = _dataset(folder)
    elif (folder / "products.jsonl.gz").is_file():
        questions, splits = _icecat(folder)
    else:
        raise BadInput(
            f"{folder} holds neither catalogue.parquet nor products.jsonl.gz",
            "give a rankops dataset folder, or one with products.jsonl.gz and queries.tsv",
        )
    kept = [query for query, of in zip(questions.queries, splits, strict=True) if split in ("all", of)]
    if not kept:
        raise BadInput(f"{folder} has no query in split {split!r}", f"its splits are {', '.join(sorted(set(splits)))}")
    return Questions(kept, questions.products, questions.pools)


def _dataset(folder: Path) -> tuple[Questions, list[str]]:
    import polars as pl

    if not (folder / "queries.parquet").is_file():
        raise BadInput(f"{folder / 'queries.parquet'} is missing", "rematerialize the dataset asset")
    catalogue = pl.read_parquet(folder / "catalogue.parquet")
    return _questions(catalogue, pl.read_parquet(folder / "queries.parquet"), {})


def _icecat(folder: Path) -> tuple[Questions, list[str]]:
    import polars as pl

    from rankops.data.importers import _icecat_products, _tsv
    from rankops.data.tables import check_table

    products = folder / "products.jsonl.gz"
    catalogue = check_table("catalogue", _icecat_products(products), str(products))
    queries = _tsv(folder / "queries.tsv", ["query_id", "query", "split", "group_id"])
    pools: dict[str, list[str]] = {}
    if (pool := folder / "candidates_test.tsv").is_file():
        pairs = _tsv(pool, ["query_id", "product_id"]).select(pl.all().cast(pl.String))
        for query_id, product_id in pairs.iter_rows():
            pools.setdefault(query_id, []).append(product_id)
    return _questions(catalogue, queries, pools)


def _questions(catalogue: Any, queries: Any, pools: Mapping[str, Sequence[str]]) -> tuple[Questions, list[str]]:
    products, asked = catalogue.sort("product_id"), queries.sort("query_id")
    found = Questions(
        queries=list(zip(asked["query_id"].to_list(), asked["query"].to_list(), strict=True)),
        products=list(products.iter_rows(named=True)),
        pools=pools,
    )
    return found, asked["split"].to_list()


def predict(release: Resolved, folder: Path, out: Path, asked: Asked, progress: Progress) -> str:
    """Write the TREC run of the folder's queries to ``out``; see :func:`rank_questions`."""
    questions = read_questions(folder, asked.split)
    lines = rank_questions(release, questions, out, k=asked.k, tag=asked.tag_of(release), progress=progress)
    return f"{lines:,} lines for {len(questions.queries):,} queries"


def rank_questions(release: Resolved, questions: Questions, out: Path, *, k: int, tag: str, progress: Progress) -> int:
    """Write the run to ``out``, all or nothing, and return its number of lines.

    One line for each of the ``k`` best products of a query, by exact search as the server answers: ``query_id Q0
    product_id rank score tag``. Products of the query's pool that are not among them follow in order of score, so that
    a scorer that only looks at judged products finds all of them ranked.
    """
    from rankops.release.searcher import Searcher

    if k < 1:
        raise BadInput(f"k is {k}", "ask for at least one product")
    searcher = Searcher.open(release.folder, threads=os.cpu_count() or 1)
    ids = [product["product_id"] for product in questions.products]
    searcher = _over(searcher, ids, questions.products, progress)
    place = {product: row for row, product in enumerate(ids)}
    lines: list[str] = []
    for query_id, text in questions.queries:
        pool = [place[product] for product in questions.pools.get(query_id, ()) if product in place]
        found = searcher.rank(text, k, also=pool)
        ranked = enumerate(zip(found.rows.tolist(), found.scores.tolist(), strict=True), 1)
        lines += [f"{query_id} Q0 {ids[row]} {rank} {score:.{DIGITS}f} {tag}" for rank, (row, score) in ranked]
    write_text(out, "\n".join(lines) + "\n")
    return len(lines)


def _over(searcher: Searcher, ids: list[str], products: Sequence[Mapping[str, Any]], progress: Progress) -> Searcher:
    """The searcher over these products: with the release's own indexes where they are of them, else made now."""
    from rankops.release.index import ProductIndex, catalogue_digest

    texts, index, hybrid = product_texts(products), searcher.index, searcher.hybrid
    if index.catalogue_digest == catalogue_digest(ids, texts):
        progress("the release's own index is of this catalogue")
    else:
        vectors = _encoded(searcher.encoder, texts, progress)
        digest = catalogue_digest(ids, texts)
        index = ProductIndex.of(vectors, ids, encoder_digest=index.encoder_digest, catalogue_digest=digest)
    if hybrid is not None:
        fusion = hybrid.fusion
        if fusion.source_of(products) != hybrid.words.source:
            progress(f"indexing the words of {len(products):,} products")
            hybrid = fusion.search_over(products)
    return replace(searcher, index=index, hybrid=hybrid)


def _encoded(encoder: OnnxEncoder, texts: Sequence[str], progress: Progress) -> np.ndarray:
    """(products, dimension) float32."""
    parts = []
    for start in range(0, len(texts), _CHUNK):
        parts.append(encoder.encode(texts[start : start + _CHUNK], role="product"))
        progress(f"encoded {min(start + _CHUNK, len(texts)):,} of {len(texts):,} products")
    return np.concatenate(parts)
