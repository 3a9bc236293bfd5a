"""``rankops rollback`` and ``rankops quarantine``, as people run them at night: no Dagster, the same commit.

The tests share one place, in order: mistakes first, then staging, then production.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from rankops.cli import app
from rankops.deployment import DeployRecord
from rankops.forge.local import LocalForge
from rankops.overlays.history import current
from rankops.overlays.trailers import read_commit
from rankops.overlays.transaction import Target
from resources.store import read_reference
from tests.rollback.conftest import Place, make_place


def rankops(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with make_place(tmp_path_factory.mktemp("night")) as made:
        first, second = made.make("first"), made.make("second")
        for environment in ("staging", "production"):
            made.verified(first, environment)
            made.pin(first, environment)
            made.pin(second, environment)
        yield made


def test_mistakes_are_named_and_change_nothing(place: Place) -> None:
    before = place.commits()
    for arguments, words in (
        (("rollback", "prod", "retriever", "--reason", "x"), "there is no environment 'prod'"),
        (("rollback", "staging", "ranker", "--reason", "x"), "runs no release"),
        (("rollback", "staging", "retriever", "--reason", ""), "must be one line"),
        (("rollback", "staging", "retriever", "--reason", "x", "--bad", "0" * 12), "runs release"),
        (("alert-webhook",), "RANKOPS_ALERT_TOKEN is not set"),
    ):
        assert words in rankops(*arguments, code=1).stderr.replace("\n", " ")
    assert place.commits() == before


def test_one_command_takes_the_live_release_out(place: Place) -> None:
    before = place.commits()
    preview = rankops("rollback", "staging", "retriever", "--reason", "p99 is 2 s", "--dry-run")
    assert "+++ b/k8s-overlays/overlays/staging/retriever/quarantine.yaml" in preview.stdout
    assert place.commits() == before
    done = rankops("rollback", "staging", "retriever", "--reason", "p99 is 2 s")
    good, bad = place.releases["first"].digest, place.releases["second"].digest
    assert f"release {good[:12]} is back in staging: commit {place.remote.head('main')}" in done.stdout
    assert f"release {bad[:12]} is quarantined: p99 is 2 s" in done.stdout
    assert place.live == good
    assert read_reference(place.store, ["retriever", "deploy"], "staging", DeployRecord).release == good
    listed = rankops("quarantine", "list", "staging", "retriever")
    assert bad[:12] in listed.stdout and "p99 is 2 s" in listed.stdout
    again = rankops("rollback", "staging", "retriever", "--reason", "again", "--bad", bad[:12])
    assert "nothing to do" in again.stdout
    assert "no release of retriever is quarantined" in rankops("quarantine", "list", "production", "retriever").stdout


def test_production_takes_a_pull_request_or_an_emergency_that_is_recorded(place: Place) -> None:
    proposed = rankops("rollback", "production", "retriever", "--reason", "empty results")
    assert "waits for its pull request" in proposed.stdout
    forge = LocalForge(place.state.root / "forge", place.remote)
    assert [p.state for p in forge.all()] == ["open"]
    done = rankops("rollback", "production", "retriever", "--reason", "empty results", "--emergency", "--by", "Ada")
    assert "pushed without review by Ada: empty results" in done.stdout
    trailers = read_commit(place.remote, place.remote.head("main")).trailers
    assert trailers is not None and trailers.emergency == "Ada: empty results"
    standing = current(place.remote, Target("production", "retriever"))
    assert standing.pin is not None and standing.pin.release == place.releases["first"].digest
    assert "Ada" in rankops("quarantine", "list", "production", "retriever").stdout
    assert [p.state for p in forge.all()] == ["closed"] and "Ada: empty results" in forge.comments(1)[0]
