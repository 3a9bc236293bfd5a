"""HTTP plumbing that all endpoints share: JSON bodies with a limit, errors, headers and request metrics."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankops.text import normalize_query

if TYPE_CHECKING:
    from rankops.serving.service import Service

RELEASE_HEADER, REQUEST_ID_HEADER = "X-Rankops-Release", "X-Request-Id"
logger = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLAIN = frozenset(
    {
        "/",
        "/search",
        "/recommend",
        "/rerank",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
    }
)
_MODEL = re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?(/ready|/infer)?")


class ApiError(HTTPException):
    """An answer that says what the caller did wrong (4xx) or what we cannot do now (503)."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message, headers)


async def read_json(request: Request, limit: int) -> Any:
    """The body as JSON. Raises :class:`ApiError` 413 for more than ``limit`` bytes, 400 for what is no JSON."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(413, f"the request body is larger than {limit} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the request body is not JSON: {error}") from error


def error_response(error: HTTPException | None) -> Response:
    """``{"error": message}`` for every failure, as the Open Inference Protocol has it; None is our own failure."""
    if error is None:
        return JSONResponse({"error": "internal error; the server's log has the details"}, 500)
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=dict(error.headers or {}))


def check_text(name: str, text: str, limit: int) -> str:
    """``text``. Raises :class:`ApiError` 400 when it is blank, longer than ``limit`` characters, or no Unicode text."""
    if len(text) > limit:
        raise ApiError(400, f"{name} has {len(text)} characters, at most {limit} are allowed")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ApiError(400, f"{name} holds half of a surrogate pair")
    if not normalize_query(text):
        raise ApiError(400, f"{name} must be a text that is not empty")
    return text


def endpoint_label(path: str) -> str:
    """A label of few values for metrics: the route, not the path."""
    if path in _PLAIN:
        return path
    match = _MODEL.fullmatch(path)
    return "other" if match is None else "/v2/models/{model}" + (match.group(1) or "")


def request_id(scope: Scope) -> str:
    """The caller's ``X-Request-Id`` when it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return uuid.uuid4().hex


class Envelope:
    """Middleware around everything: request id, release header, request metrics."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, identity = time.perf_counter(), request_id(scope)
        scope["state"] = {**scope.get("state", {}), "request_id": identity, "started": started}
        code: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = identity
                if self._service.release is not None:
                    headers[RELEASE_HEADER] = self._service.release
            await send(message)

        label, metrics = endpoint_label(scope["path"]), self._service.metrics
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            metrics.errors.labels("internal").inc()
            logger.exception("request %s to %s failed", identity, label)
            if code is not None:
                raise  # the answer had begun: only the connection can say that it is broken
            await error_response(None)(scope, receive, send_with_headers)
        finally:
            metrics.requests.labels(label, scope["method"], str(code or 499)).inc()
            metrics.seconds.labels(label).observe(time.perf_counter() - started)
