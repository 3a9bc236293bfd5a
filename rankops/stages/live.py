"""The live service of a model in an environment: on this machine, or in a cluster that a GitOps controller changes.

On a machine that is its own cluster, what runs is what the overlay at a commit says (init containers, command,
arguments, environment), so verification and traffic here exercise the very manifests that a controller would apply.
In a cluster, the service is reached once the controller reports the commit and its pods have rolled out.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput, RemoteUnavailable, VerificationFailed
from rankops.overlays.component import ReleasePin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.sync.api import KubernetesApi
from rankops.overlays.sync.observe import ClusterView, ControllerObject
from rankops.overlays.sync.relay import service_relay
from rankops.overlays.sync.revisions import CommitRelation
from rankops.overlays.sync.wait import Clock, Patience, wait_until_live
from rankops.overlays.sync.workload import Workload, workload_of
from rankops.overlays.transaction import Render, Target, read_standing

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath

Progress = Callable[[str], None]

_CLIENTS = 4  # concurrent searches while traffic is replayed
_LOG_SECONDS = 60.0


@dataclass(frozen=True)
class LiveService:
    """A running service: where it answers, which commit and release it runs.

    ``log`` is the root of its request log (``day=YYYY-MM-DD/*.parquet``; a folder, or any fsspec URL), None where it
    is not known. ``commit_to_live_seconds`` is the time from the commit that brought the release to its branch until
    the service was seen to run it, None where the release ran already. ``api_key`` is for a server that asks for one.
    """

    url: str
    commit: str
    pin: ReleasePin
    log: Path | UPath | None
    commit_to_live_seconds: float | None = None
    api_key: str | None = field(default=None, repr=False)

    def search(self, query: str, k: int = 10, *, at: str | None = None) -> dict[str, Any]:
        """The server's answer to one search. Raises :class:`VerificationFailed` with the server's own message."""
        return self.search_all([query], k, at=at)[0]

    def search_all(self, queries: list[str], k: int = 10, *, at: str | None = None) -> list[dict[str, Any]]:
        """Answers in the order of the queries, several at a time; ``at`` is the ISO time that the log shall say."""
        return self.ask_all("/search", [{"query": query, "k": k} for query in queries], at=at)

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The server's answer to one request, e.g. to ``/rerank`` or ``/recommend``; raises as :meth:`search` does."""
        return self.ask_all(path, [body])[0]

    def ask_all(self, path: str, bodies: Sequence[Mapping[str, Any]], *, at: str | None = None) -> list[dict[str, Any]]:
        """Answers in the order of the requests; see :meth:`search_all`.

        Raises :class:`RemoteUnavailable` where no answer came at all.
        """
        import httpx

        headers = {"X-Request-Time": at} if at else {}
        headers |= {"X-Api-Key": self.api_key} if self.api_key else {}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as client:

            def ask(body: Mapping[str, Any]) -> dict[str, Any]:
                try:
                    response = client.post(path, json=dict(body))
                except httpx.HTTPError as error:
                    raise RemoteUnavailable(
                        f"{self.url}{path} gave no answer to {str(body)[:200]}: {type(error).__name__}: {error}",
                        "is the server running, and has it the CPU that it needs? read its log",
                    ) from error
                if response.status_code != 200:
                    raise VerificationFailed(
                        f"{path} answered {response.status_code} to {str(body)[:200]}: {response.text[:300]}",
                        "read the server's log",
                    )
                answer: dict[str, Any] = response.json()
                return answer

            with ThreadPoolExecutor(_CLIENTS) as pool:
                return list(pool.map(ask, bodies))

    def ranker(self, day: date, k: int = 10) -> Callable[[list[str]], list[list[str]]]:
        """The service as a simulated shop's users meet it on ``day``."""

        def rank(queries: list[str]) -> list[list[str]]:
            answers = self.search_all(queries, k, at=f"{day.isoformat()}T12:00:00+00:00")
            return [[result["product_id"] for result in answer["results"]] for answer in answers]

        return rank

    def requests(self, day: date, expected: int) -> pl.DataFrame:
        """The request log of a day, complete: waits until the server has written ``expected`` records (at least 1).

        Raises :class:`VerificationFailed` when they do not appear within a minute and :class:`BadInput` where it is
        not known where the log lies.
        """
        import polars as pl

        if self.log is None:
            raise BadInput("where the live service logs its requests is not known", "set the cluster's request_log")
        deadline = time.monotonic() + _LOG_SECONDS
        while True:
            tables = _logged(self.log, day)
            written = sum(table.height for table in tables)
            if written >= expected:
                return pl.concat(tables, how="diagonal_relaxed").sort("request_id")
            if time.monotonic() > deadline:
                raise VerificationFailed(
                    f"the request log of {day} holds {written} of {expected} searches", "read the server's log"
                )
            time.sleep(0.1)


def _logged(log: Path | UPath, day: date) -> list[pl.DataFrame]:
    """The parts of one day's log that are there now."""
    import polars as pl

    filesystem = getattr(log, "fs", None)
    if filesystem is not None:
        filesystem.invalidate_cache()  # object stores remember listings
    parts: list[Any] = sorted(log.glob(f"day={day.isoformat()}/*.parquet"), key=str)
    return [pl.read_parquet(io.BytesIO(part.read_bytes()), hive_partitioning=False) for part in parts]


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

    overlay = _overlay_at(remote, target, commit, render=render, root=root)
    plan = pod_plan(overlay.objects, target.model)
    progress(f"starting {target.environment}/{target.model} as its overlay at {overlay.commit[:12]} says")
    with LocalPod(plan, root / "pod", extra_env=environment or {}) as pod:
        progress(f"{target.model} answers at {pod.url}")
        seconds = _seconds_since(overlay.landed, datetime.now(UTC))
        log = pod.path("/var/lib/rankops/requests")
        yield LiveService(pod.url, overlay.commit, overlay.pin, log, seconds)


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


@dataclass(frozen=True)
class ClusterAccess:
    """How to read one environment's cluster, and how to reach its service.

    ``service_url`` may hold {service}, {namespace}, {port}, {model} and {environment}; empty: through the API server.
    """

    api: KubernetesApi
    controller: ControllerObject
    service_url: str = ""
    log: Path | UPath | None = None
    api_key: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=Clock)


@contextmanager
def reach_live(
    remote: GitRemote,
    target: Target,
    access: ClusterAccess,
    *,
    render: Render,
    root: Path,
    progress: Progress,
    commit: str | None = None,
) -> Iterator[LiveService]:
    """Wait until ``commit`` (default: the branch's head) is live in the cluster, and yield its service.

    Nothing is written to the cluster. Raises :class:`BadInput` when nothing is released there yet or the
    Kustomization (or Application) does not exist, :class:`rankops.overlays.sync.state.NotLive` with the controller's
    or the pod's own message, and :class:`RemoteUnavailable` where the API server does not answer or refuses us.
    """
    overlay = _overlay_at(remote, target, commit, render=render, root=root)
    workload = workload_of(overlay.objects, target.model)
    view = ClusterView(
        access.api,
        access.controller,
        workload,
        overlay=target.overlay,
        release=overlay.pin.release,
        relate=CommitRelation(remote, target, overlay.commit, overlay.pin.release),
    )
    progress(f"waiting until {access.controller} reports {overlay.commit[:12]} and {target.model} has rolled out")
    waited = wait_until_live(
        view.look, expected=overlay.commit, patience=access.patience, clock=access.clock, progress=progress
    )
    seen: datetime | None = access.clock.now()
    completed = view.completed_at()
    if completed is not None and overlay.landed is not None and completed >= overlay.landed:
        seen = completed  # the cluster's own record is closer than our next look
    elif not waited:
        seen = None  # these pods are older than the commit
    seconds = _seconds_since(overlay.landed, seen)
    with _door(access, target, workload) as url:
        progress(f"{target.model} is reached at {url}")
        yield LiveService(url, overlay.commit, overlay.pin, access.log, seconds, access.api_key)


@contextmanager
def _door(access: ClusterAccess, target: Target, workload: Workload) -> Iterator[str]:
    """The service's address: as configured, else a loopback port that leads through the API server."""
    if not access.service_url:
        with service_relay(access.api, workload) as url:
            yield url
        return
    names = {"service": workload.service, "namespace": workload.namespace, "port": str(workload.port)}
    yield access.service_url.format(**names, model=target.model, environment=target.environment)


@dataclass(frozen=True)
class _Overlay:
    """An overlay at a commit: what it renders to, the release that it pins, and when that came onto the branch."""

    commit: str
    pin: ReleasePin
    objects: Sequence[Mapping[str, Any]]
    landed: datetime | None


def _overlay_at(remote: GitRemote, target: Target, commit: str | None, *, render: Render, root: Path) -> _Overlay:
    head = remote.head(target.branch)  # fetches: the mirror of a fresh pod knows no commit
    sha = commit or head
    standing = read_standing(remote, sha, target)
    if standing.pin is None:
        raise BadInput(
            f"nothing is released in {target.environment}/{target.model} at {sha[:12]}",
            f"materialize {target.model}/deploy [{target.environment}]",
        )
    source = root / "overlay"
    remote.export(sha, target.layout.build_paths(target.environment, target.model), source)
    landed = remote.landed(sha, target.component)
    return _Overlay(sha, standing.pin, render(source / target.overlay).objects, landed[1] if landed else None)


def _seconds_since(landed: datetime | None, seen: datetime | None) -> float | None:
    """Seconds between the two; a commit's time is whole seconds, hence never below zero."""
    return None if landed is None or seen is None else round(max((seen - landed).total_seconds(), 0.0), 3)
