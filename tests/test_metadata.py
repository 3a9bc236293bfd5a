"""How the UI shows a materialization."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import DagsterInstance, Definitions, FilesystemIOManager, MaterializeResult, asset, materialize
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from assets.metadata import _pull_request, materialized, numbers, sizing_metadata
from rankops.artifacts import StoredArtifact
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


def test_an_artifacts_digest_is_its_data_version_so_that_what_is_found_again_unsyncs_nothing(tmp_path: Path) -> None:
    made = StoredArtifact(kind="dataset", digest="a" * 64, uri="file:///a")

    @asset
    def data() -> MaterializeResult:
        return materialized(made, {}, reused=True)

    @asset
    def model(data: StoredArtifact) -> MaterializeResult:
        return materialized(made.model_copy(update={"digest": "b" * 64}), {}, reused=False)

    io = FilesystemIOManager(base_dir=str(tmp_path))
    graph = Definitions([data, model]).resolve_asset_graph()
    with DagsterInstance.ephemeral() as instance:
        for chosen in ([data, model], [data]):  # the data is materialized again, with the same content
            assert materialize([data, model], selection=chosen, instance=instance, resources={"io_manager": io}).success
        status = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance)).get_status(model.key)
        assert status.name == "FRESH"
