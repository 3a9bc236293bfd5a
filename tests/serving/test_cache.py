from __future__ import annotations

import asyncio

import pytest

from rankops.serving.cache import ResultCache


def cache(**changes) -> ResultCache[bytes]:
    return ResultCache(**{"max_entries": 3, "max_bytes": 10_000, "size": len, **changes})


def test_the_least_recently_used_answer_makes_room():
    evicted = []
    kept = cache(evicted=lambda: evicted.append(1))
    for key in "abc":
        kept.put(key, key.encode())
    assert kept.get("a") == b"a"
    kept.put("d", b"d")
    assert [kept.get(key) for key in "abcd"] == [b"a", None, b"c", b"d"]
    assert len(evicted) == 1


def test_memory_is_bounded_and_counted():
    kept = cache(max_entries=1000, max_bytes=5000)
    for number in range(100):
        kept.put(number, b"x" * 500)
    assert len(kept) == 5
    assert kept.bytes == 5 * 1000
    kept.put("huge", b"x" * 5000)
    assert kept.get("huge") is None
    assert len(kept) == 5
    kept.put(99, b"y" * 100)
    assert kept.bytes == 4 * 1000 + 600
    kept.clear()
    assert (len(kept), kept.bytes) == (0, 0)


def test_an_answer_that_is_too_old_is_made_anew():
    now = [0.0]
    kept = cache(ttl=10.0, clock=lambda: now[0])
    kept.put("a", b"a")
    now[0] = 9.9
    assert kept.get("a") == b"a"
    now[0] = 10.0
    assert kept.get("a") is None
    assert kept.bytes == 0


@pytest.mark.parametrize("limits", [{"max_entries": 0}, {"max_bytes": 0}])
def test_without_room_it_is_off(limits):
    kept = cache(**limits)
    kept.put("a", b"a")
    assert not kept.on
    assert kept.get("a") is None


class Maker:
    def __init__(self, fails: bool = False) -> None:
        self.calls, self.finished, self.fails = 0, 0, fails
        self.go = asyncio.Event()

    async def __call__(self) -> bytes:
        self.calls += 1
        await self.go.wait()
        self.finished += 1
        if self.fails:
            raise ValueError("no")
        return b"answer"


def test_the_same_question_at_the_same_time_is_answered_once():
    async def test():
        kept, make = cache(), Maker()
        asking = [asyncio.ensure_future(kept.through("q", make)) for _ in range(5)]
        await asyncio.sleep(0)
        make.go.set()
        answers = await asyncio.gather(*asking)
        assert [outcome for _, outcome in answers] == ["miss"] + ["coalesced"] * 4
        assert {answer for answer, _ in answers} == {b"answer"}
        assert await kept.through("q", make) == (b"answer", "hit")
        assert make.calls == 1

    asyncio.run(test())


def test_the_first_who_goes_away_takes_nothing_from_the_others():
    async def test():
        kept, make = cache(), Maker()
        first = asyncio.ensure_future(kept.through("q", make))
        second = asyncio.ensure_future(kept.through("q", make))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        make.go.set()
        assert await second == (b"answer", "coalesced")
        assert first.cancelled()

    asyncio.run(test())


def test_what_nobody_waits_for_any_more_is_cancelled_and_can_be_asked_again():
    async def test():
        kept, make = cache(), Maker()
        asking = [asyncio.ensure_future(kept.through("q", make)) for _ in range(2)]
        await asyncio.sleep(0)
        for one in asking:
            one.cancel()
        await asyncio.sleep(0)
        again = asyncio.ensure_future(kept.through("q", make))
        await asyncio.sleep(0.01)
        make.go.set()
        assert await again == (b"answer", "miss")
        assert (make.calls, make.finished) == (2, 1)

    asyncio.run(test())


def test_an_error_reaches_everybody_and_is_not_kept():
    async def test():
        kept, make = cache(), Maker(fails=True)
        asking = [asyncio.ensure_future(kept.through("q", make)) for _ in range(3)]
        await asyncio.sleep(0)
        make.go.set()
        assert [type(e) for e in await asyncio.gather(*asking, return_exceptions=True)] == [ValueError] * 3
        make.fails = False
        assert await kept.through("q", make) == (b"answer", "miss")

    asyncio.run(test())


def test_an_answer_that_was_begun_before_clearing_is_given_and_not_kept():
    async def test():
        kept, make = cache(), Maker()
        asking = asyncio.ensure_future(kept.through("q", make))
        await asyncio.sleep(0)
        kept.clear()
        make.go.set()
        assert await asking == (b"answer", "miss")
        assert kept.get("q") is None

    asyncio.run(test())
