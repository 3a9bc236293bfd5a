"""Engine work in order of arrival: a bounded queue, worker threads, and batches made of what waits.

The event loop submits, threads work, results come back to the loop once a batch. A batch is what waits when a thread
becomes free (natural batching: an idle server adds no delay, a busy one shares its overhead), or what arrives within
``wait`` seconds of the batch's first item where a bound is given. Work that nobody waits for any more, because its
deadline passed or its caller went away, leaves the queue and is never started.

Everything but :meth:`Scheduler._work` and what it calls runs on the event loop.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
R = TypeVar("R")
_SMOOTHING = 0.05
"""Weight of the latest batch in the mean seconds of an item."""


@dataclass(frozen=True, eq=False)
class Work(Generic[Item, R]):
    """What a thread does: ``run`` answers up to ``limit`` items at once, in their order.

    ``together``: a thread takes all that waits (an accelerator, where a batch costs little more than one item); else
    its share of it, so that the other threads have work too. Only items of the very same object share a batch.
    """

    run: Callable[[Sequence[Item]], Sequence[R]]
    limit: int = 1
    together: bool = False


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """A result, and the seconds that its item waited for a thread."""

    value: R
    waited: float


class OverloadedError(Exception):
    """The queue is full; by the measured rate it will have drained after ``retry_after`` whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are waiting; try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlineError(Exception):
    """The time that the caller gave has passed."""


@dataclass(eq=False, slots=True)
class _Job:
    work: Work[Any, Any]
    item: Any
    deadline: float | None
    future: asyncio.Future[Done[Any]]
    queued: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    started: bool = False


class Scheduler:
    """``threads`` workers behind a queue of at most ``queue_limit`` waiting items. See the module.

    ``on_batch`` is told the size of each batch.
    """

    def __init__(
        self,
        *,
        threads: int,
        queue_limit: int,
        wait: float = 0.0,
        on_batch: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._threads = threads
        self._most = threads + queue_limit
        self._wait = wait
        self._on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()  # guards _jobs and _closing
        self._closing = False
        self._item_seconds = 0.001
        self.pending = 0
        """Items that are waited for: queued or running."""
        self._workers = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True) for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    async def submit(self, work: Work[Item, R], item: Item, *, deadline: float | None = None) -> Done[R]:
        """The result for ``item``; ``deadline`` is a time of ``time.perf_counter``.

        Raises :class:`OverloadedError` where the queue is full, :class:`DeadlineError` once the deadline has passed,
        and whatever ``work.run`` raised. Cancelling takes the item out of the queue.
        """
        if self.pending >= self._most:
            raise OverloadedError(self.retry_after())
        loop = asyncio.get_running_loop()
        job = _Job(work, item, deadline, loop.create_future())
        timer = None
        if deadline is not None:
            timer = loop.call_later(max(0.0, deadline - job.queued), _expire, job)
        self.pending += 1
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await job.future
        finally:
            self.pending -= 1
            if timer is not None:
                timer.cancel()
            if not job.started:
                self._forget(job)

    @property
    def waiting(self) -> int:
        """Items in the queue."""
        return len(self._jobs)

    def retry_after(self) -> int:
        """Whole seconds, at least 1, after which what waits now will have been answered."""
        return max(1, math.ceil(self.pending * self._item_seconds / self._threads))

    def close(self) -> None:
        """Answer what waits, then end the threads. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _forget(self, job: _Job) -> None:
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)

    def _work(self) -> None:
        while batch := self._take():
            self._answer(batch)
            del batch  # an idle thread must not keep the engine of an old release alive

    def _take(self) -> list[_Job]:
        """The next batch, as soon as there is one; empty where the scheduler closes and nothing waits."""
        batch: list[_Job] = []
        with self._changed:
            while not batch:
                while not self._jobs:
                    if self._closing:
                        return []
                    self._changed.wait()
                self._fill(batch)
            last = batch[0].queued + self._wait
            while self._wait > 0 and len(batch) < batch[0].work.limit and not self._jobs and not self._closing:
                left = last - time.perf_counter()
                if left <= 0 or not self._changed.wait(left):
                    break
                self._fill(batch)
        return batch

    def _fill(self, batch: list[_Job]) -> None:
        """Move what may share the batch into it, oldest first; what comes behind other work stays, or it would wait."""
        jobs, now = self._jobs, time.perf_counter()
        room = self._room(batch[0].work, len(batch)) if batch else 1
        while jobs and room > 0 and (not batch or jobs[0].work is batch[0].work):
            job = jobs.popleft()
            if job.deadline is not None and job.deadline <= now:
                continue  # its timer answers the caller
            job.started, job.waited = True, now - job.queued
            batch.append(job)
            room = self._room(job.work, 1) if len(batch) == 1 else room - 1

    def _room(self, work: Work[Any, Any], taken: int) -> int:
        """How many more items a batch may take that has taken so many."""
        waiting = len(self._jobs) + taken
        share = waiting if work.together or self._wait > 0 else math.ceil(waiting / self._threads)
        return min(share, work.limit) - taken

    def _answer(self, batch: list[_Job]) -> None:
        begun = time.perf_counter()
        results = _results(batch)
        seconds = time.perf_counter() - begun
        loop = batch[0].future.get_loop()
        try:
            loop.call_soon_threadsafe(self._deliver, batch, results, seconds)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits
            return

    def _deliver(self, batch: list[_Job], results: list[Any], seconds: float) -> None:
        size = len(batch)
        self._on_batch(size)
        self._item_seconds += _SMOOTHING * (seconds / size - self._item_seconds)
        for job, result in zip(batch, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(Done(result, job.waited))


def _expire(job: _Job) -> None:
    if not job.future.done():
        job.future.set_exception(DeadlineError("the time for this request has passed"))


def _results(batch: list[_Job]) -> list[Any]:
    """A result or an exception for each; one bad item does not spoil the others' batch."""
    run = batch[0].work.run
    try:
        results = list(run([job.item for job in batch]))
        if len(results) != len(batch):
            raise RuntimeError(f"{len(results)} results for {len(batch)} items")
    except Exception as error:  # noqa: BLE001 - it is raised again where the request is answered
        if len(batch) == 1:
            return [error]
        return [result for job in batch for result in _results([job])]
    return results
