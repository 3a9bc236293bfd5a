"""Who may come in: the middleware for browsers of other origins and for API keys, as configured."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from rankops.serving.auth import RequireKey, key_ring
from rankops.serving.config import ServerConfig
from rankops.serving.documented import open_paths
from rankops.serving.metrics import Metrics
from rankops.serving.tensors import HEADER_LENGTH
from rankops.serving.web import RELEASE_HEADER, REQUEST_ID_HEADER

_SENT = ["Authorization", "Cache-Control", "Content-Type", "X-Api-Key", "X-Request-Timeout-Ms", REQUEST_ID_HEADER]
_SHOWN = [REQUEST_ID_HEADER, RELEASE_HEADER, HEADER_LENGTH, "Retry-After"]


def doors(config: ServerConfig, metrics: Metrics, routes: Iterable[BaseRoute]) -> list[Middleware]:
    """The outer one first. Raises :class:`rankops.errors.BadInput` for a file of keys that is broken."""
    found = []
    origins = [origin.strip() for origin in config.cors_origins.split(",") if origin.strip()]
    if origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST"],
                allow_headers=[*_SENT, HEADER_LENGTH],
                expose_headers=_SHOWN,
            )
        )
    ring = key_ring(config, metrics)
    if ring is not None:
        opened = open_paths(routes) - ({"/metrics"} if config.metrics_need_key else set())
        found.append(Middleware(RequireKey, ring=ring, metrics=metrics, open_paths=opened))
    return found
