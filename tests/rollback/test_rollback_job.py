"""The button: the job that takes a release out and proves that the one that came back serves, with a real server.

The tests build on each other, in order: two releases are deployed, the second is taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dagster import AssetKey

from automation.jobs import rollback_config
from rankops.deployment import DeployRecord, VerificationRecord
from rankops.errors import BadInput, GateFailed
from rankops.overlays.trailers import read_commit
from resources.store import read_reference, reference_name
from tests.rollback.conftest import SPEC, Place, make_place
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, make_release, write_catalogue

JOB = "retriever_rollback"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("button")
    with make_place(root) as made:
        catalogue = write_catalogue(root / "catalogue.parquet")
        for seed, name in enumerate(("first", "second"), 1):
            artifact = make_tiny_artifact(root / f"artifact-{name}", VOCABULARY, seed=seed)
            folder = root / name
            make_release(folder, artifact=artifact, catalogue=catalogue, private_key=made.state.signing_key)
            made.deploy(made.publish(name, folder))
        yield made


def press(place: Place, only: list[str] | None = None, **fields: Any) -> Any:
    return place.run(JOB, config=rollback_config(SPEC.name, fields), only=only)


def reference(place: Place, asset: str, model: type[Any]) -> Any:
    return read_reference(place.store, ["retriever", asset], "staging", model)


def test_the_button_needs_a_reason_and_nothing_happens_without_one(place: Place) -> None:
    before = place.commits()
    assert before[0].startswith("deploy(staging)") and before[1].startswith("deploy(staging)")
    with pytest.raises(BadInput, match="without a reason"):
        place.run(JOB)  # as the Launchpad offers it, with the reason left empty
    with pytest.raises(BadInput, match="without a reason"):
        place.run(JOB, config={"ops": {"retriever__deploy": {"config": {"why": ["a fix"]}}}})
    with pytest.raises(BadInput, match="by whom"):
        press(place, reason="slow", emergency=True)
    with pytest.raises(BadInput, match=r"runs release .*, not 'abcdefabcdef'"):
        press(place, reason="slow", bad="abcdefabcdef")
    assert place.commits() == before


def test_one_line_takes_the_live_release_out_and_proves_what_came_back(place: Place) -> None:
    bad, good = place.releases["second"].digest, place.releases["first"].digest
    assert place.live == bad
    result = press(place, reason="p99 is 2 s since noon")
    assert place.live == good
    assert place.commits()[0] == f"rollback(staging): retriever to release {good[:12]}"
    shown = result.asset_materializations_for_node("retriever__deploy")[0].metadata
    assert (shown["came back"].value, shown["quarantined"].value) == (good, bad)
    assert shown["reason"].value == "p99 is 2 s since noon" and "quarantine.yaml" in shown["diff"].value
    (check,) = result.get_asset_check_evaluations()
    assert check.passed and check.metadata["release"].value == good
    assert reference(place, "deploy", DeployRecord).release == good
    verified = reference(place, "verification", VerificationRecord)
    assert (verified.release, verified.state) == (good, "verified")
    trailers = read_commit(place.remote, place.remote.head("main")).trailers
    assert trailers is not None and (trailers.quarantined, trailers.dagster_run) == (bad, result.run_id)


def test_pressing_again_for_the_same_release_changes_nothing(place: Place) -> None:
    before = place.commits()
    press(place, ["retriever/deploy"], reason="again", bad=place.releases["second"].digest[:12])
    assert place.commits() == before


def test_the_bad_release_does_not_come_back_by_deploy(place: Place) -> None:
    before = place.commits()
    with pytest.raises(GateFailed, match="p99 is 2 s since noon"):
        place.deploy(place.releases["second"])
    assert place.commits() == before


def test_where_nothing_good_is_left_it_says_why_each_was_passed_over(place: Place) -> None:
    with pytest.raises(GateFailed, match=rf"{place.releases['second'].digest[:12]}: .*quarantined"):
        press(place, reason="this one too")


def test_the_records_that_the_command_line_keeps_are_the_assets_own() -> None:
    from rankops.overlays.rollback import RollbackOutcome
    from rankops.stages.rollback import remember_record
    from tests.overlays_deploy.conftest import make_pin

    class Kept:
        def write_json(self, name: str, value: Any) -> None:
            assert name == reference_name(["retriever", "deploy"], "staging")
            assert DeployRecord.model_validate(value).kind == "committed"

    pin = make_pin()
    outcome = RollbackOutcome(
        "committed",
        "1" * 40,
        "main",
        "x",
        pin,
        "",
        "",
        None,
        None,
        1,
        0.1,
        quarantined=None,
        emergency=None,
        dry_run=False,
    )
    remember_record(Kept(), outcome)  # type: ignore[arg-type]


def test_the_job_is_the_deployment_and_its_verification_and_nothing_else(place: Place) -> None:
    job = place.defs.resolve_job_def(JOB)
    assert job.asset_layer.executable_asset_keys == {
        AssetKey(["retriever", "deploy"]),
        AssetKey(["retriever", "verification"]),
    }
