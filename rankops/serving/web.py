"""HTTP plumbing that all endpoints share: errors, headers and request metrics."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rankops.serving.caller import Caller, enter_caller
from rankops.serving.observed import Observed, enter, leave, new_request_id
from rankops.serving.telemetry import TRACE_HEADER, body_size
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
        "/docs",
        "/openapi.json",
        "/v2",
        "/v2/models/stats",
        "/v2/repository/index",
        "/v2/health/live",
        "/v2/health/ready",
    }
)
_MODEL = re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?(/ready|/infer|/config|/stats)?")


class ApiError(HTTPException):
    """An answer that says what the caller did wrong (4xx) or what we cannot do now (503)."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message, headers)


def error_response(error: HTTPException | None) -> Response:
    """``{"error": message}`` for every failure, as the Open Inference Protocol has it; None is our own failure."""
    if error is None:
        return JSONResponse({"error": "internal error; the server's log has the details"}, 500)
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=dict(error.headers or {}))


def not_allowed(request: Request, error: HTTPException) -> Response:
    """405 with the methods that there are; to OPTIONS that is the answer it asked for."""
    methods = sorted({"OPTIONS", *(error.headers or {}).get("Allow", "").replace(" ", "").split(",")} - {""})
    headers = {"Allow": ", ".join(methods)}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    message = f"{request.method} is not possible here; there are {headers['Allow']}"
    return error_response(ApiError(405, message, headers))


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
    return new_request_id()


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
        telemetry = self._service.telemetry
        seen = Observed(endpoint_label(scope["path"]), scope["method"], request_id(scope))
        telemetry.begin(seen, scope["headers"])
        scope["state"] = {**scope.get("state", {}), "request_id": seen.request_id, "started": seen.began}
        begun = False

        async def receive_counted() -> Message:
            message = await receive()
            seen.request_bytes += body_size(message)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun, seen.code = True, message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = seen.request_id
                if seen.trace_id:
                    headers[TRACE_HEADER] = seen.trace_id
                if (release := seen.release or self._service.release) is not None:
                    headers[RELEASE_HEADER] = release
            else:
                seen.response_bytes += body_size(message)
            await send(message)

        token = enter(seen)
        enter_caller(Caller(scope["headers"], receive, seen.began))
        try:
            await self._app(scope, receive_counted, send_with_headers)
        except Exception:
            telemetry.metrics.errors.labels("internal").inc()
            logger.exception("a request failed")
            if begun:
                raise  # the answer had begun: only the connection can say that it is broken
            await error_response(None)(scope, receive, send_with_headers)
        finally:
            seen.seconds = time.perf_counter() - seen.began
            telemetry.finish(seen)
            leave(token)
