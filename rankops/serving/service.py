"""The state of one server: configuration, the loaded engine (or why there is none), threads, metrics, log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rankops.errors import RankopsError
from rankops.serving.config import ServerConfig
from rankops.serving.engines import Engine, load_engine
from rankops.serving.metrics import Metrics
from rankops.serving.request_log import RequestLog
from rankops.serving.web import ApiError

T = TypeVar("T")
E = TypeVar("E")
logger = logging.getLogger(__name__)


class Service:
    """Loads in the background, then hands work to a small pool so that the event loop stays free for health checks."""

    def __init__(self, config: ServerConfig, on_failed: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.metrics = Metrics()
        self.failure: RankopsError | None = None
        self._engine: Engine | None = None
        self._on_failed = on_failed
        self._pending = 0
        self._started = 0.0
        self._pool = ThreadPoolExecutor(config.threads, thread_name_prefix="engine")
        self.request_log: RequestLog | None = None

    @property
    def release(self) -> str | None:
        """Digest of the release that is served, None until it is loaded."""
        return None if self._engine is None else self._engine.manifest.digest

    @property
    def state(self) -> str:
        """``ready``, ``loading``, or ``failed: ...``."""
        if self._engine is not None:
            return "ready"
        return "loading" if self.failure is None else f"failed: {self.failure.problem}"

    def engine(self) -> Engine:
        """The loaded engine. Raises :class:`ApiError` 503 while there is none."""
        if self._engine is None:
            raise ApiError(503, f"no release is served yet ({self.state})")
        return self._engine

    def engine_of(self, kind: type[E]) -> E:
        """The loaded engine where it is of this kind. Raises :class:`ApiError` 404 naming the endpoint there is."""
        engine = self.engine()
        if not isinstance(engine, kind):
            raise ApiError(404, f"{engine.manifest.model} is a {engine.manifest.task} model: ask {engine.endpoint}")
        return engine

    def start(self) -> None:
        """Open the request log and load the release in the background."""
        config = self.config
        if config.request_log is not None:
            self.request_log = RequestLog(
                config.request_log,
                max_bytes=int(config.request_log_mb * 1e6),
                flush_seconds=config.request_log_seconds,
                count=lambda outcome, n: self.metrics.log_records.labels(outcome).inc(n),
            )
        self._started = time.perf_counter()
        self._pool.submit(load_engine, config).add_done_callback(self._loaded)

    def _loaded(self, loading: Future[Engine]) -> None:
        """Serve the engine, or nothing: whatever went wrong, ``on_failed`` ends the process with its text."""
        error = loading.exception()
        if error is not None:
            if not isinstance(error, RankopsError):
                logger.error("loading %s failed", self.config.release, exc_info=error)
                error = RankopsError(f"{self.config.release} cannot be loaded: {type(error).__name__}: {error}")
            self.failure = error
            self._on_failed()
            return
        self._engine = engine = loading.result()
        self.metrics.loaded(engine.manifest)
        logger.info(
            "serving %s release %s: %s, ready after %.2f s",
            *(engine.manifest.model, engine.manifest.digest, engine.summary, time.perf_counter() - self._started),
        )

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` on a thread. Raises :class:`ApiError` 503 when too many requests wait already."""
        if self._pending >= self.config.threads + self.config.queue:
            self.metrics.errors.labels("overload").inc()
            raise ApiError(503, "too many requests are waiting; try again", headers={"Retry-After": "1"})
        queued = time.perf_counter()

        def timed() -> T:
            self.metrics.stage_seconds.labels("queue").observe(time.perf_counter() - queued)
            return work()

        self._pending += 1
        self.metrics.in_flight.set(self._pending)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        finally:
            self._pending -= 1
            self.metrics.in_flight.set(self._pending)

    def stop(self) -> None:
        """Finish the pool's work and write what the request log still holds."""
        self._pool.shutdown(wait=True)
        if self.request_log is not None:
            self.request_log.close()
