"""The state of one server: configuration, the engine that answers (or why there is none), its workers, cache, log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

from rankops.errors import RankopsError
from rankops.serving.batching import DeadlineError, OverloadedError, Scheduler, Work
from rankops.serving.cache import ResultCache
from rankops.serving.caller import TIMEOUT_HEADER, Caller, GoneError, caller
from rankops.serving.config import ServerConfig
from rankops.serving.engines import Engine
from rankops.serving.engines.retrieval import Answer, SearchEngine, Wish
from rankops.serving.metrics import Metrics
from rankops.serving.name_filter import NameFilter
from rankops.serving.observed import observed
from rankops.serving.request_log import RequestLog
from rankops.serving.swap import ReleaseKeeper
from rankops.serving.telemetry import Telemetry
from rankops.serving.web import ApiError

T = TypeVar("T")
E = TypeVar("E")
Item = TypeVar("Item")


class Service:
    """Loads in the background, then hands work to a few threads so that the event loop stays free for health checks.

    A request takes the engine once and keeps it to its end: a release that is swapped out lives as long as its last
    request.
    """

    def __init__(self, config: ServerConfig, on_failed: Callable[[], None] = lambda: None) -> None:
        self.config = config
        self.metrics = Metrics()
        self.metrics.queue_capacity.set(config.queue)
        self.telemetry = Telemetry.of(config, self.metrics)
        self.failure: RankopsError | None = None
        self.refused: tuple[str | None, str] | None = None
        """Digest and reason of the release that the pin names and that is not served."""
        self.cache: ResultCache[Answer] = ResultCache(
            max_entries=config.cache_entries,
            max_bytes=int(config.cache_mb * 1e6),
            ttl=config.cache_seconds,
            size=lambda answer: answer.size,
            evicted=self.metrics.cache_evictions.inc,
        )
        self.request_log: RequestLog | None = None
        self._names = NameFilter(lambda: None if self._served is None else self._served.engine)
        self._served: _Served | None = None
        self._on_failed = on_failed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper = ReleaseKeeper(config, install=self._install, refused=self._refuse)
        self._scheduler = Scheduler(
            threads=config.threads,
            queue_limit=config.queue,
            wait=config.batch_wait_ms / 1e3,
            on_batch=self.metrics.batch_size.observe,
        )
        # read when Prometheus asks, not written at each request
        self.metrics.in_flight.set_function(lambda: self._scheduler.pending)
        self.metrics.queue_depth.set_function(lambda: self._scheduler.waiting)
        self.metrics.cache_entries.set_function(lambda: len(self.cache))
        self.metrics.cache_bytes.set_function(lambda: self.cache.bytes)

    @property
    def release(self) -> str | None:
        """Digest of the release that is served, None until it is loaded."""
        return None if self._served is None else self._served.engine.manifest.digest

    @property
    def state(self) -> str:
        """``ready``, ``loading``, or ``failed: ...``."""
        if self._served is not None:
            return "ready"
        return "loading" if self.failure is None else f"failed: {self.failure.problem}"

    def engine(self) -> Engine:
        """The loaded engine. Raises :class:`ApiError` 503 while there is none."""
        served = self._served
        if served is None:
            self.metrics.refuse("loading")
            raise ApiError(503, f"no release is served yet ({self.state})")
        observed().manifest = served.engine.manifest
        return served.engine

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
                max_days=config.request_log_days,
                count=lambda outcome, n: self.metrics.log_records.labels(outcome).inc(n),
                used=self.metrics.log_bytes.set,
                is_personal=self._names.may_be_in if config.request_log_names == "drop" else lambda _query: False,
            )
            self.metrics.log_limit_bytes.set(config.request_log_mb * 1e6)
        with suppress(RuntimeError):  # started without a loop: nothing else uses the cache
            self._loop = asyncio.get_running_loop()
        self._keeper.start()

    def check_pin(self) -> None:
        """Look for another release now, not at the next tick. Safe in a signal handler."""
        self._keeper.check_now()

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` on a thread. Raises as :meth:`search` does."""
        who = caller()
        return await self._awaited(self._submit(Work(lambda _: [work()]), None, self._deadline(who)), who)

    async def search(self, engine: SearchEngine, wish: Wish, *, fresh: bool = False) -> Answer:
        """Products for ``wish``: from the cache, together with those who ask the same now, or by a search.

        ``fresh``: the caller wants no kept answer. Raises :class:`ApiError` 503 when too many requests wait already,
        504 once the caller's time has passed, and 499 when the caller hangs up; in the last two cases work that did
        not begin never will.
        """
        who = caller()
        deadline, cache, metrics = self._deadline(who), self.cache, self.metrics
        if fresh or not cache.on:
            return await self._awaited(self._searched(engine, wish, deadline), who)
        key = (engine.manifest.digest, wish)
        if (kept := cache.get(key)) is not None:
            metrics.cache_hits.inc()
            return kept
        answer, outcome = await self._awaited(
            cache.through(key, lambda: self._searched(engine, wish, None)), who, deadline
        )
        (metrics.cache_misses if outcome == "miss" else metrics.cache_hits).inc()
        return answer

    async def _searched(self, engine: SearchEngine, wish: Wish, deadline: float | None) -> Answer:
        served = self._served
        work = None if served is None or served.engine is not engine else served.searches
        work = work or self._searches_of(engine)  # a request of the release before: its engine lives until it ends
        answer = await self._submit(work, wish, deadline)
        observed().in_turn(answer.seconds)
        return answer

    async def _submit(self, work: Work[Item, T], item: Item, deadline: float | None) -> T:
        done = await self._scheduler.submit(work, item, deadline=deadline)
        observed().stage("queue", done.waited)
        return done.value

    async def _awaited(self, work: Awaitable[T], who: Caller | None, deadline: float | None = None) -> T:
        """What ``work`` gives; what keeps it from that becomes the answer."""
        try:
            with nullcontext() if who is None else who.watched():
                if deadline is None:
                    return await work
                async with asyncio.timeout(max(0.0, deadline - time.perf_counter())):
                    return await work
        except OverloadedError as error:
            self.metrics.refuse("overload")
            raise ApiError(503, str(error), headers={"Retry-After": str(error.retry_after)}) from None
        except (DeadlineError, TimeoutError):
            self.metrics.refuse("deadline")
            raise ApiError(504, f"no answer within the time that was given ({TIMEOUT_HEADER})") from None
        except GoneError:
            raise ApiError(499, "the caller has gone") from None

    def _deadline(self, who: Caller | None) -> float | None:
        try:
            return None if who is None else who.deadline(self.config.request_timeout_ms)
        except ValueError as error:
            raise ApiError(400, str(error)) from None

    def _searches_of(self, engine: SearchEngine) -> Work[Wish, Answer]:
        def run(wishes: Sequence[Wish]) -> Sequence[Answer]:
            return engine.search_many(wishes)

        return Work(run, limit=self.config.max_search_batch, together=engine.together)

    def _install(self, engine: Engine) -> None:
        """From now on this engine answers; requests that took the one before keep it."""
        searches = self._searches_of(engine) if isinstance(engine, SearchEngine) else None
        swapped = self._served is not None
        self._served = _Served(engine, searches)
        self.metrics.loaded(engine.manifest)
        if swapped:
            self.metrics.swapped("ok")
            self._on_loop(self.cache.clear)

    def _refuse(self, digest: str | None, error: RankopsError | None) -> None:
        """Remember why what the pin names is not served; without any release to serve, that is the end."""
        if error is None:
            self.refused = None
        elif self._served is None:
            self.failure = error
            self._on_failed()
        else:
            self.refused = (digest, error.problem)
            self.metrics.swapped("refused")

    def _on_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None:
            call()
            return
        with suppress(RuntimeError):  # the loop has ended, and with it the cache's use
            self._loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        """Finish the work that waits and write what the request log still holds."""
        self._keeper.stop()
        self._scheduler.close()
        if self.request_log is not None:
            self.request_log.close()
        self.telemetry.close()


@dataclass(frozen=True)
class _Served:
    """An engine and its searches, which refer to it: replaced together."""

    engine: Engine
    searches: Work[Wish, Answer] | None
