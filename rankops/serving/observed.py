"""What is known about one request while it is answered: stages with their times, sizes, ids.

Handlers and the service add to it; metrics, spans and log lines are made of it once the answer was sent, so that none
of them costs a caller any time. It is found by ``observed()`` wherever the request's task runs; work on other threads
hands its seconds back.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankops.release.manifest import ReleaseManifest

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")


class Observed:
    """One request. Times are seconds of ``time.perf_counter``; stages are ``(name, start, seconds)``, start counted
    from the beginning of the request.
    """

    __slots__ = (
        "attributes", "began", "began_ns", "code", "endpoint", "manifest", "method", "query", "request_bytes",
        "request_id", "response_bytes", "sampled", "seconds", "span", "stages", "trace_id",
    )  # fmt: skip

    def __init__(self, endpoint: str = "", method: str = "", request_id: str = "") -> None:
        self.began = time.perf_counter()
        self.began_ns = time.time_ns()
        self.endpoint = endpoint
        self.method = method
        self.request_id = request_id
        self.trace_id = ""
        self.sampled = False
        self.manifest: ReleaseManifest | None = None
        self.span: Any = None
        self.code = 499  # the caller went away, unless an answer is sent
        self.seconds = 0.0
        self.request_bytes = 0
        self.response_bytes = 0
        self.stages: list[tuple[str, float, float]] = []
        self.attributes: dict[str, str | int | float | bool] = {}
        self.query: str | None = None  # only where spans may carry it; never logged

    @property
    def release(self) -> str | None:
        """Digest of the release that answers this request, which a swap meanwhile does not change."""
        return None if self.manifest is None else self.manifest.digest

    def stage(self, name: str, seconds: float) -> None:
        """A stage that has just ended."""
        self.stages.append((name, time.perf_counter() - self.began - seconds, seconds))

    def in_turn(self, seconds: Mapping[str, float]) -> None:
        """Stages that ran one after another, the last of which has just ended."""
        start = time.perf_counter() - self.began - sum(seconds.values())
        for name, took in seconds.items():
            self.stages.append((name, start, took))
            start += took

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """A stage around a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages.append((name, started - self.began, time.perf_counter() - started))

    def take_traceparent(self, value: bytes) -> None:
        """The caller's trace (W3C Trace Context); what is malformed is left alone, as the standard says."""
        match = _TRACEPARENT.fullmatch(value)
        if match is not None:
            self.trace_id = match[1].decode()
            self.sampled = bool(int(match[2], 16) & 1)


_CURRENT: ContextVar[Observed | None] = ContextVar("rankops_observed", default=None)


def observed() -> Observed:
    """The request that is answered here; outside of one, a new record that nobody reads."""
    return _CURRENT.get() or Observed()


def current() -> Observed | None:
    """The request that is answered here, if any."""
    return _CURRENT.get()


def enter(seen: Observed) -> Token[Observed | None]:
    """Make ``seen`` the request of this task."""
    return _CURRENT.set(seen)


def leave(token: Token[Observed | None]) -> None:
    """Undo :func:`enter`."""
    _CURRENT.reset(token)


def new_request_id() -> str:
    """32 hexadecimal digits."""
    return secrets.token_hex(16)
