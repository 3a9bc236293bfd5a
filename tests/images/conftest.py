"""A Docker engine and the server's image, or a reason why there is none.

An engine that answers is used. Where none does, ``RANKOPS_TEST_IMAGES=1`` (``make test-images``) starts Debian's
``dockerd`` as root, with its own data, socket and images; it is stopped at the end.

``RANKOPS_DOCKER``       the docker command with its options (default: ``docker``)
``RANKOPS_SERVER_IMAGE_UNDER_TEST``  an image that is built already
``BASE_IMAGE``, ``BUILD_IMAGE``, ``BUILD_FLAGS``  as in ``images/build.sh``; without them, Debian packages make a base
where mmdebstrap is installed, else the registry's default is built on
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rankops.overlays.docker_pod import LABEL
from rankops.overlays.kustomize import find_kustomize
from rankops.overlays.pod_plan import PodPlan, pod_plan
from rankops.state import REPOSITORY
from tests.overlays_manifests.test_real_release import publish, render

WANTED = os.environ.get("RANKOPS_TEST_IMAGES") == "1"


@dataclass(frozen=True)
class Docker:
    """The command, and how to ask it."""

    command: tuple[str, ...]

    def __call__(self, *words: str, check: bool = True) -> str:
        result = subprocess.run([*self.command, *words], capture_output=True, text=True, check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: {result.stderr}")
        return result.stdout.strip()

    def answers(self) -> bool:
        try:
            return bool(self("version", "--format", "{{.Server.Version}}", check=False))
        except OSError:
            return False


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    engine = Docker(tuple(os.environ.get("RANKOPS_DOCKER", "docker").split()))
    if engine.answers():
        yield engine
        return
    if not WANTED:
        pytest.skip("no Docker engine answers (RANKOPS_TEST_IMAGES=1 starts Debian's dockerd where it is installed)")
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("no Docker engine answers, and dockerd is not installed or we are not root")
    yield from started_engine()


def started_engine() -> Iterator[Docker]:
    # Short, because a socket's path has at most 107 bytes; the data is kept for the next run where a state folder is.
    with tempfile.TemporaryDirectory(prefix="rankops-docker-") as folder:
        root = Path(folder)
        socket = f"unix://{root}/docker.sock"
        command = ["dockerd", "--host", socket, "--data-root", str(root / "data"), "--exec-root", str(root / "exec")]
        command += ["--pidfile", str(root / "pid")]
        with (root / "dockerd.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        # Debian's own client, of the engine's version
        client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
        engine = Docker((client, "--host", socket))
        try:
            until = time.monotonic() + 60
            while not engine.answers():
                if process.poll() is not None or time.monotonic() > until:
                    lines = (root / "dockerd.log").read_text(errors="replace").splitlines()
                    pytest.skip(f"dockerd does not start here: {lines[-1] if lines else 'no word'}")
                time.sleep(0.2)
            yield engine
        finally:
            process.terminate()
            process.wait(60)
            unmount_below(root)


def unmount_below(root: Path) -> None:
    """What an engine may leave mounted when it ends (its name spaces): a folder with a mount cannot be removed."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


@pytest.fixture(scope="session")
def image(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's image, built here unless one is given."""
    if given := os.environ.get("RANKOPS_SERVER_IMAGE_UNDER_TEST"):
        yield given
        return
    environment = {"DOCKER": " ".join(docker.command), "TAG": "test", "OUT": str(tmp_path_factory.mktemp("images"))}
    environment |= base_images(docker)
    build = [str(REPOSITORY / "images" / "build.sh"), "server"]
    result = subprocess.run(build, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if result.returncode != 0 and "pull access denied" in result.stderr + result.stdout:
        pytest.skip("the base image cannot be had here: give BASE_IMAGE, or install mmdebstrap")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    yield "rankops-server:test"
    left = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}", check=False)
    assert left == "", "containers were left behind"


def base_images(docker: Docker) -> dict[str, str]:
    if "BASE_IMAGE" in os.environ or os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        return {}
    made = {"BASE_IMAGE": "rankops-base:bookworm", "BUILD_IMAGE": "rankops-build:bookworm"}
    if any(not docker("images", "--quiet", name) for name in made.values()):
        environment = {**os.environ, "DOCKER": " ".join(docker.command)}
        subprocess.run([str(REPOSITORY / "images" / "base" / "make.sh")], env=environment, check=True)
    return {**made, "DOCKER_BUILDKIT": "0", "BUILD_FLAGS": os.environ.get("BUILD_FLAGS", "--network=host")}


@dataclass(frozen=True)
class Shop:
    """A signed release in a store, and the plan of the overlay that pins it."""

    store: Path
    digest: str
    objects: list[dict[str, Any]]
    plan: PodPlan


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    root.chmod(0o755)  # pytest's folders are for their owner only, and the container's user is another
    uri, digest, public = publish(root)
    objects = json.loads(json.dumps(render(root, find_kustomize(), uri, digest, public).objects))
    return Shop(root, digest, objects, pod_plan(objects, "retriever"))
