"""Long work that leaves most of a core to others."""

from __future__ import annotations

import threading
import time

import pytest

from rankops.pace import is_paced, paced, rest


def spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is slept from now on."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def test_a_thread_that_is_not_paced_never_rests(monkeypatch):
    naps = slept(monkeypatch)
    spin(0.01)
    rest()
    assert naps == [] and not is_paced()


def test_a_paced_thread_sleeps_in_proportion_to_the_work_since_its_last_rest(monkeypatch):
    naps = slept(monkeypatch)
    with paced(0.2):
        assert is_paced()
        for _ in range(2):
            spin(0.02)
            rest()
    assert not is_paced()
    assert len(naps) == 2
    assert all(0.08 <= nap < 0.12 for nap in naps), naps


def test_other_threads_keep_their_pace():
    told = []
    with paced(0.5):
        other = threading.Thread(target=lambda: told.append(is_paced()))
        other.start()
        other.join()
    assert told == [False]


def test_an_inner_pace_ends_with_its_block():
    with paced(0.5):
        with pytest.raises(KeyError), paced(0.1):
            raise KeyError
        assert is_paced()


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="share of a core"), paced(share):
        pass
