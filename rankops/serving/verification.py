"""Evidence that a live server really serves a release, and serves it well.

The golden answers in the release were made offline with the artifact that was gated. A server whose signature is
valid can still be wrong (another tokenizer, an index of another encoder, another text normalization): its answers
then differ from these. Everything here is read over HTTP, as a shop would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rankops.errors import BadInput, RemoteUnavailable, VerificationFailed
from rankops.release.golden import Golden, GoldenRequest, read_golden
from rankops.release.manifest import ReleaseManifest, read_manifest, release_digest
from rankops.serving.client import Client, Reply

_HEADER = "x-rankops-release"
_UNCACHED = {"Cache-Control": "no-cache"}
"""What is verified and timed is a search, not the memory of one."""
_EDGES_MS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Strict):
    """One thing that was checked: what was measured against which bound."""

    name: str
    passed: bool
    measured: str | float | None
    bound: str | float
    explanation: str


class Latency(_Strict):
    """Milliseconds of sequential requests, as the client saw them."""

    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    histogram: list[tuple[float | None, int]] = Field(
        description="(upper edge in ms, requests up to it and above the edge before); None is beyond the last edge"
    )


class GoldenComparison(_Strict):
    """One golden query: live answer against offline answer."""

    query: str
    overlap: float = Field(description="share of the offline products that are in the live answer of that length")
    score_difference: float | None = Field(description="largest difference of scores; None without a common product")


class VerificationReport(_Strict):
    """All checks of one verification. JSON-able."""

    base_url: str
    model: str
    expected_digest: str
    served_digest: str | None
    checks: list[Check]
    latency: Latency | None
    golden: list[GoldenComparison] = Field(description="the worst first")
    started_at: str
    seconds: float

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)

    def raise_for_failure(self) -> None:
        """Raise :class:`VerificationFailed` listing every check that failed."""
        failed = [check for check in self.checks if not check.passed]
        if failed:
            lines = "; ".join(f"{check.name}: {check.explanation}" for check in failed)
            raise VerificationFailed(
                f"{self.base_url} does not serve release {self.expected_digest[:12]} as it must: {lines}",
                "roll the environment back to the last release that verified",
            )


def verify_live(
    base_url: str,
    release_folder: Path,
    *,
    expected_digest: str,
    latency_objective_ms: float,
    min_overlap: float = 0.99,
    score_tolerance: float = 1e-3,
    requests: int = 200,
    ready_timeout: float = 60.0,
    given_up: Callable[[], str | None] = lambda: None,
    api_key: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> VerificationReport:
    """Check the server at ``base_url`` against the release in ``release_folder``.

    ``expected_digest`` is what the overlay pins. ``given_up`` may say why waiting for readiness is pointless (the
    process has ended); ``api_key`` is sent where the server asks for keys. A server that answers wrongly or not at all
    gives a report with failed checks, not an exception. Raises :class:`BadInput` when the folder is not the expected
    release.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    manifest, golden = _offline(release_folder, expected_digest)
    run = _Run(manifest, golden, min_overlap, score_tolerance)
    latency: Latency | None = None
    with Client(base_url, api_key=api_key) as client:
        if run.wait_until_ready(client, ready_timeout, given_up):
            progress(f"verification: replaying {len(golden.requests)} golden requests")
            run.attempt("golden requests", lambda: run.replay(client))
            run.attempt("v2 protocol", lambda: run.check_v2(client))
            progress(f"verification: measuring {requests} requests")
            latency = run.attempt("latency", lambda: run.measure(client, requests, latency_objective_ms))
            run.check_digest()
    return VerificationReport(
        base_url=base_url,
        model=manifest.model,
        expected_digest=expected_digest,
        served_digest=run.served,
        checks=run.checks,
        latency=latency,
        golden=sorted(run.compared, key=lambda c: (c.overlap, -(c.score_difference or 0.0))),
        started_at=started.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - clock, 3),
    )


def _offline(folder: Path, expected_digest: str) -> tuple[ReleaseManifest, Golden]:
    manifest = read_manifest(folder)
    if (digest := release_digest(folder)) != expected_digest:
        raise BadInput(
            f"{folder} is release {digest}, expected {expected_digest}", "give the folder of the pinned release"
        )
    return manifest, read_golden(folder)


