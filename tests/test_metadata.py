"""How the UI shows a materialization."""

from __future__ import annotations

import pytest

from assets.metadata import _pull_request, numbers, sizing_metadata
from rankops.forge.protocol import PullRequest

PULL = PullRequest(number=7, url="https://forge/7", head="h", base="main", title="deploy", body="", state="open")


def test_numbers_have_six_digits_and_are_plain() -> None:
    shown = numbers({"ndcg": 0.728507145597921, "count": 12345678.0, "tiny": 0.00012345678})
    assert [value.value for value in shown.values()] == [0.728507, 12345700.0, 0.000123457]


def test_a_pull_request_of_the_local_forge_is_shown_by_its_command() -> None:
    assert _pull_request(PULL).value == "https://forge/7"
    local = _pull_request(PULL.model_copy(update={"url": "file:///x/7.json"}))
    assert local.value == "#7 deploy (rankops pr show 7)"


@pytest.mark.parametrize("rows", [[], [{"what": "replicas", "value": 2, "why": "the peak"}]])
def test_advice_is_a_table_or_nothing(rows: list[dict[str, object]]) -> None:
    shown = sizing_metadata(rows)
    assert ("capacity advice" in shown) == bool(rows)
    if rows:
        assert "| replicas | 2 | the peak |" in str(shown["capacity advice"].value)
