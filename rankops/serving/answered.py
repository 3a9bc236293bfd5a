"""When a request was asked, how long its answer took, and its record in the request log."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from starlette.requests import Request

from rankops.serving.engines import Engine
from rankops.serving.request_log import LogRecord
from rankops.serving.service import Service
from rankops.serving.web import ApiError

REQUEST_TIME_HEADER = "X-Request-Time"


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


def milliseconds(request: Request) -> float:
    """Milliseconds since the request came."""
    return float(time.perf_counter() - request.state.started) * 1e3


def log_answer(
    request: Request,
    service: Service,
    engine: Engine,
    *,
    when: datetime,
    query: str,
    product_ids: list[str],
    top_score: float | None,
    took_ms: float,
) -> None:
    """Put an answer into the request log, where there is one. ``query`` is normalized."""
    if service.request_log is None:
        return
    record = LogRecord(
        timestamp=when,
        request_id=request.state.request_id,
        query=query,
        product_ids=product_ids,
        top_score=top_score,
        latency_ms=took_ms,
        release=engine.manifest.digest,
    )
    service.request_log.append(record)