class _Run:
    """The checks of one verification, in order; each adds to ``checks``."""

    def __init__(self, manifest: ReleaseManifest, golden: Golden, min_overlap: float, score_tolerance: float) -> None:
        self._manifest, self._golden = manifest, golden
        self._min_overlap, self._tolerance = min_overlap, score_tolerance
        self._seen: set[str] = set()
        self.checks: list[Check] = []
        self.compared: list[GoldenComparison] = []
        self.served: str | None = None

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a group of checks; an answer that cannot be had or read fails the group's own check."""
        try:
            return work()
        except RemoteUnavailable as error:
            self._add(name, False, None, "an answer", error.problem)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            self._add(name, False, None, "a well-formed answer", f"unexpected answer: {type(error).__name__}: {error}")
        return None

    def wait_until_ready(self, client: Client, timeout: float, given_up: Callable[[], str | None]) -> bool:
        """Poll ``/readyz``."""
        begun, last = time.monotonic(), "no answer"
        while True:
            try:
                reply = client.get("/readyz")
                if reply.status == 200 and isinstance(reply.body, dict):
                    self.served = str(reply.body.get("release"))
                    waited = time.monotonic() - begun
                    self._add("ready", True, round(waited, 3), timeout, f"ready after {waited:.2f} s")
                    return True
                last = f"HTTP {reply.status} {reply.body}"
            except RemoteUnavailable as error:
                last = error.problem
            if (reason := given_up()) is not None or time.monotonic() - begun > timeout:
                self._add("ready", False, None, timeout, f"not ready: {reason or last}")
                return False
            time.sleep(0.1)

    def replay(self, client: Client) -> None:
        """Compare the live answer to each golden request with the offline one."""
        for entry in self._golden.requests:
            self.compared.append(_compare(entry, self._ask(client, entry)))
        overlap = float(np.mean([c.overlap for c in self.compared]))
        worst = min(self.compared, key=lambda c: c.overlap)
        text = f"mean top-10 overlap {overlap:.4f} over {len(self.compared)} queries, worst {worst.overlap:.2f} for "
        self._add(
            "rank overlap", overlap >= self._min_overlap, round(overlap, 6), self._min_overlap, text + repr(worst.query)
        )
        differences = [c.score_difference for c in self.compared if c.score_difference is not None]
        largest = max(differences) if differences else None
        passed = largest is not None and largest <= self._tolerance
        text = "no common product" if largest is None else f"largest difference of a score {largest:.6f}"
        self._add("scores", passed, largest, self._tolerance, text)

    def check_v2(self, client: Client) -> None:
        """Metadata, and that an inference gives the numbers that the offline artifact gave."""
        manifest, golden, path = self._manifest, self._golden.inference, f"/v2/models/{self._manifest.model}"
        meta = self._ok(client.get(path), path)
        names = [tensor["name"] for tensor in (*meta["inputs"], *meta["outputs"])]
        expected = [tensor["name"] for tensor in (*golden.inputs, *golden.outputs)]
        passed = names == expected and meta["versions"] == [manifest.digest]
        text = f"tensors {names}, versions {[v[:12] for v in meta['versions']]}"
        self._add("v2 metadata", passed, text, f"{', '.join(expected)} of {manifest.short}", text)
        outputs = self._ok(client.post(f"{path}/infer", {"inputs": golden.inputs}), path)["outputs"]
        live = {output["name"]: output for output in outputs}
        for tensor in golden.outputs:
            difference = _tensor_difference(tensor, live[tensor["name"]])
            passed = difference is not None and difference <= self._tolerance
            text = f"{tensor['name']} of shape {live[tensor['name']]['shape']}: largest difference {difference}"
            self._add(f"v2 {tensor['name']}", passed, difference, self._tolerance, text)

    def measure(self, client: Client, requests: int, objective_ms: float) -> Latency:
        """Sequential requests, the golden ones over and over."""
        times = np.empty(requests)
        for i in range(requests):
            entry = self._golden.requests[i % len(self._golden.requests)]
            begun = time.perf_counter()
            self._ask(client, entry)
            times[i] = (time.perf_counter() - begun) * 1e3
        p50, p95, p99 = (round(float(p), 3) for p in np.percentile(times, [50, 95, 99]))
        counts, _ = np.histogram(times, bins=[0.0, *_EDGES_MS, np.inf])
        text = f"p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms over {requests} sequential requests"
        self._add("latency", p99 <= objective_ms, p99, objective_ms, text)
        return Latency(
            requests=requests,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            mean_ms=round(float(times.mean()), 3),
            histogram=list(zip([*_EDGES_MS, None], counts.tolist(), strict=True)),
        )

    def check_digest(self) -> None:
        """Every answer carried the expected digest: no other pod answered in between."""
        seen = self._seen | ({self.served} if self.served else set())
        passed = seen == {self._manifest.digest}
        text = f"served {', '.join(sorted(seen)) or 'nothing'}"
        self._add("release digest", passed, text, self._manifest.digest, text)

    def _ask(self, client: Client, entry: GoldenRequest) -> list[dict[str, Any]]:
        reply = client.post(entry.path, entry.request, _UNCACHED)
        results: list[dict[str, Any]] = self._ok(reply, entry.path)["results"]
        return results

    def _ok(self, reply: Reply, path: str) -> Any:
        self._seen.add(reply.headers.get(_HEADER, "no release header"))
        if reply.status != 200:
            raise RemoteUnavailable(f"{path} answered HTTP {reply.status}: {reply.body}")
        return reply.body

    def _add(self, name: str, passed: bool, measured: str | float | None, bound: str | float, text: str) -> None:
        self.checks.append(Check(name=name, passed=passed, measured=measured, bound=bound, explanation=text))


def _tensor_difference(offline: dict[str, Any], live: dict[str, Any]) -> float | None:
    """The largest difference of two tensors (of texts: the share that differs); None where their shapes differ."""
    if offline["shape"] != live["shape"] or len(offline["data"]) != len(live["data"]):
        return None
    if offline["datatype"] == "BYTES":
        return float(np.mean([a != b for a, b in zip(offline["data"], live["data"], strict=True)]))
    return float(np.abs(np.asarray(offline["data"]) - np.asarray(live["data"], dtype=np.float64)).max())


def _compare(entry: GoldenRequest, results: list[dict[str, Any]]) -> GoldenComparison:
    """Overlap of products, and the largest difference of scores by product and by rank."""
    offline = dict(zip(entry.product_ids, entry.scores, strict=True))
    live = {str(result["product_id"]): float(result["score"]) for result in results}
    common = offline.keys() & live.keys()
    by_product = [abs(offline[p] - live[p]) for p in common]
    by_rank = [abs(a - b) for a, b in zip(offline.values(), live.values(), strict=False)]
    return GoldenComparison(
        query=entry.name,
        overlap=len(common) / max(len(offline), 1),
        score_difference=round(max([*by_product, *by_rank]), 6) if common else None,
    )
