"""The bundle of a recommender: the next-item model, products for display, golden answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from rankops.next_item import NextItemModel, load_next_item, model_files, next_item_digest
from rankops.release.bundle import Content, assemble, copy_files, distinct_queries
from rankops.release.golden import Golden, GoldenInference, GoldenRequest
from rankops.release.index import read_catalogue
from rankops.release.manifest import ReleaseFacts, ReleaseManifest
from rankops.release.products import read_products, write_products

MODEL = "next_item"
ITEMS, PRODUCT_IDS, SCORES = "items", "product_ids", "scores"
"""Tensors of the protocol v2: a context's product ids separated by blanks; the best products and their scores."""
GOLDEN_DEPTH = 10
V2_DEPTH = 20


def build_recommender_bundle(
    out: Path,
    *,
    artifact: Path,
    catalogue_parquet: Path,
    golden_contexts: Sequence[str],
    facts: ReleaseFacts,
    progress: Callable[[str], None] = lambda _: None,
) -> ReleaseManifest:
    """Build the unsigned bundle of a recommender; see :func:`rankops.release.bundle.assemble` for errors.

    ``golden_contexts`` are product ids separated by blanks.
    """
    contexts = distinct_queries(golden_contexts)
    products = read_catalogue(catalogue_parquet)

    def fill(folder: Path) -> Content:
        copy_files(artifact, model_files(artifact), folder / MODEL)
        model = load_next_item(folder / MODEL)
        known = {product["product_id"] for product in products}
        # What has left the catalogue can be learned from, but not shown.
        write_products([*products, *({"product_id": p, "title": p} for p in model.ids if p not in known)], folder)
        barred = read_products(folder, model.ids).unavailable
        requests = [answer(model, context.split(), exclude=barred) for context in contexts]
        golden = Golden(requests=requests, inference=infer(model, contexts[0], barred))
        return Content(next_item_digest(folder / MODEL), golden, f"{len(model.ids):,} products")

    return assemble(out, facts, fill, progress)


def answer(
    model: NextItemModel, context: Sequence[str], k: int = GOLDEN_DEPTH, *, exclude: Collection[str] = ()
) -> GoldenRequest:
    """A recommendation as a server must answer it, which leaves out ``exclude`` (what cannot be bought)."""
    found = model.recommend(context, k, exclude=exclude)
    return GoldenRequest(
        name=" ".join(context),
        path="/recommend",
        request={"items": list(context), "k": k},
        product_ids=found.product_ids,
        scores=found.scores,
    )


def infer(model: NextItemModel, context: str, exclude: Collection[str] = ()) -> GoldenInference:
    """One inference of the protocol v2."""
    tensors = recommend_tensors(model, [context], exclude)
    datatypes = {PRODUCT_IDS: "BYTES", SCORES: "FP32"}
    return GoldenInference(
        inputs=[{"name": ITEMS, "datatype": "BYTES", "shape": [1], "data": [context]}],
        outputs=[
            {"name": name, "datatype": kind, "shape": list(tensors[name].shape), "data": tensors[name].ravel().tolist()}
            for name, kind in datatypes.items()
        ],
    )


def recommend_tensors(
    model: NextItemModel, contexts: Sequence[str], exclude: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """``product_ids`` (objects) and ``scores`` (float32), both ``(n, 20)``; a short answer ends in empty ids."""
    found = [model.recommend(context.split(), V2_DEPTH, exclude=exclude) for context in contexts]
    ids = np.full((len(found), V2_DEPTH), "", dtype=object)
    scores = np.zeros((len(found), V2_DEPTH), dtype=np.float32)
    for row, one in enumerate(found):
        ids[row, : len(one.product_ids)] = one.product_ids
        scores[row, : len(one.scores)] = one.scores
    return {PRODUCT_IDS: ids, SCORES: scores}
