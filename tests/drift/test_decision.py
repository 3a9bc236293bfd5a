from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from rankops.drift.decision import (
    RetrainAttempt,
    RetrainHistory,
    decide,
    load_decision,
    policy_for,
    save_decision,
)
from rankops.drift.findings import CauseName, Finding
from rankops.drift.render import decision_markdown
from rankops.drift.report import DriftReport, Side
from rankops.retrain_spec import RetrainSpec
from rankops.specs import ModelSpec, Task
from rankops.store import ArtifactStore

NOW = datetime(2026, 3, 17, 6, 0, tzinfo=UTC)
DAY = date(2026, 3, 16)
POLICY = policy_for(ModelSpec(name="retriever", task="retrieval", retrain=RetrainSpec(window_days=14)))


def report(*names: CauseName, searches: int = 2000) -> DriftReport:
    side = Side(
        days=[str(DAY)], searches=searches, requests=0, products=10, zero_click_rate=0.3, mrr=0.5, categories={}
    )
    causes = [
        Finding(
            name=name,
            score=0.2,
            threshold=0.1,
            significant=True,
            evidence=f"{name} was seen.",
            symptom=name in ("worse_results", "score_shift"),
        )
        for name in names
    ]
    return DriftReport(
        model="retriever",
        day=DAY,
        release="a" * 64,
        reference=side,
        current=side,
        new_products_share=0,
        columns=[],
        causes=causes,
        drifted=bool(causes),
        fingerprint="b" * 64,
    )


def attempt(status: str, hours_ago: float, number: int = 1, fingerprint: str = "b" * 64) -> RetrainAttempt:
    return RetrainAttempt.model_validate(
        {
            "fingerprint": fingerprint,
            "attempt": number,
            "started_at": NOW - timedelta(hours=hours_ago),
            "status": status,
        }
    )


def history(*attempts: RetrainAttempt, **facts: date) -> RetrainHistory:
    return RetrainHistory(attempts=attempts, **facts)


def test_a_drift_that_training_can_answer_starts_a_retraining() -> None:
    decision = decide(report("new_slang", "worse_results"), history(), POLICY, NOW)
    assert decision.decision
    assert decision.reasons == ("new_slang: new_slang was seen.", "worse_results: worse_results was seen.")
    assert decision.run_key == f"retriever-{'b' * 16}-1"
    assert (decision.window_first_day, decision.window_last_day) == (date(2026, 3, 3), DAY)


def test_the_window_does_not_start_before_the_data() -> None:
    decision = decide(report("new_slang"), history(first_day=date(2026, 3, 10)), POLICY, NOW)
    assert decision.window_first_day == date(2026, 3, 10)


@pytest.mark.parametrize(
    ("given", "before", "reason"),
    [
        (report(), history(), "nothing drifted"),
        (report("price_inflation"), history(), "does not retrain for that"),
        (report("score_shift"), history(), "does not retrain for that"),
        (report("price_inflation", "worse_results"), history(), "does not retrain for that"),
        (report("new_slang", "broken_feed"), history(), "fix the feed, do not train on it"),
        (report("new_slang", searches=50), history(), "50 searches are too few"),
        (
            report("new_slang"),
            history(attempt("succeeded", 2, fingerprint="c" * 64)),
            "the next may from 2026-03-18 00:00",
        ),
        (report("new_slang"), history(attempt("running", 30, fingerprint="c" * 64)), "still running"),
        (report("new_slang"), history(attempt("succeeded", 90)), "this very report has succeeded"),
        (
            report("new_slang"),
            history(attempt("failed", 9), attempt("failed", 5, 2)),
            "2 retrainings for this report failed",
        ),
        (report("new_slang"), history(live_trained_through=DAY), "already learned from days up to 2026-03-16"),
    ],
)
def test_the_answer_is_no_with_its_reason(given: DriftReport, before: RetrainHistory, reason: str) -> None:
    decision = decide(given, before, POLICY, NOW)
    assert not decision.decision
    assert len(decision.reasons) == 1
    assert reason in decision.reasons[0]


def test_every_objection_is_listed() -> None:
    decision = decide(report("broken_feed", searches=3), history(live_trained_through=DAY), POLICY, NOW)
    assert len(decision.reasons) == 4


def test_fewer_clicks_without_another_cause_are_reason_enough() -> None:
    assert decide(report("worse_results"), history(), POLICY, NOW).decision


def test_a_failed_run_is_tried_again_under_a_new_run_key() -> None:
    decision = decide(report("new_slang"), history(attempt("failed", 1)), POLICY, NOW)
    assert decision.decision, "a failed run starts no cooldown"
    assert (decision.attempt, decision.run_key[-2:]) == (2, "-2")


def test_the_cooldown_ends() -> None:
    earlier = history(attempt("succeeded", 20.1, fingerprint="c" * 64))
    assert decide(report("new_slang"), earlier, POLICY, NOW).decision


