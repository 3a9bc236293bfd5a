"""Send requests to one server process after another, and judge what comes back."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from benchmarks.fuzz.described import described_requests
from benchmarks.fuzz.strategies import anything, mutants
from benchmarks.fuzz.wire import NO_ANSWER, Got, Sent, Wire
from tests.support.tiny_tasks import TaskRelease

CHUNK = 5000
"""Requests of one hypothesis run: it remembers what it made, and gets slower with it."""
MUTANTS = 9
"""Requests made of each example by changing its bytes: hypothesis is thorough, this is fast."""
_TIMEOUT_HEADER = "x-request-timeout-ms"


@dataclass
class Outcome:
    """What came back, and what must not have."""

    statuses: Counter[int] = field(default_factory=Counter)
    by_kind: dict[str, Counter[int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def sent(self) -> int:
        """How many requests."""
        return sum(self.statuses.values())

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "requests": self.sent,
            "statuses": {str(status or "closed"): n for status, n in sorted(self.statuses.items())},
            "by_kind": {kind: dict(sorted(found.items())) for kind, found in sorted(self.by_kind.items())},
            "server_errors": sum(n for status, n in self.statuses.items() if status >= 500 and status != 504),
            "deadlines_that_the_request_set": self.statuses[504],
            "wrong": self.wrong[:50],
            "seconds": round(self.seconds, 1),
        }


class Judge:
    """Asks, counts, and notes what a server must never do."""

    def __init__(self, wire: Wire, outcome: Outcome, progress: Callable[[str], None]) -> None:
        self._wire, self._outcome, self._progress = wire, outcome, progress

    def ask(self, sent: Sent) -> Got:
        """One request."""
        try:
            got = self._wire.ask(sent)
        except TimeoutError:
            self._note(sent, "no answer in time")
            self._wire.close()
            return Got(NO_ANSWER)
        self._outcome.statuses[got.status] += 1
        self._outcome.by_kind.setdefault(sent.kind, Counter())[got.status] += 1
        if reason := complaint(sent, got):
            self._note(sent, reason)
        return got

    def _note(self, sent: Sent, reason: str) -> None:
        self._outcome.wrong.append(f"{reason}: {sent!r}"[:2000])
        self._progress(f"WRONG {self._outcome.wrong[-1]}")


def complaint(sent: Sent, got: Got) -> str | None:
    """What is wrong with an answer: a 5xx that nobody asked for, or an error that is not ``{"error": text}``."""
    if got.status == NO_ANSWER:
        return None if sent.raw is not None else "the connection was closed without an answer"
    if got.status >= 500:
        impatient = any(name.lower() == _TIMEOUT_HEADER for name, _ in sent.headers)
        return None if got.status == 504 and impatient else f"status {got.status} {got.body[:200]!r}"
    if got.status < 400 or sent.method == "HEAD" or (sent.raw is not None and not got.body):
        return None
    try:
        error = json.loads(got.body)
    except ValueError:
        return f"status {got.status} is not JSON: {got.body[:200]!r}"
    right = isinstance(error, dict) and isinstance(error.get("error"), str) and list(error) == ["error"]
    return None if right and got.headers.get("content-type") == "application/json" else f"status {got.status}: {error}"


def fuzz(
    releases: Mapping[str, TaskRelease],
    count: int,
    *,
    described: int,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    options: tuple[str, ...] = (),
) -> Outcome:
    """``count`` requests in all, ``described`` of them by schemathesis, a third to each task's own server process."""
    outcome, started = Outcome(), time.perf_counter()
    for number, release in enumerate(releases.values()):
        goal = count * (number + 1) // len(releases)
        with server(release, options) as (process, port):
            judge = Judge(Wire("127.0.0.1", port), outcome, progress)
            _fuzz_one(judge, release, goal, described // len(releases), seed, progress, outcome)
            alive = judge.ask(Sent("healthz", target=b"/healthz")).status == 200 and process.poll() is None
            if not alive:
                outcome.wrong.append(f"{release.manifest.model}: the server died")
        outcome.seconds = time.perf_counter() - started
    return outcome


def _fuzz_one(
    judge: Judge,
    release: TaskRelease,
    goal: int,
    described: int,
    seed: int,
    progress: Callable[[str], None],
    outcome: Outcome,
) -> None:
    model = release.manifest.model
    if described:
        document = json.loads(judge.ask(Sent("document", target=b"/openapi.json")).body)
        described_requests(document, model, release.manifest.digest, described, judge.ask, seed)
    told = time.monotonic()
    while outcome.sent < goal - 1:
        left = min(CHUNK, goal - 1 - outcome.sent)
        _chunk(judge, model, left, seed := seed + 1)
        if time.monotonic() - told > 2:
            told = time.monotonic()
            progress(f"{model}: {outcome.sent:,} requests, {len(outcome.wrong)} wrong")


def _chunk(judge: Judge, model: str, count: int, seed: int) -> None:
    chance = random.Random(seed)

    @seeded(chance.getrandbits(64))
    @settings(
        max_examples=max(1, count // (1 + MUTANTS)),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(anything(model))
    def send(sent: Sent) -> None:
        judge.ask(sent)
        for mutant in mutants(sent, chance, MUTANTS):
            judge.ask(mutant)

    send()


@contextmanager
def server(release: TaskRelease, options: tuple[str, ...] = ()) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """``python -m rankops.serving`` on a free port, ready; its log is checked for tracebacks afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "rankops.serving", "--release", release.folder, "--public-key", release.public_key]
    process = subprocess.Popen(
        [*map(str, command), "--port", str(port), "--header-seconds", "5", "--body-seconds", "5", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    log: list[bytes] = []
    reader = _drain(process, log)
    try:
        _wait_until_ready(port, process)
        yield process, port
    finally:
        process.terminate()
        code = process.wait(30)
        reader.join()
    said = b"".join(log).decode(errors="replace")
    if code != 0 or "Traceback" in said:
        raise AssertionError(f"{release.manifest.model} ended with {code}:\n{said[-4000:]}")


def _drain(process: subprocess.Popen[bytes], into: list[bytes]) -> Any:
    """Keep reading the server's log, or it would block on a full pipe."""
    import threading

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            into.append(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            if Wire("127.0.0.1", port).ask(Sent("ready", target=b"/readyz")).status == 200:
                return
        except ConnectionRefusedError:
            if process.poll() is not None:
                break
        time.sleep(0.05)
    raise AssertionError("the server did not become ready")
