"""The bundle of a retriever: encoder, index of the catalogue, fusion with words where it is a hybrid, products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.encoding import FILES as ENCODER_FILES
from rankops.encoding import OnnxEncoder
from rankops.files import write_bytes
from rankops.fusion import FUSION, load_fusion
from rankops.release.bundle import Content, assemble, copy_files, distinct_queries
from rankops.release.golden import Golden, GoldenInference, GoldenRequest
from rankops.release.index import build_index, read_catalogue
from rankops.release.manifest import ReleaseFacts, ReleaseManifest
from rankops.release.products import write_products
from rankops.release.searcher import ENCODER, INDEX, LEXICAL, Searcher
from rankops.release.vectors import cached_vectors
from rankops.specs import IndexFormat
from rankops.text import normalize_query

if TYPE_CHECKING:
    from rankops.vector_cache import VectorCache

QUERY, EMBEDDING = "query", "embedding"
"""Names of the tensors in the protocol v2."""
GOLDEN_DEPTH = 10


def build_bundle(
    out: Path,
    *,
    artifact: Path,
    catalogue_parquet: Path,
    golden_queries: Sequence[str],
    facts: ReleaseFacts,
    index_queries: Sequence[str] = (),
    index_formats: Sequence[IndexFormat] = ("f32", "int8", "int8-pca"),
    cache: VectorCache | None = None,
    threads: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> ReleaseManifest:
    """Build the unsigned bundle of a retriever; see :func:`rankops.release.bundle.assemble` for errors.

    ``artifact`` is the folder of a quantized artifact, a hybrid where it holds ``fusion.json``: the indexes and the
    golden answers are made with the very copy that is shipped. ``index_queries`` (the golden ones, where there are
    none) choose the form of the index among ``index_formats`` (see :mod:`rankops.release.formats`); product vectors
    that ``cache`` holds are not made again. The same artifact, catalogue, queries and choice give the same digest.
    """
    queries = distinct_queries(golden_queries)
    products = read_catalogue(catalogue_parquet)

    def fill(folder: Path) -> Content:
        copy_files(artifact, ENCODER_FILES, folder / ENCODER)
        encoder = OnnxEncoder(folder / ENCODER, threads=threads)
        asked = encoder.encode([normalize_query(text) for text in index_queries or queries], role="query")
        known = None if cache is None else cached_vectors(cache, encoder)
        report = build_index(
            encoder,
            products,
            folder / INDEX,
            queries=asked,
            formats=index_formats,
            cache=known,
            progress=progress,
        )
        if cache is not None:
            cache.trim(keep=known)
        if (fusion := load_fusion(artifact)) is not None:
            progress(f"index: the words of {len(products):,} products")
            write_bytes(folder / FUSION, (artifact / FUSION).read_bytes())
            fusion.search_over(products).words.save(folder / LEXICAL)
        write_products(products, folder)
        searcher = Searcher.open(folder)
        answers = [answer(searcher, query) for query in queries]
        golden = Golden(requests=answers, inference=infer(searcher, queries[0]))
        return Content(encoder.digest, golden, f"{len(products):,} products", report)

    return assemble(out, facts, fill, progress)


def answer(searcher: Searcher, query: str, k: int = GOLDEN_DEPTH) -> GoldenRequest:
    """A search as a server must answer it."""
    found = searcher.search(query, k)
    return GoldenRequest(
        name=query,
        path="/search",
        request={"query": query, "k": k},
        product_ids=found.product_ids,
        scores=found.scores,
    )


def infer(searcher: Searcher, query: str) -> GoldenInference:
    """One inference of the protocol v2: the query's embedding."""
    vectors = searcher.embed([query])
    data = [round(float(value), 7) for value in vectors.ravel()]
    return GoldenInference(
        inputs=[{"name": QUERY, "datatype": "BYTES", "shape": [1], "data": [query]}],
        outputs=[{"name": EMBEDDING, "datatype": "FP32", "shape": list(vectors.shape), "data": data}],
    )
