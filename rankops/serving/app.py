"""The ASGI application: routes, life span, and the health and metrics endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rankops.serving import v2
from rankops.serving.config import ServerConfig
from rankops.serving.recommend import recommend
from rankops.serving.rerank import rerank
from rankops.serving.search import search
from rankops.serving.service import Service
from rankops.serving.web import Envelope, error_response


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

    app = Starlette(
        routes=[
            Route("/", index, methods=["GET"]),
            Route("/search", search, methods=["GET", "POST"]),
            Route("/recommend", recommend, methods=["GET", "POST"]),
            Route("/rerank", rerank, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            *v2.routes(),
        ],
        middleware=[Middleware(Envelope, service=service)],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def _refused(_request: Request, error: Exception) -> Response:
    return error_response(error if isinstance(error, HTTPException) else None)


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
                "/healthz",
                "/readyz",
                "/metrics",
            ],
        }
    )


async def healthz(request: Request) -> Response:
    """The process answers; says nothing about the release."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """200 once a verified release is loaded, else 503 with the reason."""
    service: Service = request.app.state.service
    if service.release is None:
        return JSONResponse({"ready": False, "reason": service.state}, 503)
    manifest = service.engine().manifest
    return JSONResponse({"ready": True, "model": manifest.model, "release": manifest.digest})


async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)
