"""From a server's start to readiness with Icecat's 19,406 products; the release is local, as after the init container.

Ours is the server as the overlay starts it: a container under the overlay's restrictions of the image that
``RANKOPS_SERVER_IMAGE_UNDER_TEST`` names (``RANKOPS_DOCKER``: the docker command), without it a process. It verifies
the signature and every byte, loads encoder and index and answers one search before it is ready. The peer is what a
service around PyTorch pays before it has loaded a single product: sentence-transformers and the model, in the same run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Comparison, compare
from benchmarks.icecat_release import ServedShop, served_shop
from rankops.overlays.docker_pod import DockerPod
from rankops.overlays.pod_plan import Confinement, ContainerPlan, Mount, PodPlan, Probe
from rankops.release.signing import PUBLIC_KEY

GOAL_SECONDS = 2.0
_STARTS = 5
_ROUNDS = 2
_STATE, _TRUST, _PORT = "/var/lib/rankops", "/etc/rankops/trust", 8080


def measure(progress: Callable[[str], None]) -> Comparison:
    """Milliseconds from start to readiness; within limits where the median is under two seconds."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    shop = served_shop(progress)
    image = os.environ.get("RANKOPS_SERVER_IMAGE_UNDER_TEST", "")
    start = (lambda: _start_container(shop, image)) if image else (lambda: _start_process(shop))
    what = f"container of {image}, read-only, 1 GiB, no capabilities" if image else "process"
    progress(f"server_start: {_ROUNDS} rounds of {_STARTS} starts each ({what})")
    found = compare(
        "server_start",
        f"from start to ready, 19,406 products verified and loaded, {what}",
        ours=lambda: [start() for _ in range(_STARTS)],
        peers={"sentence-transformers": lambda: [_start_peer(shop.weights) for _ in range(_STARTS)]},
        peer_version=f"sentence-transformers {version('sentence-transformers')}, imports and model only",
        rounds=_ROUNDS,
    )
    limits = {"limit ms": GOAL_SECONDS * 1e3, "within limits": found.ours < GOAL_SECONDS * 1e3}
    return replace(found, also={**found.also, **limits})


def plan_of(shop: ServedShop) -> PodPlan:
    """The server's container as ``k8s-overlays/base/server`` has it; the release is on its volume already."""
    arguments = ("--release", "/release", "--digest", shop.digest, "--public-key", f"{_TRUST}/{PUBLIC_KEY}")
    server = ContainerPlan(
        name="server",
        command=("python", "-m", "rankops.serving"),
        args=(*arguments, "--host", "0.0.0.0", "--port", str(_PORT), "--request-log", f"{_STATE}/requests"),
        env=(),
        mounts=(Mount(_STATE, "state"), Mount("/tmp", "tmp"), Mount(_TRUST, "trust", read_only=True)),
        port=_PORT,
        probes=(Probe("/readyz", delay=0, period=1, timeout=2, failures=60),),
        confinement=Confinement(
            user=10001,
            group=10001,
            groups=(10001,),
            read_only=True,
            escalation=False,
            drop=("ALL",),
            memory=1 << 30,
        ),
    )
    volumes = {"state": {}, "tmp": {}, "trust": {PUBLIC_KEY: shop.public_key.read_bytes()}}
    return PodPlan("start", "bench", {}, (), server, volumes, grace=10, deadline=60)


def _start_container(shop: ServedShop, image: str) -> float:
    docker = tuple(os.environ.get("RANKOPS_DOCKER", "docker").split())
    release = f"--volume={shop.release}:/release:ro"
    with (
        tempfile.TemporaryDirectory(prefix="rankops-bench-") as root,
        DockerPod(plan_of(shop), image, Path(root), docker=docker, more=[release]) as pod,
    ):
        return pod.ready_seconds * 1e3


def _start_process(shop: ServedShop) -> float:
    from tests.serving.conftest import ServerProcess
    from tests.serving.test_process import wait_until_ready

    arguments = ["--release", str(shop.release), "--digest", shop.digest, "--public-key", str(shop.public_key)]
    started = time.perf_counter()
    with ServerProcess(arguments) as server:
        wait_until_ready(server)
        return (time.perf_counter() - started) * 1e3


def _start_peer(weights: Path) -> float:
    code = (
        "import sys; from sentence_transformers import SentenceTransformer;"
        "SentenceTransformer(sys.argv[1], device='cpu', local_files_only=True).encode('warm up')"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(weights)], check=True, capture_output=True)
    return (time.perf_counter() - started) * 1e3
