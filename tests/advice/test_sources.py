"""Where facts come from: the server's metrics, a replay, a sweep, a release."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from rankops.advice.replay import replay
from rankops.advice.sweep import Change, gain_of, sweep
from rankops.capacity.measure import Plan, load_release
from rankops.capacity.observed import observed
from rankops.cli import app
from rankops.specs import ModelSpec
from rankops.stages.advice import advice_on, pictures, release_facts
from tests.serving.conftest import Shop


def test_the_metrics_of_the_real_server_are_read(shop: Shop) -> None:
    load = load_release(shop.release, shop.public_key, Plan(5000.0, seconds=1.0))
    seen = observed(load.metrics)
    assert seen["stage_ms.encode"] > 0 and seen["stage_ms.search"] >= 0
    assert seen["refused"] == 0 and seen.get("cache_hit_rate", 0.0) == 0.0


def test_lines_that_are_no_samples_are_left_out() -> None:
    text = '# HELP x\nrankops_stage_seconds_sum{stage="encode"} 3.0\nrankops_stage_seconds_count{stage="encode"} 2.0\nrankops_cache_hits_total 3.0\nrankops_cache_misses_total 1.0\nrankops_refused_total{reason="overload"} 2.0\nrankops_refused_total{reason="deadline"} 1.0\nnonsense\n'
    assert observed(text) == {"stage_ms.encode": 1500.0, "cache_hit_rate": 0.75, "refused": 3.0}
    assert observed("") == {"refused": 0}


def test_a_replay_counts_what_a_cache_of_that_size_would_have_known() -> None:
    small, large = replay(["a", "b", "c", " A ", "b", "c"], sizes=(1, 3))
    assert (small.hit_rate, large.hit_rate) == (0.0, 0.5)  # the normalized query is the key
    assert large.searches == 6
    assert replay([]) == ()


def test_a_gain_is_the_median_of_paired_rounds() -> None:
    gain, (low, high) = gain_of([110, 121, 99, 220], [100, 110, 90, 200])
    assert gain == pytest.approx(0.1) and low == pytest.approx(0.1) and high == pytest.approx(0.1)


def test_a_sweep_runs_the_real_server_with_each_changed_setting(shop: Shop) -> None:
    tried = sweep(
        shop.release, shop.public_key, Plan(5000.0, seconds=1.5),
        changes=(Change("threads", 1), Change("threads", 2), Change("no_such_setting", 1)), rounds=3,
    )  # fmt: skip
    assert [(v.setting, v.value, v.default) for v in tried] == [
        ("threads", 1, 2)
    ]  # 2 is the default, the third unknown
    assert tried[0].gain > -1 and tried[0].p99_ms > 0 and tried[0].interval[0] <= tried[0].gain <= tried[0].interval[1]


def test_a_release_knows_its_facts_and_the_dataset_its_searches(shop: Shop, tmp_path: Path) -> None:
    rows = {"day": [date(2026, 3, 2)] * 4, "search_id": ["a", "a", "b", "c"], "query": ["lamp", "lamp", "lamp", "desk"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "interactions.parquet")
    facts = release_facts(shop.manifest, ModelSpec(name="retriever", task="retrieval"), tmp_path)
    assert facts.memory_mib == 1024 and facts.quality_budget == 0.005
    assert facts.replays[0].searches == 3 and facts.replays[0].hit_rate == pytest.approx(1 / 3)
    advice, known = advice_on(shop.manifest, None, tmp_path / "absent")
    assert advice == [] and pictures(known) == {}


def test_the_command_reads_a_release_and_writes_what_it_says(shop: Shop, tmp_path: Path) -> None:
    arguments = [str(shop.release), "--public-key", str(shop.public_key), "--no-sweep", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["advise", *arguments])
    assert done.exit_code == 0, done.output
    assert "Nothing to advise" in done.stdout
    assert (tmp_path / "out" / "advice.json").read_text() == "[]\n"
