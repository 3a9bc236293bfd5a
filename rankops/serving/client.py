"""A small HTTP client on one kept connection: latencies without connection set-up, and no dependency."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from rankops.errors import BadInput, RemoteUnavailable


@dataclass(frozen=True)
class Reply:
    """Status, headers (names in lower case) and parsed JSON (None where the body is no JSON)."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """Talk to one server. Raises :class:`RemoteUnavailable` when it does not answer."""

    def __init__(self, base_url: str, timeout: float = 10.0, api_key: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{base_url!r} is no address of a server", "give http://host:port")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)
        self._headers = {} if api_key is None else {"X-Api-Key": api_key}
        self._base_url, self._prefix = base_url, parts.path.rstrip("/")

    def get(self, path: str) -> Reply:
        """``GET``."""
        return self._request("GET", path, None, {})

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """``POST`` of a JSON value."""
        return self._request("POST", path, json.dumps(body).encode(), headers or {})

    def _request(self, method: str, path: str, body: bytes | None, more: Mapping[str, str]) -> Reply:
        headers = {**self._headers, **more, **({} if body is None else {"Content-Type": "application/json"})}
        try:
            try:
                return self._send(method, path, body, headers)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._connection.close()  # the server closed an idle connection: once more on a fresh one
                return self._send(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RemoteUnavailable(
                f"{method} {self._base_url}{path}: {type(error).__name__}: {error}", "is the server running?"
            ) from error

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        self._connection.request(method, self._prefix + path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = None
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, parsed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
