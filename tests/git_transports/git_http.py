"""A Git server over HTTP with accounts and faults: ``git http-backend``, as web servers run it, behind a small one."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

Fault = Literal["", "forbidden", "half", "no answer", "hang", "redirect", "backend error"]


class GitHttp(ThreadingHTTPServer):
    """Serves the bare repositories below ``root``.

    ``tokens`` says who may ``read`` or ``write``; ``fault`` is what befalls every push (or, ``redirect``, everything).
    ``seen`` are the authorization headers, ``leaks`` the command lines of this machine that held a secret while a
    request was served.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.tokens: dict[str, Literal["read", "write"]] = {}
        self.secrets: set[str] = set()
        self.fault: Fault = ""
        self.redirect_to = ""
        self.open_to_all = False
        self.seen: list[str | None] = []
        self.requests: list[str] = []
        self.leaks: list[str] = []
        self.released = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def grant(self, token: str, right: Literal["read", "write"] = "write") -> str:
        """Let ``token`` in; from now on its traces are looked for."""
        self.tokens[token] = right
        self.secrets |= {token, base64.b64encode(f"x-access-token:{token}".encode()).decode()}
        return token

    def look_for_leaks(self) -> None:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            self.leaks += [line for secret in self.secrets if secret in line]

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        fault = self.server.fault
        if "receive-pack" in self.path and fault == "half":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            return self._hang_up()
        return self._serve(self._body())

    def _serve(self, body: bytes) -> None:
        server = self.server
        server.look_for_leaks()
        server.seen.append(self.headers.get("Authorization"))
        server.requests.append(f"{self.command} {self.path}")
        pushing, fault = "receive-pack" in self.path, server.fault
        if fault == "redirect":
            return self._answer(302, b"", Location=server.redirect_to + self.path)
        status = self._allowed(pushing)
        if status != 200:
            return self._answer(status, b"no\n", WWW_Authenticate='Basic realm="git"')
        if pushing and fault == "forbidden":
            return self._answer(403, b"You may not push here\n")
        if pushing and fault == "backend error":
            return self._answer(503, b"try later\n")
        if pushing and fault == "hang" and self.command == "POST":
            server.released.wait(30)
            return self._hang_up()
        answer = self._backend(body)
        if pushing and fault == "no answer" and self.command == "POST":
            return self._hang_up()
        return self._answer(*answer)

    def _allowed(self, pushing: bool) -> int:
        if self.server.open_to_all:
            return 200
        given = self.headers.get("Authorization", "")
        if not given.startswith("Basic "):
            return 401
        right = self.server.tokens.get(base64.b64decode(given[6:]).decode().partition(":")[2])
        if right is None:
            return 401
        return 403 if pushing and right == "read" else 200

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _backend(self, body: bytes) -> tuple[int, bytes, str]:
        path, _, query = self.path.partition("?")
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        env |= {"GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "deployer"}
        env |= {
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_LENGTH": str(len(body)),
        }
        env |= {"CONTENT_TYPE": self.headers.get("Content-Type", ""), "REMOTE_ADDR": "127.0.0.1"}
        env |= {"GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "GIT_CONFIG_GLOBAL": os.devnull}
        env["HTTP_CONTENT_ENCODING"] = self.headers.get("Content-Encoding", "")
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        return int(fields.get("Status", "200").split()[0]), content, fields.get("Content-Type", "text/plain")

    def _answer(self, status: int, content: bytes, kind: str = "text/plain", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass
