from __future__ import annotations

import pytest

from rankops.errors import BadInput
from rankops.load.capacity import Objective, find_capacity
from rankops.load.result import StageResult
from tests.load.models import m_d_1


def test_the_capacity_of_a_queue_is_found_within_the_resolution() -> None:
    # 1 ms a request; p99 <= 10 ms. M/D/1's tail falls off as exp(-2 (1 - rho) / rho * t / D), so p99 = 10 ms + 1 ms
    # of service lies near rho = 0.79
    found = find_capacity(m_d_1(0.001), Objective(10.0), ceiling=1000.0, resolution=0.02)
    assert 740 < found.rate < 860
    assert found.interval[0] <= found.rate < (found.interval[1] or 0) <= found.rate * 1.05
    assert found.at_capacity is not None and found.at_capacity.percentile_ms(99) <= 11.0


def test_a_tighter_objective_gives_less() -> None:
    loose = find_capacity(m_d_1(0.001), Objective(20.0), ceiling=1000.0)
    tight = find_capacity(m_d_1(0.001), Objective(3.0), ceiling=1000.0)
    assert tight.rate < loose.rate


def test_where_even_one_request_is_too_slow_there_is_no_capacity() -> None:
    found = find_capacity(m_d_1(0.060), Objective(50.0), ceiling=16.0)
    assert found.rate == 0.0 and found.at_capacity is None
    assert found.probes and all(probe.refusal for probe in found.probes)


def test_a_server_that_keeps_up_with_everything_has_its_ceiling_as_capacity() -> None:
    def measure(rate: float, seed: int) -> StageResult:
        result = StageResult(rate)
        result.latency.record(0.001)
        return result

    found = find_capacity(measure, Objective(50.0), ceiling=500.0)
    assert found.rate >= 475.0 and found.interval[1] is None


def test_failures_miss_the_objective_however_fast_they_are() -> None:
    def measure(rate: float, seed: int) -> StageResult:
        result = StageResult(rate, sent=100)
        result.latency.record(0.001)
        if rate > 300:
            result.failures["status 503"] = 3
        return result

    found = find_capacity(measure, Objective(50.0), ceiling=1000.0)
    assert 270 < found.rate <= 300
    assert any("3 status 503" in (probe.refusal or "") for probe in found.probes)


def test_one_noisy_stage_decides_nothing() -> None:
    calls = {"n": 0}

    def measure(rate: float, seed: int) -> StageResult:
        calls["n"] += 1
        result = StageResult(rate)
        result.latency.record(0.2 if calls["n"] % 4 == 0 or rate > 600 else 0.001)  # every fourth stage is disturbed
        return result

    found = find_capacity(measure, Objective(50.0), ceiling=1000.0)
    assert 540 < found.rate <= 600


def test_a_ceiling_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="closed loop"):
        find_capacity(m_d_1(0.001), Objective(10.0), ceiling=0.0)
