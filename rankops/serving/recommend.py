"""``/recommend``: a basket or session in, the next products out."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rankops.serving.answered import log_answer, milliseconds, request_time
from rankops.serving.answers import RecommendAnswer
from rankops.serving.documented import READING, WORKING, documented
from rankops.serving.engines.recommendation import RecommendEngine
from rankops.serving.incoming import read_request
from rankops.serving.observed import observed
from rankops.serving.service import Service


@documented(
    "The next products for a basket",
    tag="recommendation",
    takes=("recommend",),
    answers=(RecommendAnswer,),
    errors=(*READING, *WORKING),
)
async def recommend(request: Request) -> Response:
    """``POST {"items": [...], "k": ..., "exclude": [...], "max_per_category": ...,
    "include_unavailable": false}``, or ``GET ?items=a,b&k=...``.

    ``items`` may be empty (a visitor of whom nothing is known gets what sells), and may name products that the model
    does not know: ``known_items`` says which counted.
    """
    service: Service = request.app.state.service
    engine = service.engine_of(RecommendEngine)
    asked = await read_request(request, request.app.state.requests.recommend)
    when = request_time(request, service)
    begun = time.perf_counter()
    found = await service.run(lambda: engine.recommend(**dict(asked)))
    observed().stage("search", time.perf_counter() - begun)
    if not found.product_ids:
        service.metrics.zero_results.inc()
    took_ms = milliseconds(request)
    query, top = " ".join(asked.items), found.scores[0] if found.scores else None
    log_answer(
        request, service, engine, when=when, query=query, product_ids=found.product_ids, top_score=top, took_ms=took_ms
    )
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
