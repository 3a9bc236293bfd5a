from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import create_key_pair, verify
from rankops.serving.app import create_app
from rankops.serving.client import Client
from rankops.serving.config import ServerConfig
from rankops.serving.connection import settings
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, make_release, write_catalogue


@dataclass(frozen=True)
class Shop:
    """A signed release and the keys."""

    release: Path
    artifact: Path
    private_key: Path
    public_key: Path
    manifest: ReleaseManifest

    def config(self, **changes: object) -> ServerConfig:
        values = {"release": self.release, "public_key": self.public_key, "digest": self.manifest.digest, "port": 0}
        return ServerConfig.model_validate(values | changes)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    private, public = create_key_pair(root / "keys")
    catalogue = write_catalogue(root / "catalogue.parquet")
    manifest = make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=private)
    return Shop(root / "release", artifact, private, public, manifest)


@contextlib.contextmanager
def served(root: Path, **settings: object) -> Iterator[str]:
    """A server of the release in ``root``, signed with the key beside it; yields its address."""
    key = next((root / "keys").glob("*.pub"))
    manifest = verify(root / "release", key, None)
    given = {"release": root / "release", "public_key": key, "digest": manifest.digest, "port": 0, **settings}
    with running(ServerConfig.model_validate(given)) as url:
        yield url


@contextlib.contextmanager
def running(config: ServerConfig, prepare: Callable[[Starlette], None] = lambda _: None) -> Iterator[str]:
    """The real server (uvicorn, sockets) in a thread; yields its address once it has a release or was refused."""
    app = create_app(config, on_failed=lambda: None)
    prepare(app)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            log_level="warning",
            access_log=False,
            ws="none",
            **settings(config),
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started or app.state.service.state == "loading":
            assert thread.is_alive(), "the server died"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def address(shop: Shop) -> Iterator[str]:
    with running(shop.config(max_body_bytes=4096, queue=8)) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@dataclass
class ServerProcess:
    """``python -m rankops.serving`` with its own port."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [*self.command(), *self.arguments, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **self.environment},
        )

    def command(self) -> list[str]:
        return [sys.executable, "-m", "rankops.serving"]

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
