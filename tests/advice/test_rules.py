"""Each rule once where it speaks and once where it must be silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rankops.advice.facts import Facts, Replay, Variant
from rankops.advice.render import NOTHING, gain_text, markdown, stages_png, sweep_png
from rankops.advice.rules import advise
from rankops.release.capacity import ReleaseCapacity


def capacity(**changes: Any) -> ReleaseCapacity:
    values = {
        "objective_ms": 50.0, "target": "cpu-avx2", "queries_per_second": 500.0, "interval": (480.0, 520.0),
        "per_core": 500.0, "cores_used": 0.85, "others_cores": 0.05, "cpu_ms_per_query": 1.7, "memory_peak_mb": 300.0,
        "observed": {"stage_ms.encode": 1.2, "stage_ms.search": 0.6, "stage_ms.serialize": 0.2, "stage_ms.queue": 9.0},
    }  # fmt: skip
    return ReleaseCapacity.model_validate(values | changes)


def variant(**changes: Any) -> Variant:
    values = {
        "setting": "batch_wait_ms", "value": 4, "default": 0, "gain": 0.18, "interval": (0.12, 0.25), "p99_ms": 31.0,
        "default_p99_ms": 30.0, "rounds": 5, "meets_objective": True,
    }  # fmt: skip
    return Variant(**(values | changes))


NOTHING_KNOWN = Facts()


def words(facts: Facts) -> list[str]:
    return [advice.what for advice in advise(facts)]


def test_without_facts_there_is_no_advice() -> None:
    assert advise(NOTHING_KNOWN) == []
    assert markdown([], NOTHING_KNOWN) == NOTHING


def test_a_measured_gain_of_a_setting_is_advised_with_its_interval() -> None:
    facts = Facts(variants=(variant(), variant(value=2, gain=0.08, interval=(0.02, 0.11))))
    (advice,) = advise(facts)
    assert advice.what == "batching is idle: let a thread wait 4 ms for a batch to fill"
    assert advice.gain == 0.18 and advice.basis == "measured" and advice.setting == "batch_wait_ms=4"
    assert gain_text(advice) == "+18 % queries/s per core [+12, +25]"
    assert "load test with batch_wait_ms 4 against 0, 5 rounds" in advice.how


@pytest.mark.parametrize(
    "quiet",
    [
        variant(interval=(-0.02, 0.30)),  # noise
        variant(gain=0.02, interval=(0.01, 0.03)),  # proven, and too little to care
        variant(gain=-0.2, interval=(-0.3, -0.1)),
        variant(meets_objective=False),  # more throughput, but the latency objective is missed
    ],
)
def test_a_setting_without_a_proven_gain_is_not_advised(quiet: Variant) -> None:
    assert advise(Facts(variants=(quiet,))) == []


REPLAYS = (Replay(1_000, 0.20, 9_000), Replay(20_000, 0.50, 9_000), Replay(100_000, 0.50, 9_000))


def test_a_larger_cache_is_advised_by_the_hits_of_recorded_searches() -> None:
    (advice,) = advise(Facts(replays=REPLAYS, cache_entries=1_000))
    assert advice.what == "keep 20,000 answers in the result cache (now 1,000)"
    assert advice.gain == pytest.approx(0.8 / 0.5 - 1) and advice.basis == "model"
    (off,) = advise(Facts(replays=REPLAYS, cache_entries=0))
    assert off.gain == pytest.approx(1.0)  # half of the requests cost nothing


def test_a_cache_that_is_large_enough_is_left_alone() -> None:
    assert advise(Facts(replays=REPLAYS, cache_entries=20_000)) == []
    assert advise(Facts(replays=(Replay(1_000, 0.0, 50), Replay(5_000, 0.01, 50)), cache_entries=1_000)) == []
    assert advise(Facts(replays=REPLAYS)) == []  # a server without a cache setting


def rung(name: str, verdict: str, p50: float, loss: float | None) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "p50_ms": p50, "loss_share": loss}


def test_a_faster_rung_that_just_missed_the_budget_is_worth_another_try() -> None:
    facts = Facts(
        capacity=capacity(),
        rungs=(rung("int8", "won", 1.0, 0.002), rung("int4", "lost", 0.5, 0.008), rung("tiny", "lost", 0.2, 0.2)),
        quality_budget=0.005,
    )
    (advice,) = advise(facts)
    assert "int4" in advice.what and "0.8%" in advice.what
    assert advice.gain == pytest.approx(1 / (1 - 0.6 * 0.5) - 1)  # encoding is 1.2 of 2.0 ms


@pytest.mark.parametrize(
    "rungs",
    [
        (rung("int8", "won", 1.0, 0.002), rung("tiny", "lost", 0.2, 0.2)),  # loses far too much
        (rung("int8", "won", 1.0, 0.002), rung("fp32", "lost", 4.0, 0.0)),  # slower
        (rung("int8", "won", 1.0, 0.002), rung("int4", "lost", 0.99, 0.006)),  # hardly faster
        (rung("int8", "won", 1.0, 0.002), rung("fp16", "lost", 0.5, None)),  # never scored
    ],
)
def test_other_rungs_are_no_advice(rungs: tuple[dict[str, Any], ...]) -> None:
    assert advise(Facts(capacity=capacity(), rungs=rungs, quality_budget=0.005)) == []


INDEX = ({"name": "flat f32", "search_ms": 0.6, "recall": 1.0}, {"name": "flat f16", "search_ms": 0.3, "recall": 0.999})


def test_a_faster_index_is_advised_where_searching_it_weighs() -> None:
    (advice,) = advise(Facts(capacity=capacity(), index=INDEX))
    assert advice.what == "search with flat f16 instead of flat f32"
    assert advice.gain == pytest.approx(1 / (1 - 0.3 * 0.5) - 1)


def test_an_index_that_loses_results_or_hardly_weighs_is_no_advice() -> None:
    assert advise(Facts(capacity=capacity(), index=(INDEX[0], {**INDEX[1], "recall": 0.9}))) == []
    light = capacity(observed={"stage_ms.encode": 10.0, "stage_ms.search": 0.1})
    assert advise(Facts(capacity=light, index=INDEX)) == []
    assert advise(Facts(capacity=capacity(observed={}), index=INDEX)) == []  # the share is unknown


def test_idle_cores_at_the_limit_are_named() -> None:
    (advice,) = advise(Facts(capacity=capacity(cores_used=0.5)))
    assert "cores are idle" in advice.what and advice.gain == pytest.approx(0.6)


@pytest.mark.parametrize(
    "changes",
    [
        {"cores_used": 0.85},
        {"cores_used": 0.5, "others_cores": 1.2},  # others had the CPU: nothing can be said
        {"cores_used": 0.5, "interval": (480.0, None)},  # nothing was missed: the load ended, not the server
        {"cores_used": None},
        {"queries_per_second": None, "reason": "no GPU"},
    ],
)
def test_cores_that_were_busy_or_not_seen_are_not(changes: dict[str, Any]) -> None:
    assert advise(Facts(capacity=capacity(**changes))) == []


def test_memory_is_right_sized_in_both_directions() -> None:
    (less,) = advise(Facts(capacity=capacity(), memory_mib=1024))
    assert less.what == "ask for 384Mi of memory instead of 1024Mi" and gain_text(less).startswith("-62 % memory")
    (more,) = advise(Facts(capacity=capacity(), memory_mib=256))
    assert "may be killed" in more.what and gain_text(more) == "safety"
    assert advise(Facts(capacity=capacity(), memory_mib=448)) == []


def test_measured_gains_come_before_modelled_ones_and_all_are_shown() -> None:
    facts = Facts(
        capacity=capacity(),
        memory_mib=448,
        variants=(
            variant(gain=0.05, interval=(0.04, 0.06)),
            variant(setting="threads", gain=0.0, interval=(-0.1, 0.1)),
        ),
        replays=REPLAYS,
        cache_entries=0,
    )
    advice = advise(facts)
    assert [one.basis for one in advice] == ["measured", "model"]
    text = markdown(advice, facts)
    for part in ("+5 % queries/s per core [+4, +6]", "| threads 4 |", "stage_ms.encode", "1 / (1 - hits)"):
        assert part in text
    assert sweep_png(facts.variants).startswith(b"\x89PNG") and stages_png(facts).startswith(b"\x89PNG")
    assert words(replace(facts, variants=())) == [advice[1].what]
