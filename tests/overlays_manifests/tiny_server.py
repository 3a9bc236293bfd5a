"""The server of the local pod's tests: takes the real server's arguments, answers probes, and says what it was given.

Behaviour by variable: MODE = ready | never-ready | dies | stubborn (ignores SIGTERM).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ARGUMENTS = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
MODE = os.environ.get("MODE", "ready")
STARTED = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        loading = time.monotonic() - STARTED < 0.3 or MODE == "never-ready"
        code = 503 if self.path == "/readyz" and loading else 200
        body = json.dumps({"arguments": ARGUMENTS, "env": dict(os.environ)}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def terminate(*_: object) -> None:
    if MODE != "stubborn":
        (Path(ARGUMENTS["--request-log"]) / "drained").write_text("yes")
        raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminate)
    print("release:", (Path(ARGUMENTS["--release"]) / "release.txt").read_text())
    print("trusts:", Path(ARGUMENTS["--public-key"]).read_text().splitlines()[0])
    Path(ARGUMENTS["--request-log"]).mkdir()
    if MODE == "dies":
        print("\n".join(f"line {i}" for i in range(30)))
        sys.exit(3)
    HTTPServer((ARGUMENTS["--host"], int(ARGUMENTS["--port"])), Handler).serve_forever()
