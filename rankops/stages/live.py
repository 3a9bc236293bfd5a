"""The live service on a machine that is its own cluster: the overlay at a commit, rendered and run as processes.

What runs is what the overlay says (init containers, command, arguments, environment), so verification and traffic
here exercise the very manifests that a GitOps controller would apply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput, VerificationFailed
from rankops.overlays.component import ReleasePin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.transaction import Render, Target, read_standing

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[str], None]

_CLIENTS = 4  # concurrent searches while traffic is replayed
_LOG_SECONDS = 60.0


@dataclass(frozen=True)
class LiveService:
    """A running service: where it answers, which commit and release it was started from, where it logs."""

    url: str
    commit: str
    pin: ReleasePin
    log: Path

    def search(self, query: str, k: int = 10, *, at: str | None = None) -> dict[str, Any]:
        """The server's answer to one search. Raises :class:`VerificationFailed` with the server's own message."""
        return self.search_all([query], k, at=at)[0]

    def search_all(self, queries: list[str], k: int = 10, *, at: str | None = None) -> list[dict[str, Any]]:
        """Answers in the order of the queries, several at a time; ``at`` is the ISO time that the log shall say."""
        import httpx

        headers = {"X-Request-Time": at} if at else {}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as client:

            def ask(query: str) -> dict[str, Any]:
                response = client.post("/search", json={"query": query, "k": k})
                if response.status_code != 200:
                    raise VerificationFailed(
                        f"/search answered {response.status_code} to {query!r}: {response.text[:300]}",
                        "read the server's log",
                    )
                answer: dict[str, Any] = response.json()
                return answer

            with ThreadPoolExecutor(_CLIENTS) as pool:
                return list(pool.map(ask, queries))

    def ranker(self, day: date, k: int = 10) -> Callable[[list[str]], list[list[str]]]:
        """The service as a simulated shop's users meet it on ``day``."""

        def rank(queries: list[str]) -> list[list[str]]:
            answers = self.search_all(queries, k, at=f"{day.isoformat()}T12:00:00+00:00")
            return [[result["product_id"] for result in answer["results"]] for answer in answers]

        return rank

    def requests(self, day: date, expected: int) -> pl.DataFrame:
        """The request log of a day, complete: waits until the server has written ``expected`` records (at least 1).

        Raises :class:`VerificationFailed` when they do not appear within a minute.
        """
        import polars as pl

        deadline = time.monotonic() + _LOG_SECONDS
        while True:
            parts = sorted(self.log.glob(f"day={day.isoformat()}/*.parquet"))
            tables = [pl.read_parquet(part, hive_partitioning=False) for part in parts]
            written = sum(table.height for table in tables)
            if written >= expected:
                return pl.concat(tables).sort("request_id")
            if time.monotonic() > deadline:
                raise VerificationFailed(
                    f"the request log of {day} holds {written} of {expected} searches", "read the server's log"
                )
            time.sleep(0.1)


@contextmanager
def run_local(
    remote: GitRemote,
    target: Target,
    *,
    render: Render,
    root: Path,
    progress: Progress,
    commit: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[LiveService]:
    """Start what the overlay at ``commit`` (default: the branch's head) says, and stop it afterwards.

    Raises :class:`BadInput` when nothing is released there yet, :class:`VerificationFailed` when it does not start.
    """
    from rankops.overlays.local_pod import LocalPod
    from rankops.overlays.pod_plan import pod_plan

    sha = commit or remote.head(target.branch)
    standing = read_standing(remote, sha, target)
    if standing.pin is None:
        raise BadInput(
            f"nothing is released in {target.environment}/{target.model} at {sha[:12]}",
            f"materialize {target.model}/deploy [{target.environment}]",
        )
    source = root / "overlay"
    remote.export(sha, target.layout.build_paths(target.environment, target.model), source)
    plan = pod_plan(render(source / target.overlay).objects, target.model)
    progress(f"starting {target.environment}/{target.model} as its overlay at {sha[:12]} says")
    with LocalPod(plan, root / "pod", extra_env=environment or {}) as pod:
        progress(f"{target.model} answers at {pod.url}")
        yield LiveService(pod.url, sha, standing.pin, pod.path("/var/lib/rankops/requests"))


@contextmanager
def replayed_traffic(
    remote: GitRemote, target: Target, *, render: Render, root: Path, progress: Progress
) -> Iterator[LiveService | None]:
    """The live service for simulated users, or None before the first release."""
    if read_standing(remote, remote.head(target.branch), target).pin is None:
        yield None
        return
    environment = {"RANKOPS_TRUST_REQUEST_TIME": "1", "RANKOPS_REQUEST_LOG_SECONDS": "0.5"}
    with run_local(remote, target, render=render, root=root, progress=progress, environment=environment) as live:
        yield live
