"""emulate (npm, exactly 0.11.2): GitHub's API in one Node process, with its state in memory.

What it does not do, other than GitHub: it takes duplicates, it makes the branches that a pull request names, and it
knows nothing of our bare repositories. Tests that need those refusals use ``github_server``.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankops.state import REPOSITORY

VERSION = "0.11.2"
TOKEN = "ghp_TheTestsOwn"
_PACKAGE = REPOSITORY / ".rankops" / "npm" / "node_modules" / "emulate"


@dataclass(frozen=True)
class Emulate:
    """A running emulator."""

    url: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask it as a person with curl would."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def new_repository(self, name: str) -> str:
        """A repository of the organization acme with a branch main; returns ``acme/name``."""
        return str(self.call("POST", "/orgs/acme/repos", {"name": name, "auto_init": True})["full_name"])


def missing() -> str | None:
    """Why emulate cannot run here, or None."""
    if shutil.which("node") is None:
        return "Node is not installed"
    try:
        version = json.loads((_PACKAGE / "package.json").read_text())["version"]
    except FileNotFoundError:
        return "emulate is not installed (make setup does it where npm exists)"
    return None if version == VERSION else f"emulate is {version}, not {VERSION}"


@contextmanager
def running(folder: Path, app_key: str) -> Iterator[Emulate]:
    """Start it on a free port, seeded with an organization, a token, and a GitHub App (``app_key``: private, PEM)."""
    seed, log = folder / "seed.json", folder / "emulate.log"
    app = {
        "app_id": 12345, "slug": "rankops", "name": "rankops", "private_key": app_key,
        "permissions": {"contents": "write", "pull_requests": "write", "metadata": "read"},
        "installations": [{"installation_id": 100, "account": "acme", "repository_selection": "all"}],
    }  # fmt: skip
    github = {
        "users": [{"login": "deployer"}],
        "orgs": [{"login": "acme", "members": [{"login": "deployer", "role": "admin"}]}],
        "apps": [app],
    }
    seed.write_text(json.dumps({"tokens": {TOKEN: {"login": "deployer", "scopes": ["repo"]}}, "github": github}))
    for _ in range(3):  # another process may take the port first
        process, emulator = _start(seed, log)
        try:
            if _answers(process, emulator):
                yield emulator
                return
        finally:
            process.terminate()
            process.wait(10)
    raise AssertionError(f"emulate did not start: {log.read_text()}")


def _start(seed: Path, log: Path) -> tuple[subprocess.Popen[bytes], Emulate]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = ["node", str(_PACKAGE / "dist" / "index.js"), "start", "--service", "github", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "--seed", str(seed), "--base-url", url], stdout=out, stderr=out)
    return process, Emulate(url)


def _answers(process: subprocess.Popen[bytes], emulator: Emulate) -> bool:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            emulator.call("GET", "/user")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return True
    return False
