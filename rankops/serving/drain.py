"""How a server ends: no request that a client has sent may be lost.

After SIGTERM the server goes on accepting and answering, but every answer closes its connection and readiness is 503,
so that load balancers and clients move on by themselves. A connection that merely waits for its next request is not
closed under the client's hands at once, as uvicorn would do: a request that is on its way would meet a closed socket.
When no connection has been open for a moment, or ``linger`` seconds are over, uvicorn's own shutdown follows: it stops
listening, lets running requests finish, and closes the rest.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

_QUIET = 0.25
"""Seconds without any connection after which nobody is on the way any more."""
_STEP = 0.02


class Drain:
    """ASGI around everything; ``begun`` switches it from passing through to closing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            # asked when the answer starts: a request that was running when draining began closes its connection too
            if self.begun and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        if self.begun and scope["path"] == "/readyz":
            await JSONResponse({"ready": False, "reason": "draining"}, 503)(scope, receive, closing)
        else:
            await self._app(scope, receive, closing)


class DrainingServer(uvicorn.Server):
    """uvicorn whose shutdown begins with up to ``linger`` seconds of answering and closing."""

    def __init__(self, config: uvicorn.Config, drain: Drain, linger: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._linger = linger

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then shut down as uvicorn does."""
        self._drain.begun = True
        logger.info("draining: %d connections open", len(self.server_state.connections))
        now = time.monotonic()
        last, until = now, now + self._linger
        while now < until and now - last < _QUIET and not self.force_exit:
            await asyncio.sleep(_STEP)
            now = time.monotonic()
            if self.server_state.connections:
                last = now
        await super().shutdown(sockets)
