"""A Kubernetes API server over real HTTP that tells recorded objects one after the other, and nothing else.

It answers GET of what it was given, 404 like the real one for the rest, and forwards the service proxy to a real
server where one is named. Every request is kept, so that tests can tell what was asked, and with which credentials.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

TOKEN = "a-token-that-must-not-be-seen"
Answer = tuple[int, Any]


def status(code: int, reason: str, message: str) -> Answer:
    """A failure as the API server words it."""
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }


@dataclass
class FakeApi:
    """``routes``: path to answers, told in turn; the last one is repeated."""

    routes: dict[str, list[Answer]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    services: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def tell(self, path: str, *answers: Any) -> None:
        """Objects (200) or ``(status, body)`` for a path."""
        self.routes[path] = [answer if isinstance(answer, tuple) else (200, answer) for answer in answers]
        self.kinds.add(path.rsplit("/", 1)[0])

    def answer(self, path: str) -> Answer:
        told = self.routes.get(path)
        if told:
            return told.pop(0) if len(told) > 1 else told[0]
        if path.startswith("/apis/") and path.rsplit("/", 1)[0] not in self.kinds:
            return 404, "404 page not found\n"
        name = path.rsplit("/", 1)[1]
        return status(404, "NotFound", f'"{name}" not found')

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig as people have it, with two contexts."""
        users = [{"name": "me", "user": {"token": TOKEN}}, {"name": "nobody", "user": {}}]
        contexts = [{"name": u["name"], "context": {"cluster": "fake", "user": u["name"]}} for u in users]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": users,
            "contexts": contexts,
            "current-context": "me",
        }
        path = folder / "kubeconfig.yaml"
        path.write_text(json.dumps(config))
        return path


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    """Start one on a free port of the loopback."""
    api = FakeApi()
    backend = httpx.Client()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            api.requests.append((self.command, parts.path, self.headers.get("Authorization", "")))
            api.queries.append(parse_qs(parts.query))
            code, headers, content = self._answer(parts.path, body)
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815

        def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
            for prefix, target in api.services.items():
                if path.startswith(prefix):
                    kept = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept")}
                    reply = backend.request(
                        self.command, target + path.removeprefix(prefix), content=body, headers=kept
                    )
                    kept = {k: v for k, v in reply.headers.items() if k.startswith("x-") or k == "content-type"}
                    return reply.status_code, kept, reply.content
            code, answer = api.answer(path)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            kind = "text/plain" if isinstance(answer, str) else "application/json"
            return code, {"Content-Type": kind}, text.encode()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        backend.close()


def paths_of(api: FakeApi, method: str) -> Sequence[str]:
    """What was asked with this method."""
    return [path for verb, path, _ in api.requests if verb == method]
