"""Real servers for real remotes: HTTP, SSH, and the Git protocol's own daemon."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.git_transports.git_http import GitHttp
from tests.overlays_deploy.conftest import bare, overlays  # noqa: F401 - fixtures


@pytest.fixture
def http(bare: Path) -> Iterator[GitHttp]:  # noqa: F811
    if not (Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()) / "git-http-backend").exists():
        pytest.skip("git http-backend is not installed")
    (bare / "git-daemon-export-ok").touch()
    server = GitHttp(bare.parent)
    yield server
    server.close()


@pytest.fixture
def url(http: GitHttp) -> str:
    return f"{http.address}/remote.git"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def key_pair(path: Path) -> Path:
    """An SSH key pair as ``ssh-keygen`` makes it; returns the private half."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


@dataclass(frozen=True)
class Sshd:
    """A running server: its remote's address, the host's line for known_hosts, and where keys are let in."""

    url: str
    known_host: str
    authorized: Path

    def let_in(self, key: Path, options: str = "restrict") -> None:
        with self.authorized.open("a") as handle:
            handle.write(f"{options} {key.with_suffix('.pub').read_text()}")


@pytest.fixture
def sshd(bare: Path, tmp_path: Path) -> Iterator[Sshd]:  # noqa: F811
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("the OpenSSH server and client are not installed")
    if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
        Path("/run/sshd").mkdir(mode=0o755)  # where root's sshd separates its privileges; its service makes it at start
    host_key, port = key_pair(tmp_path / "host_key"), free_port()
    config = tmp_path / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {tmp_path}/authorized_keys\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nAllowTcpForwarding no\n"
    )
    (tmp_path / "authorized_keys").touch()
    server = subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    said: list[str] = []
    for line in server.stderr:
        said.append(line)
        if "Server listening" in line:
            break
    else:
        pytest.skip(f"sshd does not start here: {''.join(said)}")
    known = f"[127.0.0.1]:{port} {' '.join(host_key.with_suffix('.pub').read_text().split()[:2])}\n"
    user = subprocess.check_output(["id", "-un"], text=True).strip()
    yield Sshd(f"ssh://{user}@127.0.0.1:{port}{bare}", known, tmp_path / "authorized_keys")
    server.terminate()
    server.wait(10)
    server.stderr.close()
