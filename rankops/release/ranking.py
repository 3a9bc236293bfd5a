"""The bundle of a ranker or matcher: the cross-encoder, product texts, products for display, golden answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rankops.cross_encoding import OnnxCrossEncoder, artifact_files
from rankops.errors import BadInput
from rankops.release.bundle import Content, assemble, copy_files
from rankops.release.golden import Golden, GoldenInference, GoldenRequest
from rankops.release.index import read_catalogue
from rankops.release.manifest import ReleaseFacts, ReleaseManifest
from rankops.release.products import write_products
from rankops.release.texts import write_texts
from rankops.text import product_text

RANKER = "ranker"
QUERY, PRODUCT, SCORE = "query", "product", "score"
"""Tensors of the protocol v2: two texts a row, and the probability that they belong together."""
Question = tuple[str, Sequence[str]]
"""A query and the ids of the products to order for it."""


def build_ranker_bundle(
    out: Path,
    *,
    artifact: Path,
    catalogue_parquet: Path,
    questions: Sequence[Question],
    facts: ReleaseFacts,
    progress: Callable[[str], None] = lambda _: None,
) -> ReleaseManifest:
    """Build the unsigned bundle of a ranker; see :func:`rankops.release.bundle.assemble` for errors.

    ``questions`` become the golden answers; their products must be in the catalogue.
    """
    if not questions:
        raise BadInput("a release needs at least one golden query", "give held-out queries of the dataset")
    products = read_catalogue(catalogue_parquet)
    texts = {str(product["product_id"]): product_text(product) for product in products}

    def fill(folder: Path) -> Content:
        copy_files(artifact, artifact_files(artifact), folder / RANKER)
        write_products(products, folder)
        write_texts(texts, folder)
        encoder = OnnxCrossEncoder(folder / RANKER)
        progress(f"release: {len(questions)} golden answers")
        answers = [answer(encoder, texts, query, ids) for query, ids in questions]
        first_query, (first_id, *_) = questions[0]
        golden = Golden(requests=answers, inference=infer(encoder, first_query, texts[first_id]))
        return Content(encoder.digest, golden, f"{len(texts):,} products")

    return assemble(out, facts, fill, progress)


def answer(encoder: OnnxCrossEncoder, texts: dict[str, str], query: str, product_ids: Sequence[str]) -> GoldenRequest:
    """An order of products as a server must answer it."""
    ids, scores = encoder.rank(query, product_ids, [texts[product_id] for product_id in product_ids])
    request = {"query": query, "products": list(product_ids), "k": len(product_ids)}
    return GoldenRequest(name=query, path="/rerank", request=request, product_ids=ids, scores=scores)


def infer(encoder: OnnxCrossEncoder, query: str, text: str) -> GoldenInference:
    """One inference of the protocol v2."""
    scores = [float(score) for score in encoder.score([(query, text)])]
    texts = ((QUERY, query), (PRODUCT, text))
    return GoldenInference(
        inputs=[{"name": name, "datatype": "BYTES", "shape": [1], "data": [data]} for name, data in texts],
        outputs=[{"name": SCORE, "datatype": "FP32", "shape": [1], "data": scores}],
    )
