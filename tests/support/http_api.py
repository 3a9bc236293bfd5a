"""A small HTTP server for tests that stand in for a JSON API: routes by method and path, and a log of what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One request. ``path`` is as it was sent (escaped), ``query`` has the last value of each parameter."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """Status, JSON value and extra headers."""

    status: int
    value: Any
    headers: dict[str, str] = field(default_factory=dict)


class JsonApi:
    """Answers requests by :meth:`handle`; ``url`` is set while :meth:`serving`."""

    url: str

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def handle(self, request: Request) -> Answer:
        raise NotImplementedError

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve on a free port of this machine; the port refuses connections afterwards."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler_of(api: JsonApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            request = Request(self.command, parts.path, query, dict(self.headers.items()), json.loads(data or b"{}"))
            api.asked.append(request)
            self.reply(api.handle(request))

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815 - the names that http.server calls

        def reply(self, answer: Answer) -> None:
            text = answer.value if isinstance(answer.value, str) else json.dumps(answer.value)
            kind = "text/html" if isinstance(answer.value, str) else "application/json"
            self.send_response(answer.status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
