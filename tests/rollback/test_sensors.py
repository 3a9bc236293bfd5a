"""The sensors around the decision: what they read, what they remember from tick to tick, what they write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import SensorDefinition

from automation.rollback_sensors import CAUSE_TAG, Cursor, alert_sensor, verification_sensor
from rankops.errors import RemoteUnavailable
from rankops.forge.local import LocalForge
from rankops.overlays.rollback_decision import RollbackPolicy
from rankops.stages.alerts import Inbox, WebhookAlert, WebhookPayload
from resources.alerts import Alerts
from resources.cluster import LocalCluster
from resources.gitops import GitOps
from resources.store import Store
from tests.rollback.conftest import SPEC, NothingServes, Place, make_place


class Unreachable(LocalCluster):
    """A cluster whose API does not answer."""

    @contextmanager
    def running(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Fails for a reason that is not the release's."""
        raise RemoteUnavailable("the API server does not answer")
        yield


def tick(place: Place, made: SensorDefinition, cursor: str | None = None, **resources: Any) -> Any:
    given = {"gitops": GitOps(), "store": Store()} | resources
    return made.evaluate_tick(place.context(cursor, given))


def two_releases(place: Place, environment: str = "staging") -> tuple[str, str]:
    first, second = place.make("first"), place.make("second")
    place.verified(first, environment)
    place.pin(first, environment)
    place.pin(second, environment)
    return first.digest, second.digest


def test_a_failed_verification_becomes_a_record_and_a_run_that_names_its_cause(tmp_path: Path) -> None:
    with make_place(tmp_path, cluster=NothingServes()) as place:
        good, _ = two_releases(place)
        failed = place.deploy(place.releases["second"], ok=False)
        done = tick(place, verification_sensor(SPEC))
        (request,), (record,) = done.run_requests, done.asset_events
        assert request.tags[CAUSE_TAG] == failed.run_id and request.partition_key == "staging"
        rollback = request.run_config["ops"]["retriever__deploy"]["config"]["rollback"]
        assert rollback["automatic"] is True and rollback["reason"].endswith("the pod never became ready")
        assert record.metadata["verdict"].value == "roll back" and "pod never became" in record.description
        written = place.store.read_json(record.metadata["record"].value.split("/store/")[1])
        assert written is not None and written["candidate"] == good
        again = tick(place, verification_sensor(SPEC), done.cursor)  # the run was not started yet: asked again
        assert [r.run_key for r in again.run_requests] == [request.run_key] and not again.asset_events
        place.run("retriever_rollback", config=request.run_config, tags=request.tags, ok=False)
        after = tick(place, verification_sensor(SPEC), again.cursor)
        assert not after.run_requests and place.live == good
        verdicts = {r.metadata["verdict"].value for r in after.asset_events}
        assert verdicts == {"no", "a person must decide"}, "the first is settled; what came back fails as well"
        assert Cursor.model_validate_json(after.cursor).waiting == []


def test_a_check_that_could_not_be_made_is_written_down_and_changes_nothing(tmp_path: Path) -> None:
    with make_place(tmp_path, cluster=Unreachable()) as place:
        two_releases(place)
        place.deploy(place.releases["second"], ok=False)
        done = tick(place, verification_sensor(SPEC))
        assert not done.run_requests
        assert done.asset_events[0].metadata["verdict"].value == "no"
        assert "says nothing about the release" in done.asset_events[0].description
        skipped = tick(place, verification_sensor(SPEC), done.cursor)
        assert "no new failed verification" in (skipped.skip_message or "")


def test_what_must_wait_is_asked_again_until_it_may_go(tmp_path: Path) -> None:
    with make_place(tmp_path, cluster=NothingServes()) as place:
        two_releases(place)
        place.deploy(place.releases["second"], ok=False)
        first = tick(place, verification_sensor(SPEC))
        place.run("retriever_rollback", config=first.run_requests[0].run_config, ok=False)
        place.deploy(place.make("third"), ok=False)
        waits = tick(place, verification_sensor(SPEC), first.cursor)
        assert not waits.run_requests and "30 min must pass" in (waits.skip_message or "")
        assert len(Cursor.model_validate_json(waits.cursor).waiting) == 1
        due = tick(place, verification_sensor(SPEC, RollbackPolicy(cooldown=timedelta(0))), waits.cursor)
        assert len(due.run_requests) == 1


def test_a_remote_that_does_not_answer_fails_the_tick_and_keeps_the_cursor(tmp_path: Path) -> None:
    with make_place(tmp_path, cluster=NothingServes()) as place:
        two_releases(place)
        place.deploy(place.releases["second"], ok=False)
        with pytest.raises(RemoteUnavailable):
            tick(place, verification_sensor(SPEC), gitops=GitOps(url=f"file://{tmp_path}/nowhere.git"))


def test_production_gets_one_pull_request_and_then_waits_for_people(tmp_path: Path) -> None:
    with make_place(tmp_path, cluster=NothingServes()) as place:
        good, bad = two_releases(place, "production")
        told = WebhookAlert(
            status="firing",
            labels={"alertname": "RankopsErrors", "model": "retriever", "environment": "production",
                    "rankops_release": bad[:12]},
            annotations={"summary": "9 % of the requests fail"},
            startsAt=datetime.now(UTC) + timedelta(seconds=1),
            fingerprint="0123456789abcdef",
        )  # fmt: skip
        Inbox(place.store).put(WebhookPayload(version="4", status="firing", alerts=[told]), datetime.now(UTC))
        (request,) = tick(place, alert_sensor(SPEC), alerts=Alerts()).run_requests
        assert place.run(
            "retriever_rollback", config=request.run_config, tags=request.tags, environment="production"
        ).success
        forge = LocalForge(place.state.root / "forge", place.remote)
        (pull,) = forge.all()
        assert pull.title.startswith("rollback(production)") and "9 % of the requests fail" in pull.body
        later = tick(place, alert_sensor(SPEC), alerts=Alerts())
        assert not later.run_requests
        assert later.asset_events[0].metadata["verdict"].value == "a person must decide"
        forge.merge(pull.number)
        settled = tick(place, alert_sensor(SPEC), alerts=Alerts())
        assert not settled.run_requests and "quarantined already" in (settled.skip_message or "")
        assert good


def test_without_alerts_the_alert_sensor_says_so_and_asks_git_nothing(tmp_path: Path) -> None:
    with make_place(tmp_path) as place:
        quiet = tick(place, alert_sensor(SPEC), alerts=Alerts(), gitops=GitOps(url="file:///nowhere"))
        assert "no alert" in (quiet.skip_message or "")
