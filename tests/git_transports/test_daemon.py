from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from rankops.errors import RemoteUnavailable
from rankops.overlays.mirror import GitRemote
from tests.git_transports.conftest import free_port
from tests.overlays_deploy.conftest import WHEN


def test_the_git_protocols_own_server_reads_but_refuses_a_push(bare: Path, tmp_path: Path) -> None:
    port = free_port()
    command = ["git", "daemon", "--export-all", "--verbose", "--listen=127.0.0.1", f"--port={port}"]
    # A session of its own: `git` starts `git-daemon`, which would live on and hold the pipe open.
    daemon = subprocess.Popen(
        [*command, f"--base-path={bare.parent}"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert daemon.stderr is not None
        if not any("Ready to rumble" in line for line in daemon.stderr):
            pytest.skip("git daemon does not start here")
        remote = GitRemote(f"git://127.0.0.1:{port}/remote.git", tmp_path / "state")
        made = remote.commit(remote.head("main"), {"one": "1\n"}, "one", when=WHEN)
        with pytest.raises(RemoteUnavailable, match=r"refused our credentials: .*access denied"):
            remote.push(made, "main")
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait(10)
        if daemon.stderr is not None:
            daemon.stderr.close()
