"""The pure decision: what rolls back, what does not, and what it says about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rankops.overlays.rollback_decision import (
    RollbackAttempt,
    RollbackPolicy,
    Situation,
    Symptom,
    decide,
    decision_markdown,
    save_decision,
)
from rankops.store import ArtifactStore

A, B = "a" * 64, "b" * 64
WENT_LIVE = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
NOW = WENT_LIVE + timedelta(hours=1)

BAD = Symptom(
    kind="verification",
    name="serves_the_release",
    evidence="latency: p99 912 ms",
    release=B,
    since=WENT_LIVE + timedelta(minutes=5),
    source="run-1",
)
STANDS = Situation(
    environment="staging", model="retriever", live=B, live_since=WENT_LIVE, live_commit="1" * 40, candidate=A
)
ALERT = BAD.model_copy(update={"kind": "alert", "name": "RankopsErrors", "release": None})


def verdict(symptom: Symptom = BAD, now: datetime = NOW, **changes: Any) -> tuple[str, str]:
    decision = decide(symptom, STANDS.model_copy(update=changes), RollbackPolicy(), now)
    return decision.verdict, "; ".join(decision.reasons)


def attempt(status: Any, number: int = 1, release: str = B, at: datetime = WENT_LIVE) -> RollbackAttempt:
    return RollbackAttempt(release=release, attempt=number, started_at=at, status=status)


def test_a_failed_verification_of_the_live_release_rolls_it_back() -> None:
    assert verdict() == ("roll back", "verification serves_the_release: latency: p99 912 ms")


def test_what_may_have_begun_before_the_release_went_live_does_not_blame_it() -> None:
    early = BAD.model_copy(update={"since": WENT_LIVE - timedelta(seconds=1)})
    assert verdict(early)[0] == "no"
    assert "before bbbbbbbbbbbb went live" in verdict(early)[1]


def test_another_release_than_the_live_one_is_not_blamed() -> None:
    assert verdict(BAD.model_copy(update={"release": A}))[1].startswith(
        "it speaks of release aaaaaaaaaaaa, not the live"
    )
    assert "quarantined already" in verdict(BAD.model_copy(update={"release": "e" * 12}), quarantined=("e" * 64,))[1]
    assert verdict(BAD.model_copy(update={"release": "b" * 12}))[0] == "roll back"
    assert verdict(BAD.model_copy(update={"release": "b" * 11}))[0] == "no"


def test_an_alert_that_names_no_release_blames_only_a_fresh_one() -> None:
    assert verdict(ALERT)[0] == "roll back"
    late = ALERT.model_copy(update={"since": WENT_LIVE + timedelta(hours=2, minutes=1)})
    assert verdict(late, now=NOW + timedelta(hours=2))[0] == "no"


def test_a_check_that_could_not_be_made_says_nothing_about_the_release() -> None:
    assert verdict(BAD.model_copy(update={"about_release": False}))[0] == "no"


def test_nothing_released_nothing_rolled_back() -> None:
    assert verdict(live=None, live_since=None)[0] == "no"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"came_back_by": "2" * 40}, "came back by rollback 222222222222"),
        ({"candidate": None}, "no earlier release that verified"),
        ({"rollbacks": (NOW - timedelta(hours=2),) * 3}, "3 rollbacks within a day"),
        ({"attempts": (attempt("succeeded"),)}, "was proposed already"),
        ({"attempts": (attempt("failed"), attempt("failed", 2))}, "2 attempts to roll back failed"),
    ],
)
def test_what_a_machine_must_not_do_a_person_must_decide(change: dict[str, Any], words: str) -> None:
    assert verdict(**change)[0] == "a person must decide"
    assert words in verdict(**change)[1]


def test_a_cool_down_and_a_running_attempt_are_waited_for() -> None:
    assert verdict(rollbacks=(NOW - timedelta(minutes=29),))[0] == "not now"
    assert verdict(rollbacks=(NOW - timedelta(minutes=31),))[0] == "roll back"
    assert verdict(attempts=(attempt("running"),))[0] == "not now"


def test_attempts_of_an_earlier_life_of_the_same_release_do_not_count() -> None:
    before = WENT_LIVE - timedelta(days=3)
    old = tuple(attempt("failed", number, at=before) for number in (1, 2))
    assert verdict(attempts=old)[0] == "roll back"


def test_a_failed_attempt_is_tried_again_under_a_new_key() -> None:
    first = decide(BAD, STANDS, RollbackPolicy(), NOW)
    second = decide(BAD, STANDS.model_copy(update={"attempts": (attempt("failed"),)}), RollbackPolicy(), NOW)
    assert (first.verdict, second.verdict) == ("roll back", "roll back")
    assert first.run_key != second.run_key and second.run_key.endswith("-2")


def test_every_objection_is_listed() -> None:
    _, reasons = verdict(BAD.model_copy(update={"release": A}), came_back_by="2" * 40, candidate=None)
    assert all(words in reasons for words in ("it speaks of", "came back by", "no earlier release"))


def test_the_same_answer_again_leaves_one_record_and_a_new_one_keeps_the_old(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    waiting = STANDS.model_copy(update={"attempts": (attempt("running"),)})
    first = decide(BAD, waiting, RollbackPolicy(), NOW)
    url, new = save_decision(store, first)
    assert new and url.endswith(first.record_name)
    again = decide(BAD, waiting, RollbackPolicy(), NOW + timedelta(minutes=1))
    assert save_decision(store, again) == (url, False)
    person = decide(BAD, waiting.model_copy(update={"candidate": None}), RollbackPolicy(), NOW)
    assert save_decision(store, person) == (url, True)
    record = store.read_json(person.record_name)
    assert record is not None and [item["verdict"] for item in record["earlier"]] == ["not now"]


def test_what_an_alert_says_cannot_leave_its_cell() -> None:
    rude = ALERT.model_copy(update={"evidence": "x | y\n# heading <img src=q> [link](http://evil)"})
    page = decision_markdown(decide(rude, STANDS, RollbackPolicy(), NOW))
    assert "\n# heading" not in page and "<img" not in page and " [link](" not in page and "x \\| y" in page
