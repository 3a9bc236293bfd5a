"""What ``make demo`` keeps and tells, without running it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from demo import life, telling

RELEASE = {"release": "a" * 64, "commit": "c" * 40, "gain over": {}, "queries": 9}


def facts_of(*, retrained: bool, blocked: str = "") -> dict[str, Any]:
    decision = {
        "retrained": retrained,
        "record": {"reasons": ["new words"]},
        **({"blocked": blocked} if blocked else {}),
    }
    return {
        "drift": {"day": "2026-03-18", "causes": [{"name": "new_category"}] if retrained else []},
        "decision": decision,
        "deploys": [{"commit": "c" * 40, "overlay": "o", "release": "a" * 64, "diff": "+new"}],
        "relevance": {"metric": "hr@20", "releases": [{**RELEASE, "hr@20": {"champion": 0.25, "quantized": 0.5}}]},
    }


def test_what_the_loop_found_first_stays_on_record_for_every_model(tmp_path: Path) -> None:
    before = {**facts_of(retrained=True), "also": {"recommender": facts_of(retrained=True, blocked="gate")}}
    (tmp_path / "demo.json").write_text(json.dumps(before))
    now = {
        **facts_of(retrained=False),
        "also": {"recommender": facts_of(retrained=False), "new": facts_of(retrained=False)},
    }
    life.remember_the_loop(SimpleNamespace(state=SimpleNamespace(root=tmp_path), facts=now))  # type: ignore[arg-type]
    assert now["decision"]["retrained"] and now["now"]["decision"]["retrained"] is False
    assert now["also"]["recommender"]["decision"]["blocked"] == "gate"
    assert now["also"]["recommender"]["now"]["drift"]["causes"] == []
    assert "now" not in now["also"]["new"]


def test_a_blocked_retraining_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(telling, "console", Console(file=told, width=200))
    telling.tell_life(
        facts_of(retrained=True, blocked="a check stopped recommender_release: recommender/evaluation: gate")
    )
    assert "blocked" in told.getvalue() and "the live release stays" in told.getvalue()
    assert "0.250 before → 0.500 after (HR@20)" in told.getvalue()


def test_a_failed_check_is_an_error_with_its_name(tmp_path: Path) -> None:
    """Not a traceback: the gate's answer is what people must read."""
    from dagster import AssetCheckResult, AssetCheckSpec, DagsterInstance, Definitions, asset, define_asset_job

    from rankops.errors import GateFailed

    @asset(check_specs=[AssetCheckSpec("gate", asset="model", blocking=True)])
    def model() -> Any:
        from dagster import MaterializeResult

        yield MaterializeResult()
        yield AssetCheckResult(check_name="gate", passed=False)

    @asset(deps=[model])
    def after() -> None: ...

    loggers = {"compact": telling.compact_logger()}
    defs = Definitions([model, after], jobs=[define_asset_job("life")], loggers=loggers)
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        running = life.Demo(SimpleNamespace(), instance, defs)  # type: ignore[arg-type]
        with pytest.raises(GateFailed, match="a check stopped life: model: gate"):
            running.run_job("life", None)
