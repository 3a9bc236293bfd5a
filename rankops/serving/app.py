"""The ASGI application: routes, life span, and the health and metrics endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rankops.serving import docs, v2
from rankops.serving.answers import Health, Index, Readiness
from rankops.serving.config import ServerConfig
from rankops.serving.documented import documented
from rankops.serving.doors import doors
from rankops.serving.openapi import openapi
from rankops.serving.recommend import recommend
from rankops.serving.rerank import rerank
from rankops.serving.schemas import Requests
from rankops.serving.search import search
from rankops.serving.service import Service
from rankops.serving.statistics import Book
from rankops.serving.web import Envelope, error_response, not_allowed


def create_app(config: ServerConfig, *, on_failed: Callable[[], None] = lambda: None) -> Starlette:
    """The application. Loading starts with its life span; ``on_failed`` is called when the release is refused.

    ``app.state.service`` is the :class:`Service`, whose ``failure`` then says why.
    """
    service = Service(config, on_failed)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.stop)

    routes = [
        Route("/", index, methods=["GET"]),
        Route("/search", search, methods=["GET", "POST"]),
        Route("/recommend", recommend, methods=["GET", "POST"]),
        Route("/rerank", rerank, methods=["POST"]),
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        *v2.routes(),
        *docs.routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Envelope, service=service), *doors(config, service.metrics, routes)],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # its redirects go where the caller's Host header says
    app.state.service = service
    app.state.requests, app.state.statistics = Requests(config), Book()
    app.state.openapi = openapi(app.routes, app.state.requests, keys=config.api_keys is not None)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return not_allowed(request, error)
    return error_response(error if isinstance(error, HTTPException) else None)


@documented("What this server is", tag="server", answers=(Index,), open=True)
async def index(request: Request) -> Response:
    """What this server is, for people who open it in a browser."""
    service: Service = request.app.state.service
    return JSONResponse(
        {
            "service": "rankops",
            "state": service.state,
            "release": service.release,
            "endpoints": [
                "/search?q=...&k=10",
                "/recommend?items=...&k=10",
                "/rerank",
                "/v2",
                "/docs",
                "/openapi.json",
                "/healthz",
                "/readyz",
                "/metrics",
            ],
        }
    )


@documented("The process answers", tag="server", answers=(Health,), open=True)
async def healthz(request: Request) -> Response:
    """The process answers; says nothing about the release."""
    return JSONResponse({"status": "ok"})


@documented("A verified release is served", tag="server", answers=(Readiness,), same=(503,), open=True)
async def readyz(request: Request) -> Response:
    """200 once a verified release is loaded, else 503 with the reason; ``refused``: what is pinned and why it waits."""
    service: Service = request.app.state.service
    if service.release is None:
        return JSONResponse({"ready": False, "reason": service.state}, 503)
    manifest = service.engine().manifest
    told: dict[str, Any] = {"ready": True, "model": manifest.model, "release": manifest.digest}
    if service.refused is not None:
        told["refused"] = dict(zip(("release", "reason"), service.refused, strict=True))
    return JSONResponse(told)


@documented("Metrics for Prometheus", tag="server", media="text/plain", open=True)
async def metrics(request: Request) -> Response:
    """Prometheus text format, or OpenMetrics (with exemplars) where the scraper asks for it."""
    service: Service = request.app.state.service
    body, content_type = service.metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
