from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankops.capacity.sizing import HEADROOM, Peak, peak_of_days, peak_of_hours, pods, size
from rankops.errors import BadInput
from rankops.release.capacity import ReleaseCapacity
from rankops.specs import ModelSpec, ServingSpec
from rankops.stages.capacity import busiest_day, busiest_hour, expected_peak, server_cores

MEASURED = ReleaseCapacity(
    objective_ms=50, target="cpu-avx2", queries_per_second=500.0, per_core=500.0, cpu_ms_per_query=1.6,
    memory_peak_mb=300.0, cores=1,
)  # fmt: skip


def test_the_advice_follows_its_formulas() -> None:
    advice = size(MEASURED, Peak(1200.0, "a test"))
    assert advice.pod_rate == pytest.approx(350.0)
    assert advice.replicas == 4  # 1200 / 350 = 3.4; and 3 of 4 carry 1500
    assert advice.cpu_target_percent == 55  # 350 x 1.6 ms = 0.56 cores
    assert advice.memory_mib == 384  # 300 MB = 286 MiB, x 1.25 = 358, in steps of 64
    assert advice.most_replicas == 11
    rows = {row["what"]: row["value"] for row in advice.rows()}
    assert rows["replicas"] == 4 and rows["memory request and limit"] == "384Mi"


@given(st.floats(0, 1e5), st.floats(1, 5000))
def test_pods_carry_the_peak_with_headroom_and_without_one_of_them(peak: float, rate: float) -> None:
    count = pods(peak, rate)
    assert count >= 2
    assert count * rate * HEADROOM >= peak * (1 - 1e-9)
    assert (count - 1) * rate >= peak * (1 - 1e-9)


def test_what_is_unknown_gives_no_advice() -> None:
    with pytest.raises(BadInput, match="not measured"):
        size(ReleaseCapacity(objective_ms=50, target="gpu-cuda", reason="no GPU"), Peak(1.0, ""))
    with pytest.raises(BadInput, match="peak"):
        size(MEASURED, Peak(-1.0, ""))


def test_the_peak_comes_from_the_spec_else_from_the_busiest_day(tmp_path: Path) -> None:
    pl.DataFrame(
        {"search_id": ["a", "a", "b", "c", "d"], "day": [date(2026, 3, 2)] * 3 + [date(2026, 3, 3)] * 2}
    ).write_parquet(tmp_path / "interactions.parquet")
    assert busiest_day(tmp_path) == (2, "2026-03-02")
    spec = ModelSpec(name="retriever", task="retrieval")
    assert expected_peak(spec, tmp_path) == peak_of_days(2, "2026-03-02")
    assert expected_peak(spec, None) is None
    assert busiest_day(tmp_path / "absent") is None
    stated = spec.model_copy(update={"serving": ServingSpec(peak_requests_per_second=70)})
    assert (found := expected_peak(stated, tmp_path)) is not None and found.rate == 70


def test_a_request_log_knows_its_busiest_hour() -> None:
    times = [
        datetime(2026, 3, 2, 9, 5, tzinfo=UTC),
        datetime(2026, 3, 2, 20, 1, tzinfo=UTC),
        datetime(2026, 3, 2, 20, 59, tzinfo=UTC),
    ]
    assert busiest_hour(pl.DataFrame({"timestamp": times})) == (2, "2026-03-02 20:00")
    assert busiest_hour(pl.DataFrame({"timestamp": times}).clear()) is None
    assert peak_of_hours(7200, "x").rate == pytest.approx(4.0)


def test_a_pod_is_measured_on_whole_cores_and_one_is_left_for_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rankops.compression.targets.available_cores", lambda: 4)
    assert [server_cores(cpu) for cpu in ("500m", "1", "1500m", "16")] == [1, 1, 2, 3]
    monkeypatch.setattr("rankops.compression.targets.available_cores", lambda: 1)
    assert server_cores("2") == 1
