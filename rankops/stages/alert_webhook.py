"""The receiver of Alertmanager's webhook: checks who posts and what, and keeps it where the sensor looks.

It decides nothing: a run is started by the sensor, which knows what is live. ``rankops alert-webhook`` serves it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rankops.errors import BadInput
from rankops.stages.alerts import Inbox, read_webhook

PATH = "/alertmanager"
LIMIT = 1 << 20
"""Bytes of a body; Alertmanager sends a few KiB a group."""


def create_app(inbox: Inbox, token: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Starlette:
    """The application. ``token`` is the bearer token that Alertmanager's ``http_config.authorization`` sends.

    401 for another token, 413 for a body above :data:`LIMIT`, 422 for anything but a webhook of version 4; 503 where
    it could not be kept, which Alertmanager tries again. Raises :class:`BadInput` for a token that is no secret.
    """
    if len(token) < 16:
        raise BadInput("the webhook's token has fewer than 16 characters", "set RANKOPS_ALERT_TOKEN to a long secret")
    expected = f"Bearer {token}".encode()

    async def receive(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected):
            return _problem(401, "the bearer token is wrong or missing", {"WWW-Authenticate": "Bearer"})
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LIMIT:
                return _problem(413, f"more than {LIMIT} bytes")
        try:
            payload = read_webhook(bytes(body))
        except BadInput as error:
            return _problem(422, error.problem)
        try:
            kept = await run_in_threadpool(inbox.put, payload, clock())
        except OSError as error:
            return _problem(503, f"the alerts could not be kept: {error}")
        return JSONResponse({"about models": kept, "ignored": len(payload.alerts) - kept})

    async def healthy(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[Route(PATH, receive, methods=["POST"]), Route("/healthz", healthy)])


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"problem": text}, status_code=status, headers=headers)
