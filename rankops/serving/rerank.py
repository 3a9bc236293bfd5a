"""``/rerank``: a query and products in, the products in order out; or pairs in, scores out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rankops.serving.engines.ranking import RankEngine
from rankops.serving.request_log import LogRecord
from rankops.serving.search import request_time
from rankops.serving.service import Service
from rankops.serving.web import ApiError, check_text, read_json
from rankops.text import normalize_query

_FIELDS = {"query", "products", "k"}
_PAIR = {"query", "product"}


@dataclass(frozen=True)
class _Candidates:
    query: str
    product_ids: list[str]
    texts: list[str]
    k: int


async def rerank(request: Request) -> Response:
    """``POST {"query": ..., "products": [...], "k": ...}`` or ``POST {"pairs": [{"query": ..., "product": ...}]}``.

    A product is an id that the release knows, or ``{"id": ..., "text": ...}``. A matcher also says ``match``.
    """
    service: Service = request.app.state.service
    engine = service.engine_of(RankEngine)
    given = await read_json(request, service.config.max_body_bytes)
    if not isinstance(given, dict):
        raise ApiError(400, "the request must be an object with 'query' and 'products', or with 'pairs'")
    if "pairs" in given:
        return await _score_pairs(request, service, engine, given)
    asked = _candidates(given, service, engine)
    when, begun = request_time(request, service), time.perf_counter()
    results = await service.run(lambda: engine.rerank(asked.query, asked.product_ids, asked.texts, asked.k))
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - begun)
    took_ms = (time.perf_counter() - request.state.started) * 1e3
    if service.request_log is not None:
        record = LogRecord(
            timestamp=when,
            request_id=request.state.request_id,
            query=normalize_query(asked.query),
            product_ids=[result["product_id"] for result in results],
            top_score=results[0]["score"],
            latency_ms=took_ms,
            release=engine.manifest.digest,
        )
        service.request_log.append(record)
    return _answer(request, engine, took_ms, {"query": asked.query, "results": results})


async def _score_pairs(request: Request, service: Service, engine: RankEngine, given: dict[str, Any]) -> Response:
    if unknown := sorted(map(str, given.keys() - {"pairs"})):
        raise ApiError(400, f"unknown field {', '.join(unknown)}; a request with 'pairs' has nothing else")
    listed, limit = given["pairs"], service.config
    if not isinstance(listed, list) or not 1 <= len(listed) <= limit.max_items:
        raise ApiError(400, f"'pairs' must be a list of 1 to {limit.max_items} pairs")
    pairs = []
    for row, pair in enumerate(listed):
        if not isinstance(pair, dict) or pair.keys() != _PAIR or not all(isinstance(t, str) for t in pair.values()):
            raise ApiError(400, f"pair {row} must be an object of two texts, 'query' and 'product'")
        for name in ("query", "product"):
            check_text(f"pair {row}, '{name}'", pair[name], limit.max_text_chars)
        pairs.append((pair["query"], pair["product"]))
    begun = time.perf_counter()
    scores = await service.run(lambda: engine.score(pairs))
    service.metrics.stage_seconds.labels("encode").observe(time.perf_counter() - begun)
    took_ms = (time.perf_counter() - request.state.started) * 1e3
    return _answer(request, engine, took_ms, {"results": [engine.verdict(score) for score in scores.tolist()]})


def _answer(request: Request, engine: RankEngine, took_ms: float, body: dict[str, Any]) -> Response:
    common = {"release": engine.manifest.digest, "took_ms": round(took_ms, 3), "request_id": request.state.request_id}
    return JSONResponse({**common, **body})


def _candidates(given: dict[str, Any], service: Service, engine: RankEngine) -> _Candidates:
    """Checked arguments. Raises :class:`ApiError` 400 naming the field that is wrong."""
    config = service.config
    if unknown := sorted(map(str, given.keys() - _FIELDS)):
        raise ApiError(400, f"unknown field {', '.join(unknown)}; reranking has {', '.join(sorted(_FIELDS))}")
    query, products = given.get("query"), given.get("products")
    if not isinstance(query, str):
        raise ApiError(400, "'query' must be a text that is not empty")
    check_text("'query'", query, config.max_text_chars)
    if not isinstance(products, list) or not 1 <= len(products) <= config.max_items:
        raise ApiError(400, f"'products' must be a list of 1 to {config.max_items} products")
    named = [_product(row, product, engine, config.max_text_chars) for row, product in enumerate(products)]
    ids = [product_id for product_id, _ in named]
    if len(set(ids)) < len(ids):
        raise ApiError(400, "'products' names a product twice")
    k = given.get("k", min(config.default_k, len(ids)))
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= max(config.max_k, len(ids)):
        raise ApiError(400, f"'k' must be a whole number from 1 to {max(config.max_k, len(ids))}, not {k!r}")
    return _Candidates(query, ids, [text for _, text in named], k)


def _product(row: int, product: Any, engine: RankEngine, limit: int) -> tuple[str, str]:
    """Id and text of a product: looked up, or given."""
    if isinstance(product, str):
        if product not in engine.texts:
            raise ApiError(400, f"product {row} is unknown: {product[:64]!r}; give it as {{'id': ..., 'text': ...}}")
        return product, engine.texts[product]
    if not isinstance(product, dict) or product.keys() != {"id", "text"}:
        raise ApiError(400, f"product {row} must be an id, or an object with 'id' and 'text'")
    identity, text = product["id"], product["text"]
    if not isinstance(identity, str) or not 0 < len(identity) <= 128 or not isinstance(text, str):
        raise ApiError(400, f"product {row}: 'id' must be a text of 1 to 128 characters, 'text' a text")
    return identity, check_text(f"product {row}, 'text'", text, limit)
