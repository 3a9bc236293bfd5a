"""``/recommend``: a basket or session in, the next products out."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rankops.serving.engines.recommendation import RecommendEngine
from rankops.serving.request_log import LogRecord
from rankops.serving.search import request_time
from rankops.serving.service import Service
from rankops.serving.web import ApiError, read_json

_FIELDS = {"items", "k", "exclude", "max_per_category"}


async def recommend(request: Request) -> Response:
    """``POST {"items": [...], "k": ..., "exclude": [...], "max_per_category": ...}``, or ``GET ?items=a,b&k=...``.

    ``items`` may be empty (a visitor of whom nothing is known gets what sells), and may name products that the model
    does not know: ``known_items`` says which counted.
    """
    service: Service = request.app.state.service
    engine = service.engine_of(RecommendEngine)
    asked = await _arguments(request, service)
    when = request_time(request, service)
    begun = time.perf_counter()
    found = await service.run(lambda: engine.recommend(**asked))
    service.metrics.stage_seconds.labels("search").observe(time.perf_counter() - begun)
    if not found.product_ids:
        service.metrics.zero_results.inc()
    took_ms = (time.perf_counter() - request.state.started) * 1e3
    if service.request_log is not None:
        record = LogRecord(
            timestamp=when,
            request_id=request.state.request_id,
            query=" ".join(asked["items"]),
            product_ids=found.product_ids,
            top_score=found.scores[0] if found.scores else None,
            latency_ms=took_ms,
            release=engine.manifest.digest,
        )
        service.request_log.append(record)
    results = [
        {**engine.products[product_id], "score": score}
        for product_id, score in zip(found.product_ids, found.scores, strict=True)
    ]
    return JSONResponse(
        {
            "release": engine.manifest.digest,
            "known_items": found.known,
            "results": results,
            "took_ms": round(took_ms, 3),
            "request_id": request.state.request_id,
        }
    )


async def _arguments(request: Request, service: Service) -> dict[str, Any]:
    """Checked arguments of the engine. Raises :class:`ApiError` 400 naming the field that is wrong."""
    config = service.config
    given: Any = _from_url(request) if request.method == "GET" else await read_json(request, config.max_body_bytes)
    if not isinstance(given, dict):
        raise ApiError(400, "the request must be an object with 'items' and, if wanted, 'k'")
    if unknown := sorted(map(str, given.keys() - _FIELDS)):
        raise ApiError(400, f"unknown field {', '.join(unknown)}; a recommendation has {', '.join(sorted(_FIELDS))}")
    if "items" not in given:
        raise ApiError(400, "'items' is missing: the products of the basket or session (it may be empty)")
    return {
        "items": _ids(given["items"], "items", config.max_items),
        "k": _count(given.get("k", config.default_k), "k", config.max_k),
        "exclude": _ids(given.get("exclude", []), "exclude", config.max_items),
        "max_per_category": None
        if given.get("max_per_category") is None
        else _count(given["max_per_category"], "max_per_category", config.max_k),
    }


def _from_url(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if name in ("items", "exclude"):
            found[name] = [item for item in value.split(",") if item]
        else:
            found[name] = int(value[:9]) if value.isdecimal() else value
    return found


def _ids(value: Any, name: str, most: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and 0 < len(item) <= 128 for item in value):
        raise ApiError(400, f"'{name}' must be a list of product ids (texts of 1 to 128 characters)")
    if len(value) > most:
        raise ApiError(400, f"'{name}' has {len(value)} products, at most {most} are allowed")
    return value


def _count(value: Any, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ApiError(400, f"'{name}' must be a whole number from 1 to {most}, not {value!r}")
    return value
