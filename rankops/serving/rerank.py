"""``/rerank``: a query and products in, the products in order out; or pairs in, scores out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rankops.serving.answered import log_answer, milliseconds, request_time
from rankops.serving.answers import PairsAnswer, RerankAnswer
from rankops.serving.documented import READING, WORKING, documented
from rankops.serving.engines.ranking import RankEngine
from rankops.serving.incoming import read_value
from rankops.serving.observed import observed
from rankops.serving.schemas import PairsRequest, Product, Requests, RerankRequest
from rankops.serving.service import Service
from rankops.serving.web import ApiError
from rankops.text import normalize_query


@dataclass(frozen=True)
class _Candidates:
    query: str
    product_ids: list[str]
    texts: list[str]
    k: int


@documented(
    "Products in order, or pairs with their scores",
    tag="ranking",
    takes=("rerank", "pairs"),
    answers=(RerankAnswer, PairsAnswer),
    errors=(*READING, *WORKING),
)
async def rerank(request: Request) -> Response:
    """``POST {"query": ..., "products": [...], "k": ...}`` or ``POST {"pairs": [{"query": ..., "product": ...}]}``.

    A product is an id that the release knows, or ``{"id": ..., "text": ...}``. A matcher also says ``match``.
    """
    service: Service = request.app.state.service
    engine = service.engine_of(RankEngine)
    requests: Requests = request.app.state.requests
    given = await read_value(request)
    if isinstance(given, dict) and "pairs" in given:
        return await _score_pairs(request, service, engine, requests.pairs(given))
    asked = _candidates(requests.rerank(given), service, engine)
    when, begun = request_time(request, service), time.perf_counter()
    observed().query = asked.query
    results = await service.run(lambda: engine.rerank(asked.query, asked.product_ids, asked.texts, asked.k))
    observed().stage("encode", time.perf_counter() - begun)
    took_ms = milliseconds(request)
    ids, top, query = [result["product_id"] for result in results], results[0]["score"], normalize_query(asked.query)
    log_answer(request, service, engine, when=when, query=query, product_ids=ids, top_score=top, took_ms=took_ms)
    return _answer(request, engine, took_ms, {"query": asked.query, "results": results})


async def _score_pairs(request: Request, service: Service, engine: RankEngine, asked: PairsRequest) -> Response:
    pairs = [(pair.query, pair.product) for pair in asked.pairs]
    begun = time.perf_counter()
    scores = await service.run(lambda: engine.score(pairs))
    observed().stage("encode", time.perf_counter() - begun)
    took_ms = milliseconds(request)
    return _answer(request, engine, took_ms, {"results": [engine.verdict(score) for score in scores.tolist()]})


def _answer(request: Request, engine: RankEngine, took_ms: float, body: dict[str, Any]) -> Response:
    common = {"release": engine.manifest.digest, "took_ms": round(took_ms, 3), "request_id": request.state.request_id}
    return JSONResponse({**common, **body})


def _candidates(asked: RerankRequest, service: Service, engine: RankEngine) -> _Candidates:
    """Products with their texts. Raises :class:`ApiError` 400 for one that is unknown or repeated."""
    named = [_product(row, product, engine) for row, product in enumerate(asked.products)]
    ids = [product_id for product_id, _ in named]
    if len(set(ids)) < len(ids):
        raise ApiError(400, "'products' names a product twice")
    k = min(service.config.default_k, len(ids)) if asked.k is None else asked.k
    return _Candidates(asked.query, ids, [text for _, text in named], k)


def _product(row: int, product: str | Product, engine: RankEngine) -> tuple[str, str]:
    """Id and text of a product: looked up, or given."""
    if isinstance(product, Product):
        return product.id, product.text
    if product not in engine.texts:
        raise ApiError(400, f"product {row} is unknown: {product[:64]!r}; give it as {{'id': ..., 'text': ...}}")
    return product, engine.texts[product]
