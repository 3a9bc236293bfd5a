"""How a release's model is run: what is compared, and what it takes to be chosen."""

from __future__ import annotations

import pytest

from rankops.advice import session
from rankops.advice.facts import Variant
from rankops.advice.session import as_settings, measure_session
from rankops.advice.sweep import Change
from rankops.capacity.measure import Plan
from rankops.errors import RankopsError
from rankops.release.capacity import MeasuredSession
from rankops.release.signing import create_key_pair
from rankops.stages import capacity as stage
from tests.serving.conftest import Shop


def variant(change: Change, gain: float, low: float) -> Variant:
    default = session.DEFAULT[change.setting]
    return Variant(change.setting, change.value, default, gain, (low, gain + 0.05), 10.0, 10.0, 5)


def swept(monkeypatch: pytest.MonkeyPatch, gains: dict[str, tuple[float, float]], asked: list[Change]) -> None:
    """Let a sweep find these gains, and remember what it was asked for."""

    def sweep(folder, public_key, plan, *, changes, progress):
        assert plan.settings == {"threads": 3, **session.DEFAULT}
        asked.extend(changes)
        return tuple(variant(change, *gains[change.setting]) for change in changes)

    monkeypatch.setattr(session, "sweep", sweep)


def test_more_threads_are_tried_where_there_are_cores_and_chosen_where_they_gain(shop: Shop, monkeypatch) -> None:
    asked: list[Change] = []
    swept(monkeypatch, {"session_arena": (0.02, 0.01), "session_threads": (0.3, 0.2)}, asked)
    found = measure_session(shop.release, shop.public_key, Plan(50.0, cores=4, settings={"threads": 3}))
    assert asked == [Change("session_arena", "off"), Change("session_threads", 4)]
    assert (found.threads, found.arena) == (4, True)
    assert [row["setting"] for row in found.tried] == ["session_arena off", "session_threads 4"]
    assert as_settings(found) == {"session_threads": 4}


def test_what_is_in_doubt_changes_nothing(shop: Shop, monkeypatch) -> None:
    asked: list[Change] = []
    swept(monkeypatch, {"session_arena": (0.2, -0.01)}, asked)
    found = measure_session(shop.release, shop.public_key, Plan(50.0, settings={"threads": 3}))
    assert asked == [Change("session_arena", "off")], "one core has no second thread"
    assert (found.threads, found.arena, as_settings(found)) == (1, True, {})


def test_the_real_server_is_compared(shop: Shop) -> None:
    found = measure_session(shop.release, shop.public_key, Plan(2000.0, seconds=1.5))
    (row,) = found.tried
    assert row["setting"] == "session_arena off" and row["default"] == "on"


def test_a_server_that_does_not_come_up_and_a_model_without_a_session_choose_nothing(shop: Shop, tmp_path) -> None:
    _, stranger = create_key_pair(tmp_path)
    with pytest.raises(RankopsError):
        measure_session(shop.release, stranger, Plan(50.0, seconds=0.5))
    plan = Plan(50.0, seconds=0.5)
    assert stage.measured_session(shop.release, shop.manifest, stranger, plan, print) is None
    for change in ({"task": "recommendation"}, {"target": "gpu-cuda"}):
        other = shop.manifest.model_copy(update=change)
        assert stage.measured_session(shop.release, other, shop.public_key, plan, print) is None


def test_a_measured_session_is_checked() -> None:
    with pytest.raises(ValueError, match="threads"):
        MeasuredSession(threads=0)