@pytest.mark.parametrize(("refusals", "hours"), [(1, 40), (2, 80), (3, 160), (4, 168), (100, 168)])
def test_each_refusal_in_a_row_doubles_the_wait_up_to_a_week(refusals: int, hours: int) -> None:
    before = [attempt("refused", hours + 200 - n, fingerprint="c" * 64) for n in range(refusals - 1)]
    before += [attempt("failed", 1, fingerprint="c" * 64)]  # what broke is no refusal, and ends no row of them
    early = history(*before, attempt("refused", hours - 0.1, fingerprint="c" * 64))
    decision = decide(report("new_slang"), early, POLICY, NOW)
    assert not decision.decision and len(decision.reasons) == 1
    assert f"and was refused ({refusals} in a row); the next may from" in decision.reasons[0]
    assert decision.cooldown_until == NOW + timedelta(hours=0.1)
    late = history(*before, attempt("refused", hours + 0.1, fingerprint="c" * 64))
    assert decide(report("new_slang"), late, POLICY, NOW).decision


def test_a_success_ends_a_row_of_refusals_and_a_long_cooldown_is_not_shortened() -> None:
    before = [attempt("refused", 90, fingerprint="c" * 64), attempt("succeeded", 60, fingerprint="c" * 64)]
    newest = attempt("refused", 40.1, fingerprint="d" * 64)
    assert decide(report("new_slang"), history(*before, newest), POLICY, NOW).decision
    monthly = POLICY.model_copy(update={"cooldown": timedelta(days=30)})
    assert "the next may from 2026-04-14" in decide(report("new_slang"), history(newest), monthly, NOW).reasons[0]


def test_a_release_that_was_made_by_hand_since_ends_a_row_of_refusals() -> None:
    refused = [attempt("refused", hours, fingerprint="c" * 64) for hours in (70, 50, 25)]  # the last on 16 March
    assert "(3 in a row)" in decide(report("new_slang"), history(*refused), POLICY, NOW).reasons[0]
    since = decide(report("new_slang"), history(*refused, live_trained_through=date(2026, 3, 15)), POLICY, NOW)
    assert "(1 in a row)" in since.reasons[0]
    tomorrow = report("new_slang").model_copy(update={"day": date(2026, 3, 17)})
    assert decide(tomorrow, history(*refused, live_trained_through=DAY), POLICY, NOW).decision


def test_the_record_is_written_also_for_no_and_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    decision = decide(report(), history(), POLICY, NOW)
    url = save_decision(store, decision)
    path = tmp_path / "decisions" / "retriever" / f"2026-03-16-{'b' * 12}-1.json"
    assert url == path.as_uri()
    first = path.read_bytes()
    assert save_decision(store, decide(report(), history(), POLICY, NOW + timedelta(minutes=1))) == url
    assert path.read_bytes() == first
    assert load_decision(store, decision.record_name) == decision
    assert load_decision(store, "decisions/none.json") is None


def test_an_answer_that_changes_keeps_what_was_said_before(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    cooling = history(attempt("succeeded", 10, fingerprint="c" * 64))
    no = decide(report("new_slang"), cooling, POLICY, NOW)
    yes = decide(report("new_slang"), cooling, POLICY, NOW + timedelta(hours=11))
    assert (no.decision, yes.decision) == (False, True)
    save_decision(store, no)
    save_decision(store, yes)
    assert load_decision(store, yes.record_name) == yes
    record = store.read_json(yes.record_name)
    assert record is not None
    assert [item["decision"] for item in record["earlier"]] == [False]


def test_a_decision_reads_well() -> None:
    text = decision_markdown(decide(report("price_inflation"), history(), POLICY, NOW))
    assert "**do not retrain**" in text
    assert "price_inflation drifted, and the policy does not retrain for that" in text
    assert "| days to train on | 2026-03-03 to 2026-03-16 |" in text


@pytest.mark.parametrize(
    ("task", "cause", "retrained"),
    [
        ("retrieval", "new_slang", True),
        ("ranking", "new_slang", True),
        ("recommendation", "new_slang", False),
        ("recommendation", "worse_results", False),
        ("retrieval", "new_products", False),
        ("recommendation", "new_category", True),
        ("recommendation", "new_products", True),
        ("recommendation", "seasonal_shift", True),
    ],
)
def test_a_model_is_not_fitted_again_for_what_it_never_reads(task: Task, cause: CauseName, retrained: bool) -> None:
    decision = decide(report(cause), RetrainHistory(), policy_for(ModelSpec(name="m", task=task)), NOW)
    assert decision.decision is retrained
    if not retrained:
        assert decision.reasons == (f"{cause} drifted, and the policy does not retrain for that",)


def test_a_spec_says_what_its_model_is_trained_again_for_and_on_how_many_days() -> None:
    baskets = policy_for(ModelSpec(name="m", task="recommendation"))
    assert (baskets.window_days, policy_for(ModelSpec(name="m", task="ranking")).window_days) == (365, 28)
    own = RetrainSpec(causes=("price_inflation",), window_days=90, cooldown_hours=2, min_searches=5)
    policy = policy_for(ModelSpec(name="m", task="recommendation", retrain=own))
    assert policy.window_days == 90 and policy.cooldown == timedelta(hours=2)
    assert decide(report("price_inflation", searches=6), history(), policy, NOW).decision
    assert not decide(report("new_products", searches=6), history(), policy, NOW).decision


def test_the_searches_of_all_days_that_were_read_are_enough() -> None:
    small = report("new_slang", searches=60)
    assert not decide(small, history(), POLICY, NOW).decision
    week = small.model_copy(update={"window": small.current.model_copy(update={"searches": 360})})
    assert decide(week, history(), POLICY, NOW).decision
