"""Nothing flaps: the real sensors, ticked hundreds of times against a real repository by the worst of worlds.

Every release is bad, every verification fails, every alert fires for ever, somebody keeps deploying what was taken
out, and retrainings keep bringing new releases. The time limits of the policy are switched off: what keeps a release
from being rolled back twice, or a rollback from being rolled back, must hold without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, RunRequest

from automation.rollback_sensors import alert_sensor, verification_sensor
from rankops.errors import GateFailed
from rankops.overlays.rollback_decision import RollbackPolicy, Symptom
from rankops.overlays.trailers import read_commit
from resources.alerts import Alerts
from resources.gitops import GitOps
from resources.store import Store
from tests.rollback.conftest import SPEC, STAGING, NothingServes, Place, make_place

ROUNDS = 100  # of two sensors each
BOUNDLESS = RollbackPolicy(cooldown=timedelta(0), most_a_day=10_000, max_attempts=10_000, window=timedelta(days=10_000))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class EverythingFires(Alerts):
    """Alerts that never resolve: about no release, about the one that is live, and about every one that ever was."""

    def symptoms(self, *_: Any) -> list[tuple[str, Symptom]]:
        """What fires now."""
        now = datetime.now(UTC)
        ever = sorted(ALIVE)
        return [
            ("staging", _alert(None, LONG_AGO, "old")),
            ("staging", _alert(None, now, "fresh")),
            *(("staging", _alert(digest, now, f"about {digest[:12]}")) for digest in ever),
            *(("staging", _alert(digest, LONG_AGO, f"ever since {digest[:12]}")) for digest in ever),
        ]


ALIVE: set[str] = set()
"""Every release that was ever pinned."""


def _alert(release: str | None, since: datetime, source: str) -> Symptom:
    return Symptom(kind="alert", name="RankopsErrors", evidence="9 % fail", release=release, since=since, source=source)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    ALIVE.clear()
    with make_place(tmp_path, cluster=NothingServes()) as made:
        first = made.make("first")
        made.verified(first)
        made.deploy(first, ok=False)
        yield made


class Daemon:
    """Ticks both sensors and starts what they ask for, once for each run key, as Dagster's daemon does."""

    def __init__(self, place: Place, policy: RollbackPolicy) -> None:
        self.place = place
        self.sensors = [verification_sensor(SPEC, policy), alert_sensor(SPEC, policy)]
        self.resources = {"alerts": EverythingFires(), "gitops": GitOps(), "store": Store()}
        self.cursors: dict[str, str | None] = {}
        self.seen: set[str] = set()
        self.records: list[Any] = []
        self.started: list[RunRequest] = []

    def tick(self) -> None:
        """One round."""
        for made in self.sensors:
            context = self.place.context(self.cursors.get(made.name), self.resources)
            tick = made.evaluate_tick(context)
            self.cursors[made.name] = tick.cursor
            self.records += tick.asset_events
            for request in tick.run_requests or []:
                assert request.run_key
                if request.run_key not in self.seen:
                    self.seen.add(request.run_key)
                    self.started.append(request)
                    tags = {**request.tags, "dagster/run_key": request.run_key}
                    self.place.run("retriever_rollback", config=request.run_config, tags=tags, ok=False)


def quarantined(place: Place) -> list[str]:
    """Every release that was taken out, once for each commit that did it."""
    head = place.remote.head("main")
    records = [read_commit(place.remote, info.sha) for info in place.remote.log(head, STAGING.component, 200)]
    return [r.trailers.quarantined for r in records if r.trailers is not None and r.trailers.quarantined is not None]


def test_in_the_worst_of_worlds_each_bad_release_is_rolled_back_once_and_a_person_has_the_last_word(
    place: Place,
) -> None:
    daemon = Daemon(place, BOUNDLESS)
    good = place.live
    news = {10: "second", 35: "third", 65: "fourth"}
    for tick in range(ROUNDS):
        if tick in news:  # a retraining, or a person, brings a release with another digest
            place.deploy(place.make(news[tick]), ok=False)
            assert place.live == place.releases[news[tick]].digest
        if tick % 45 == 44:  # and what was taken out is deployed again and again
            for digest in {entry.digest for entry in place.standing.quarantine.entries}:
                (again,) = [release for release in place.releases.values() if release.digest == digest]
                assert not place.deploy(again, ok=False).success
        was = place.live
        ALIVE.add(was)
        daemon.tick()
        assert place.live in (was, good)
    bad = [place.releases[name].digest for name in news.values()]
    assert Counter(quarantined(place)) == Counter(bad), "one rollback for each bad release, no more"
    assert place.live == good
    assert [subject.split("(")[0] for subject in place.commits()[:-1]] == [
        "rollback", "deploy", "rollback", "deploy", "rollback", "deploy", "deploy",
    ]  # fmt: skip
    verdicts = Counter(record.metadata["verdict"].value for record in daemon.records)
    assert verdicts["roll back"] >= 3 and verdicts["a person must decide"] >= 3
    assert daemon.records[-1].metadata["verdict"].value != "roll back"
    assert len(daemon.started) <= 2 * len(bad), "the two sensors may both ask; the second finds it done"
    assert len(daemon.records) < 60, "an alert that never resolves leaves a record when the answer changes, not a tick"


def test_the_same_digest_made_again_stays_out_and_another_may_go(place: Place) -> None:
    daemon = Daemon(place, BOUNDLESS)
    second = place.make("second")
    place.deploy(second, ok=False)
    daemon.tick()
    assert second.digest in quarantined(place)
    with pytest.raises(GateFailed, match="is quarantined"):
        place.deploy(second)  # a retraining on the same data ends in the same bytes
    third = place.make("third")
    place.deploy(third, ok=False)
    assert place.live == third.digest


def test_a_daemon_that_was_down_for_a_while_takes_up_where_it_stopped(place: Place) -> None:
    place.deploy(place.make("second"), ok=False)
    daemon = Daemon(place, BOUNDLESS)
    daemon.sensors = daemon.sensors[:1]
    daemon.tick()
    assert [subject.split("(")[0] for subject in place.commits()[:2]] == ["rollback", "deploy"]
    assert isinstance(place.instance, DagsterInstance)
    cursor = daemon.cursors[daemon.sensors[0].name]
    for _ in range(5):
        daemon.tick()
    assert len(daemon.started) == 1 and cursor != daemon.cursors[daemon.sensors[0].name]
