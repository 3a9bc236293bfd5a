from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput, GateFailed
from rankops.overlays.deploy import DeployOutcome
from rankops.overlays.history import current, current_pin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.rollback import RollbackRequest, rollback
from rankops.overlays.trailers import read_commit
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import WHEN, Deploy, fake_render, git, make_pin, no_objection

TARGET = Target("staging", "retriever")
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def roll_back(remote: GitRemote) -> Callable[..., DeployOutcome]:
    def run(bad: str, *, verified: tuple[str, ...] = (A, B, C), automatic: bool = False, **more: Any) -> DeployOutcome:
        request = RollbackRequest(TARGET, bad, "p99 was 2 s", automatic=automatic, dagster_run="run-9")
        fakes = {"render": fake_render, "validate": no_objection, "verify": no_objection, "clock": lambda: WHEN}
        return rollback(request, remote, verified=lambda pin: pin.release in verified, **(fakes | more))

    return run


def deploy_all(run_deploy: Deploy, *releases: str) -> None:
    for release in releases:
        run_deploy(make_pin(release=release))


def test_one_forward_commit_pins_the_last_good_release_and_quarantines_the_bad_one(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote, bare: Path
) -> None:
    deploy_all(run_deploy, A, B)
    bad_commit = git("rev-parse", "main", cwd=bare).strip()
    done = roll_back(B)
    assert (done.kind, done.pin.release, done.supersedes) == ("committed", A, B)
    assert git("rev-parse", "main~1", cwd=bare).strip() == bad_commit
    standing = current(remote, TARGET)
    assert standing.pin is not None and standing.pin.uri == make_pin(release=A).uri
    entry = standing.quarantine.find(B)
    assert entry is not None and (entry.reason, entry.commit) == ("p99 was 2 s", bad_commit)
    record = read_commit(remote, done.commit)
    assert record.is_rollback and record.trailers is not None and record.trailers.quarantined == B


def test_the_bad_release_cannot_come_back_by_deploy(run_deploy: Deploy, roll_back: Any) -> None:
    deploy_all(run_deploy, A, B)
    roll_back(B)
    with pytest.raises(GateFailed, match="p99 was 2 s"):
        run_deploy(make_pin(release=B))


def test_asking_twice_makes_one_commit(run_deploy: Deploy, roll_back: Any) -> None:
    deploy_all(run_deploy, A, B)
    first = roll_back(B)
    for _ in range(3):
        again = roll_back(B, automatic=True)
        assert (again.kind, again.commit) == ("unchanged", first.commit)


def test_releases_that_never_verified_or_are_quarantined_are_passed_over(run_deploy: Deploy, roll_back: Any) -> None:
    deploy_all(run_deploy, A, B, C)
    assert roll_back(C, verified=(A,)).pin.release == A
    deploy_all(run_deploy, B)
    with pytest.raises(GateFailed, match="no earlier release that verified"):
        roll_back(B, verified=(B, C))


def test_a_machine_never_rolls_a_rollback_back_but_a_person_may(run_deploy: Deploy, roll_back: Any) -> None:
    deploy_all(run_deploy, A, B, C)
    assert roll_back(C, automatic=True).pin.release == B
    with pytest.raises(GateFailed, match="a machine does not undo that"):
        roll_back(B, automatic=True)
    assert roll_back(B).pin.release == A


def test_a_release_that_is_not_live_is_not_rolled_back(run_deploy: Deploy, roll_back: Any, remote: GitRemote) -> None:
    with pytest.raises(BadInput, match="runs no release"):
        roll_back(A)
    deploy_all(run_deploy, A, B)
    with pytest.raises(BadInput, match="runs release bbbbbbbbbbbb, not aaaaaaaaaaaa"):
        roll_back(A)
    pin = current_pin(remote, TARGET)
    assert pin is not None and pin.release == B


def test_the_evidence_of_the_release_that_comes_back_is_checked(run_deploy: Deploy, roll_back: Any) -> None:
    deploy_all(run_deploy, A, B)

    def verify(pin: Any, _: Any) -> None:
        assert pin.release == A
        raise GateFailed("its bytes were changed")

    with pytest.raises(GateFailed, match="its bytes were changed"):
        roll_back(B, verify=verify)
