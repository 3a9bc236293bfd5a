from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import names
from benchmarks.icecat_release import ServedShop
from benchmarks.search_service import Measured, comparison, one_round, ratio
from benchmarks.served import Side, all_started, awake, ours, stage_seconds
from rankops.load.capacity import Objective
from tests.serving.conftest import Shop
from tests.support.tiny_release import GOLDEN


@pytest.fixture(scope="module")
def served(shop: Shop) -> ServedShop:
    return ServedShop(
        shop.release, shop.public_key, shop.private_key, shop.manifest.digest, list(GOLDEN), Path(), Path()
    )


def test_helpers_are_no_benchmarks() -> None:
    assert {"search_service", "soak"} <= set(names())
    assert not {"served", "peers", "icecat_release"} & set(names())


def test_a_paused_server_uses_no_cpu_and_goes_on_where_it_was(served: ServedShop) -> None:
    side = ours(served)
    with all_started([side], lambda _: None):
        assert side.server is not None
        used = side.server.cpu_seconds()
        with awake(side, GOLDEN, warm_up=0.1) as generator:
            assert generator.closed_loop(1, 0.3).failed == 0
            assert side.top(GOLDEN[0])
        assert side.server.cpu_seconds() > used
        assert side.server.get("/healthz", timeout=0.3) is None  # it is paused
    assert side.server.process.poll() is not None


def test_one_round_measures_everything_once(served: ServedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.search_service._OBJECTIVE", Objective(5000.0))
    monkeypatch.setattr("benchmarks.served.stage_seconds", lambda rate: 0.1)
    monkeypatch.setattr("benchmarks.search_service._CLOSED_SECONDS", 0.3)
    side, taken = ours(served), Measured()
    with all_started([side], lambda _: None):
        one_round(side, GOLDEN, taken, 0, lambda _: None)
    assert len(taken.capacity) == len(taken.p50_one) == len(taken.throughput) == 1
    assert taken.p50_one[0] > 0 and taken.requests > 10
    assert taken.row()["p50, one client (ms)"] > 0


def measured(capacity: float, throughput: float, p50: float) -> Measured:
    return Measured(
        [capacity] * 3, [(capacity, None)] * 3, [throughput] * 3, [p50] * 3, [p50] * 3, [p50] * 3, [{}] * 3, 10
    )


def test_the_record_says_whether_every_goal_was_met() -> None:
    sides = [Side(name, [], f"{name} 1") for name in ("rankops", "FastAPI", "BentoML", "LitServe")]
    taken = {
        "rankops": measured(400, 450, 2),
        "FastAPI": measured(25, 50, 20),
        "BentoML": measured(150, 200, 5),
        "LitServe": measured(180, 200, 5),
    }
    good = comparison(sides, taken, (0.97, 0.8), {})
    assert good.ratio == pytest.approx(16) and good.also["within limits"] is True
    assert good.also["p50 ratio, one client"][0] == pytest.approx(10)
    assert comparison(sides, taken, (0.90, 0.8), {}).also["within limits"] is False
    slow = {**taken, "LitServe": measured(500, 600, 5)}
    assert comparison(sides, slow, (0.97, 0.8), {}).also["within limits"] is False


def test_ratios_have_an_interval_over_rounds() -> None:
    value, (low, high) = ratio([100, 110, 120], [10, 10, 12])
    assert low <= value <= high and value == pytest.approx(11)


def test_slow_servers_get_longer_stages() -> None:
    assert stage_seconds(20) == 6.0 and stage_seconds(100) == 4.0 and stage_seconds(1000) == 2.0


def test_a_peer_that_meets_the_objective_at_no_rate_counts_with_the_rate_that_it_missed() -> None:
    sides = [Side(name, [], f"{name} 1") for name in ("rankops", "FastAPI", "BentoML", "LitServe")]
    taken = {side.name: measured(300, 400, 5) for side in sides}
    taken["FastAPI"] = measured(0.0, 50, 20)
    taken["FastAPI"].interval = [(0.0, 20.0)] * 3
    found = comparison(sides, taken, (0.97, 0.8), {})
    assert found.ratio == pytest.approx(15) and found.peer == 20.0
    assert found.also["rounds where FastAPI met the objective at all"] == 0
