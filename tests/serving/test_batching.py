from __future__ import annotations

import asyncio
import threading
import time

import pytest

from rankops.serving.batching import DeadlineError, OverloadedError, Scheduler, Work


class Bench:
    """A scheduler whose threads are busy until ``free`` is set, and what they were given since."""

    def __init__(self, *, threads: int = 1, queue_limit: int = 16, wait: float = 0.0) -> None:
        self.batches: list[list[object]] = []
        self.sizes: list[int] = []
        self.free = threading.Event()
        self.threads = threads
        self.scheduler = Scheduler(threads=threads, queue_limit=queue_limit, wait=wait, on_batch=self.sizes.append)
        self._blocked = Work(lambda _: [self.free.wait(20)])

    def work(self, limit: int = 1, together: bool = False) -> Work[object, object]:
        def run(items):
            self.batches.append(list(items))
            return [("done", item) for item in items]

        return Work(run, limit, together)

    async def occupy(self) -> list[asyncio.Task]:
        tasks = [self.submit(self._blocked, None) for _ in range(self.threads)]
        while self.scheduler.waiting or self.scheduler.pending < self.threads:
            await asyncio.sleep(0.001)
        return tasks

    def submit(self, work, item, deadline=None) -> asyncio.Task:
        return asyncio.ensure_future(self.scheduler.submit(work, item, deadline=deadline))


def run(test, **settings) -> Bench:
    bench = Bench(**settings)

    async def whole():
        try:
            await asyncio.wait_for(test(bench), 20)
        finally:
            bench.free.set()

    try:
        asyncio.run(whole())
    finally:
        bench.scheduler.close()
    return bench


def test_what_waits_is_taken_together_in_order_up_to_the_limit():
    async def test(bench: Bench):
        await bench.occupy()
        search = bench.work(limit=4, together=True)
        tasks = [bench.submit(search, i) for i in range(6)]
        await asyncio.sleep(0)
        bench.free.set()
        assert [done.value for done in await asyncio.gather(*tasks)] == [("done", i) for i in range(6)]

    bench = run(test)
    assert bench.batches == [[0, 1, 2, 3], [4, 5]]
    assert bench.sizes == [1, 4, 2]


def test_on_a_cpu_each_thread_takes_its_share_so_that_none_is_idle():
    both = threading.Barrier(2, timeout=10)

    async def test(bench: Bench):
        await bench.occupy()

        def meet(items):
            both.wait()
            return list(items)

        search = Work(meet, limit=8)
        tasks = [bench.submit(search, i) for i in range(2)]
        await asyncio.sleep(0)
        bench.free.set()
        await asyncio.gather(*tasks)  # one thread with both items would wait for the other at the barrier

    run(test, threads=2)


def test_other_work_keeps_its_place_in_the_queue():
    async def test(bench: Bench):
        await bench.occupy()
        search, rerank = bench.work(limit=8, together=True), bench.work(limit=8, together=True)
        order = [(search, 1), (search, 2), (rerank, 3), (search, 4)]
        tasks = [bench.submit(work, item) for work, item in order]
        await asyncio.sleep(0)
        bench.free.set()
        await asyncio.gather(*tasks)

    assert run(test).batches == [[1, 2], [3], [4]]


def test_a_batch_waits_for_company_within_its_bound_and_no_longer():
    async def test(bench: Bench):
        search = bench.work(limit=2)
        started = time.perf_counter()
        first = bench.submit(search, 1)
        await asyncio.sleep(0.02)
        await asyncio.gather(first, bench.submit(search, 2))
        assert time.perf_counter() - started < 5  # the batch was full: the bound of 10 s was not waited for

    assert run(test, wait=10.0).batches == [[1, 2]]

    async def alone(bench: Bench):
        await bench.submit(bench.work(limit=2), 1)

    assert run(alone, wait=0.02).batches == [[1]]


def test_a_full_queue_refuses_and_says_when_it_will_have_drained():
    async def test(bench: Bench):
        slow = Work(lambda items: [time.sleep(0.2) for _ in items])
        for _ in range(3):
            await bench.scheduler.submit(slow, None)
        await bench.occupy()
        waiting = [bench.submit(bench.work(), i) for i in range(300)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await bench.scheduler.submit(bench.work(), "more")
        # 301 items at the smoothed mean of three that took 0.2 s: about 0.03 s each
        assert 5 <= caught.value.retry_after <= 30
        bench.free.set()
        await asyncio.gather(*waiting)
        assert bench.scheduler.pending == 0

    run(test, queue_limit=300)


def test_work_whose_deadline_passed_is_answered_in_time_and_never_started():
    async def test(bench: Bench):
        await bench.occupy()
        late = bench.submit(bench.work(), "late", time.perf_counter() + 0.02)
        early = bench.submit(bench.work(), "early", time.perf_counter() + 60)
        with pytest.raises(DeadlineError):
            await late  # while the only thread is still busy
        assert bench.scheduler.waiting == 1
        bench.free.set()
        assert (await early).value == ("done", "early")

    assert run(test).batches == [["early"]]


def test_a_deadline_in_the_past_is_refused_even_where_a_thread_is_idle():
    async def test(bench: Bench):
        with pytest.raises(DeadlineError):
            await bench.submit(bench.work(), 1, time.perf_counter() - 1)

    assert run(test).batches == []


def test_a_cancelled_caller_leaves_the_queue_and_makes_room():
    async def test(bench: Bench):
        await bench.occupy()
        tasks = [bench.submit(bench.work(), i) for i in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert (bench.scheduler.waiting, bench.scheduler.pending) == (1, 2)
        another = bench.submit(bench.work(), 2)
        await asyncio.sleep(0)
        bench.free.set()
        await asyncio.gather(tasks[1], another)

    assert run(test, queue_limit=2).batches == [[1], [2]]


def test_one_bad_item_does_not_spoil_the_batch_of_others():
    def halves(items):
        return [10 / item for item in items]

    async def test(bench: Bench):
        await bench.occupy()
        work = Work(halves, limit=8, together=True)
        tasks = [bench.submit(work, item) for item in (1, 0, 5)]
        await asyncio.sleep(0)
        bench.free.set()
        good, bad, other = await asyncio.gather(*tasks, return_exceptions=True)
        assert (good.value, other.value) == (10, 2)
        assert isinstance(bad, ZeroDivisionError)

    run(test)


def test_closing_answers_what_waits():
    async def test(bench: Bench):
        await bench.occupy()
        tasks = [bench.submit(bench.work(limit=2), i) for i in range(5)]
        await asyncio.sleep(0)
        closing = asyncio.get_running_loop().run_in_executor(None, bench.scheduler.close)
        bench.free.set()
        await closing
        assert [done.value[1] for done in await asyncio.gather(*tasks)] == list(range(5))

    run(test, threads=2)
