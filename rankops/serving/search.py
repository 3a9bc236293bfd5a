"""``/search``: a query in, products out."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rankops.serving.engines.retrieval import Answer, SearchEngine
from rankops.serving.request_log import LogRecord
from rankops.serving.service import Service
from rankops.serving.web import ApiError, check_text, read_json
from rankops.text import normalize_query

REQUEST_TIME_HEADER = "X-Request-Time"


async def search(request: Request) -> Response:
    """``POST {"query": ..., "k": ...}`` or ``GET ?q=...&k=...``."""
    service: Service = request.app.state.service
    engine = service.engine_of(SearchEngine)
    query, k = await _arguments(request, service)
    when = request_time(request, service)
    answer = await service.run(lambda: engine.search(query, k, service.config.min_score))
    took_ms = (time.perf_counter() - request.state.started) * 1e3
    _count(service, answer)
    if service.request_log is not None:
        record = LogRecord(
            timestamp=when,
            request_id=request.state.request_id,
            query=normalize_query(query),
            product_ids=[result["product_id"] for result in answer.results],
            top_score=answer.results[0]["score"] if answer.results else None,
            latency_ms=took_ms,
            release=engine.manifest.digest,
        )
        service.request_log.append(record)
    return JSONResponse(
        {
            "release": engine.manifest.digest,
            "query": query,
            "results": answer.results,
            "took_ms": round(took_ms, 3),
            "request_id": request.state.request_id,
        }
    )


async def _arguments(request: Request, service: Service) -> tuple[str, int]:
    config = service.config
    if request.method == "GET":
        given: Any = {{"q": "query"}.get(name, name): value for name, value in request.query_params.items()}
        if "k" in given and given["k"].isdecimal():
            given["k"] = int(given["k"][:9])
    else:
        given = await read_json(request, config.max_body_bytes)
    if not isinstance(given, dict):
        raise ApiError(400, "the request must be an object with 'query' and, if wanted, 'k'")
    if unknown := sorted(map(str, given.keys() - {"query", "k"})):
        raise ApiError(400, f"unknown field {', '.join(unknown)}; a search has 'query' and 'k'")
    query, k = given.get("query"), given.get("k", config.default_k)
    if not isinstance(query, str):
        raise ApiError(400, "'query' must be a text that is not empty")
    check_text("'query'", query, config.max_query_chars)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= config.max_k:
        raise ApiError(400, f"'k' must be a whole number from 1 to {config.max_k}, not {k!r}")
    return query, k


def request_time(request: Request, service: Service) -> datetime:
    """What the log says a request's time is: now, or the header's where replays are trusted."""
    given = request.headers.get(REQUEST_TIME_HEADER)
    if given is None or not service.config.trust_request_time:
        return datetime.now(UTC)
    try:
        when = datetime.fromisoformat(given)
    except ValueError as error:
        raise ApiError(400, f"{REQUEST_TIME_HEADER} is not an ISO 8601 time: {given!r}") from error
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def _count(service: Service, answer: Answer) -> None:
    metrics = service.metrics
    for stage, seconds in answer.seconds.items():
        metrics.stage_seconds.labels(stage).observe(seconds)
    if answer.results:
        metrics.top_score.observe(answer.results[0]["score"])
    else:
        metrics.zero_results.inc()
