"""Middleware that lets in who has an API key, no more often than the key may ask."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from rankops.errors import BadInput
from rankops.serving.api_keys import KeyRing
from rankops.serving.config import ServerConfig
from rankops.serving.metrics import Metrics
from rankops.serving.observed import observed
from rankops.serving.web import ApiError, error_response

logger = logging.getLogger(__name__)
_CHALLENGE = 'Bearer realm="rankops"'


class RequireKey:
    """ASGI: 401 without a key that is known, 429 beyond its rate. ``open_paths`` need none, nor does OPTIONS."""

    def __init__(self, app: ASGIApp, ring: KeyRing, metrics: Metrics, open_paths: Collection[str]) -> None:
        self._app, self._ring, self._metrics, self._open = app, ring, metrics, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in self._open and scope["method"] != "OPTIONS":
            refusal = self._refusal(scope)
            if refusal is not None:
                await error_response(refusal)(scope, receive, send)
                return
        else:
            self._ring.refresh()
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        secret = presented(scope["headers"])
        if secret is None:
            self._metrics.key_refused.labels("missing").inc()
            message = "this server asks for an API key: send 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'"
            return ApiError(401, message, {"WWW-Authenticate": _CHALLENGE})
        key = self._ring.find(secret)
        if key is None:
            self._metrics.key_refused.labels("unknown").inc()
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            return ApiError(401, "the API key is not known, or has expired", {"WWW-Authenticate": challenge})
        observed().attributes["api_key"] = key.name
        if seconds := self._ring.wait(key):
            self._metrics.key_requests.labels(key.name, "limited").inc()
            message = f"the API key {key.name!r} may ask {key.rate:g} times a second; try again in {seconds} s"
            return ApiError(429, message, {"Retry-After": str(seconds)})
        self._metrics.key_requests.labels(key.name, "allowed").inc()
        return None


def presented(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The key of ``X-Api-Key``, else of ``Authorization: Bearer``; other schemes are somebody else's."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization" and bearer is None:
            scheme, _, rest = value.decode("latin-1").partition(" ")
            bearer = rest.strip() if scheme.lower() == "bearer" else None
    return bearer


def key_ring(config: ServerConfig, metrics: Metrics) -> KeyRing | None:
    """The ring that the configuration names, None without one. Raises :class:`BadInput` for a file that is broken."""
    if config.api_keys is None:
        return None
    names: set[str] = set()

    def reloaded(found: Sequence[str] | BadInput) -> None:
        if isinstance(found, BadInput):
            metrics.key_reloads.labels("failed").inc()
            metrics.keys_broken.set(1)
            logger.error("the API keys stay as they were: %s (remedy: %s)", found.problem, found.remedy)
            return
        for name in names - set(found):
            for outcome in ("allowed", "limited"):
                metrics.key_requests.remove(name, outcome)
        names.clear()
        names.update(found)
        for name in names:  # counters that exist from the start have a rate from the first request on
            for outcome in ("allowed", "limited"):
                metrics.key_requests.labels(name, outcome)
        metrics.key_reloads.labels("loaded").inc()
        metrics.keys_broken.set(0)
        logger.info("API keys of %s", ", ".join(found))

    return KeyRing(config.api_keys, reloaded)
