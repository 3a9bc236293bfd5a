"""``make ui``: Dagster on the demo's state, with the daemon (sensors, schedules) and a reader for HTML reports.

``dagster dev`` runs webserver and daemon. Browsers do not open ``file://`` links from a web page, so the Evidently
reports in the local store are served beside it, on the loopback interface only.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

from rankops.state import REPOSITORY, LocalState

_DAGSTER_YAML = """\
# Written by rankops (make demo, make ui). Edit freely: it is only written when absent.
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  max_runtime_seconds: 21600
  free_slots_after_run_end_seconds: 60
concurrency:
  runs:
    max_concurrent_runs: 1
retention:
  sensor:
    purge_after_days: {skipped: 2, success: -1, failure: 30}
"""


def prepare_home(state: LocalState) -> Path:
    """Create DAGSTER_HOME with telemetry off and run monitoring on; returns it."""
    home = state.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(_DAGSTER_YAML)
    return home


class _ReportHandler(http.server.SimpleHTTPRequestHandler):
    """Files below the store, read only, without directory listings or request noise."""

    def list_directory(self, path: object) -> None:
        self.send_error(404, "no listing")

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet: Dagster's log is what people read here."""


def serve_reports(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Serve ``folder`` on 127.0.0.1 in a background thread."""
    handler = functools.partial(_ReportHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted; returns Dagster's exit code."""
    parser = argparse.ArgumentParser(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=3000, help="port of the Dagster UI")
    parser.add_argument("--reports-port", type=int, default=3001, help="port of the drift reports")
    options = parser.parse_args(arguments)
    state = LocalState.current()
    home = prepare_home(state)
    store = state.root / "store"
    store.mkdir(parents=True, exist_ok=True)
    serve_reports(store, options.reports_port)
    env = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "RANKOPS_REPORTS_URL": f"http://127.0.0.1:{options.reports_port}",
        "PATH": f"{state.root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    sys.stderr.write(f"Dagster: http://127.0.0.1:{options.port}   drift reports: port {options.reports_port}\n")
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "--port", str(options.port)]
    try:
        return subprocess.run(command, cwd=REPOSITORY, env=env, check=False).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
