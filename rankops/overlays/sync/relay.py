"""A door to one Service of a cluster from this machine: what ``kubectl proxy`` does, for a single Service.

Requests to a loopback port go through the API server's service proxy with the API client's credentials, so that
callers need none and no URL carries any. The door opens for as long as its context lasts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rankops.errors import RemoteUnavailable
from rankops.overlays.sync.api import KubernetesApi
from rankops.overlays.sync.workload import Workload

_KEPT_REQUEST = ("content-type", "accept", "x-request-id", "x-request-time")
_DROPPED_ANSWER = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"})


@contextmanager
def service_relay(api: KubernetesApi, workload: Workload) -> Iterator[str]:
    """Yield ``http://127.0.0.1:port`` of the workload's Service; needs the verbs get and create on services/proxy."""
    name = f"http:{workload.service}:{workload.port}"
    base = f"/api/v1/namespaces/{workload.namespace}/services/{name}/proxy"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # verification measures latency on one kept connection
        disable_nagle_algorithm = True  # headers and body are two writes

        def do_GET(self) -> None:
            self._relay("GET", None)

        def do_POST(self) -> None:
            self._relay("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _relay(self, method: str, body: bytes | None) -> None:
            headers = {key: self.headers[key] for key in _KEPT_REQUEST if key in self.headers}
            try:
                status, answered, content = api.send(method, base + self.path, body=body, headers=headers)
            except RemoteUnavailable as error:
                status, answered, content = 502, {"content-type": "text/plain"}, error.problem.encode()
            self.send_response(status)
            for key, value in answered.items():
                if key not in _DROPPED_ANSWER:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet: the server keeps its own log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
