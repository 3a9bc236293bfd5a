"""Servers under test: ours and its peers on the same products, paused while they are not measured."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.icecat_release import ROOT, ServedShop
from benchmarks.peers.environments import HERE, python_of, version_in
from rankops.load.arrivals import arrivals
from rankops.load.capacity import Capacity, Objective, find_capacity
from rankops.load.generator import Generator
from rankops.load.http import Target, encode_all
from rankops.load.process import Server, process_tree
from rankops.load.result import StageResult

Say = Callable[[str], None]
CAPACITY_SECONDS = 20.0
"""Time after which a round's search narrows its bracket no further; the bracket is reported."""
_LOGS = ROOT / ".rankops" / "bench-logs"


@dataclass
class Side:
    """One server: how it is started, what it is called, and how a query is put to it."""

    name: str
    command: list[str]
    version: str
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    in_list: bool = False  # BentoML's batching takes and gives lists
    server: Server | None = None

    def body(self, query: str) -> dict[str, Any]:
        """The JSON of one request."""
        return {"query": [query]} if self.in_list else {"query": query}

    def requests(self, queries: Sequence[str]) -> list[bytes]:
        """Every request whole, as bytes."""
        return encode_all(Target.parse(self._running.url), "/search", [self.body(query) for query in queries])

    def generator(self, queries: Sequence[str]) -> Generator:
        """A load generator for it."""
        return Generator(Target.parse(self._running.url), self.requests(queries))

    def top(self, query: str) -> list[str]:
        """Product ids of its answer, best first."""
        request = urllib.request.Request(
            f"{self._running.url}/search", json.dumps(self.body(query)).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            parsed = json.loads(answer.read())
        return [row["product_id"] for row in (parsed[0] if self.in_list else parsed)["results"]]

    def start(self, say: Say) -> None:
        """Start it and wait until it answers."""
        say(f"{self.name}: starting ({self.version})")
        self.server = Server(self.command, log=_LOGS / f"{self.name}.log", env=self.env, cwd=self.cwd)
        self.server.wait_ready(timeout=180)
        same_priority(self.server.process.pid)

    def pause(self) -> None:
        """Stop its clock: no CPU time until :meth:`go_on`."""
        self._running.pause()

    def go_on(self) -> None:
        """Let it run again."""
        self._running.resume()

    @property
    def _running(self) -> Server:
        assert self.server is not None, f"{self.name} was not started"
        return self.server


def same_priority(pid: int) -> None:
    """Give a process and its children this process's autogroup priority (Linux).

    Where ``sched_autogroup_enabled`` is 1, ``nice`` only orders the processes of one session, and a service that starts
    its workers in sessions of their own (BentoML) would run at another priority than the others.
    """
    try:
        wanted = Path("/proc/self/autogroup").read_text().rsplit("nice", 1)[1].strip()
        for one in process_tree(pid):
            Path(f"/proc/{one}/autogroup").write_text(wanted)
    except (OSError, IndexError):
        return


def ours(shop: ServedShop, options: Mapping[str, Any] | None = None) -> Side:
    """``python -m rankops.serving`` with its defaults, the result cache off."""
    from rankops.serving.config import ServerConfig

    given: dict[str, Any] = {"release": shop.release, "public_key": shop.public_key, "digest": shop.digest}
    if "cache_entries" in ServerConfig.model_fields:
        given["cache_entries"] = 0
    words = [word for name, value in {**given, **(options or {})}.items() for word in (_flag(name), str(value))]
    return Side("rankops", [sys.executable, "-m", "rankops.serving", "--port", "{port}", *words], "rankops 0.1.0")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def fastapi_peer(shop: ServedShop, data: Path, say: Say) -> Side:
    """FastAPI + sentence-transformers + faiss."""
    python = python_of("fastapi", say, sees_ours=True)
    names = ("fastapi", "sentence-transformers", "torch", "faiss-cpu")
    words = ["--weights", str(shop.weights), "--data", str(data), "--port", "{port}"]
    return Side(
        "FastAPI",
        [str(python), "fastapi_service.py", *words],
        ", ".join(f"{name} {version_in(python, name)}" for name in names),
        env={"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        cwd=HERE,
    )


def litserve_peers(shop: ServedShop, data: Path, say: Say) -> list[Side]:
    """LitServe, one worker a core, without and with batches."""
    python = python_of("litserve", say)
    words = ["--encoder", str(shop.release / "encoder"), "--data", str(data), "--port", "{port}"]
    version = f"litserve {version_in(python, 'litserve')}"
    return [
        Side(
            f"LitServe, batch {batch}",
            [str(python), "litserve_service.py", *words, "--batch", str(batch)],
            version,
            env={"PYTHONPATH": ""},
            cwd=HERE,
        )
        for batch in (1, 8)
    ]


def bentoml_peers(shop: ServedShop, data: Path, say: Say) -> list[Side]:
    """BentoML, one worker a core, without and with its adaptive batching."""
    python = python_of("bentoml", say)
    version = f"bentoml {version_in(python, 'bentoml')}"
    env = {
        "PEER_ENCODER": str(shop.release / "encoder"),
        "PEER_DATA": str(data),
        "PEER_WORKERS": "2",
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": "",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    command = [str(python.parent / "bentoml"), "serve", "--host", "127.0.0.1", "--port", "{port}"]
    return [
        Side(
            f"BentoML, {what}",
            [*command, f"bentoml_service:{service}"],
            version,
            env,
            HERE,
            in_list=service != "Search",
        )
        for what, service in (("one by one", "Search"), ("batching", "SearchInBatches"))
    ]


@contextmanager
def all_started(sides: Sequence[Side], say: Say) -> Iterator[None]:
    """All of them, started and paused; ended with the block."""
    with ExitStack() as stack:
        for side in sides:
            side.start(say)
            stack.callback(side._running.stop)
            side.pause()
        yield


@contextmanager
def awake(side: Side, queries: Sequence[str], *, warm_up: float = 0.5) -> Iterator[Generator]:
    """A load generator for a side that runs while the others are paused."""
    side.go_on()
    try:
        with side.generator(queries) as generator:
            generator.closed_loop(2, warm_up)
            yield generator
    finally:
        side.pause()


def stage_seconds(rate: float) -> float:
    """Long enough for a p99: 400 requests, but 2 to 6 seconds."""
    return min(6.0, max(2.0, 400 / rate))


def capacity_of(generator: Generator, ceiling: float, objective: Objective, seed: int, say: Say) -> Capacity:
    """The capacity of one round: its own arrivals, one confirmation of two."""

    def measure(rate: float, number: int) -> StageResult:
        offsets = arrivals("poisson", rate, stage_seconds(rate), seed * 1000 + number)
        return generator.open_loop(offsets, rate=rate)

    until = time.monotonic() + CAPACITY_SECONDS
    return find_capacity(
        measure,
        objective,
        ceiling,
        resolution=0.07,
        confirm=1,
        spent=lambda: time.monotonic() > until,
        progress=say,
    )
