"""``/search``: a query in, products out."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from rankops.serving.answered import log_answer, milliseconds, request_time
from rankops.serving.answers import SearchAnswer
from rankops.serving.documented import READING, WORKING, documented
from rankops.serving.engines.retrieval import SearchEngine, Wish
from rankops.serving.incoming import read_request
from rankops.serving.observed import observed
from rankops.serving.service import Service
from rankops.text import normalize_query

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


@documented(
    "Products for a query", tag="search", takes=("search",), answers=(SearchAnswer,), errors=(*READING, *WORKING)
)
async def search(request: Request) -> Response:
    """``POST {"query": ..., "k": ...}`` (and ``only_available``) or ``GET ?q=...&k=...``.

    ``Cache-Control: no-cache`` asks for a search even where the answer is kept.
    """
    service: Service = request.app.state.service
    engine = service.engine_of(SearchEngine)
    seen = observed()
    with seen.timed("parse"):
        asked = await read_request(request, request.app.state.requests.search)
        query = asked.query
        wish = Wish(normalize_query(query), asked.k, service.config.min_score, asked.only_available)
        when = request_time(request, service)
    seen.query = query
    answer = await service.search(engine, wish, fresh=_fresh(request))
    took_ms = milliseconds(request)
    top = answer.scores[0] if answer.scores else None
    seen.attributes["results"] = len(answer.scores)
    service.metrics.found(top)
    log_answer(
        request,
        service,
        engine,
        when=when,
        query=wish.query,
        product_ids=answer.product_ids,
        top_score=top,
        took_ms=took_ms,
    )
    with seen.timed("serialize"):
        body = b'{"release":"%b","query":%b,"results":%b,"took_ms":%.3f,"request_id":"%b"}' % (
            *(engine.manifest.digest.encode(), _ENCODE(query).encode(), answer.json),
            *(took_ms, request.state.request_id.encode()),
        )
        return Response(body, media_type="application/json")


def _fresh(request: Request) -> bool:
    wanted = request.headers.get("cache-control")
    return wanted is not None and any(word in wanted.lower() for word in ("no-cache", "no-store"))
