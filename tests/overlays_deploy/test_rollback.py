from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput, GateFailed, RemoteUnavailable
from rankops.forge.local import LocalForge
from rankops.overlays.history import current, current_pin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.rollback import RollbackOutcome, RollbackRequest, came_back_by, rollback
from rankops.overlays.trailers import read_commit
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import WHEN, Deploy, fake_render, git, make_pin, no_objection

TARGET = Target("staging", "retriever")
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def roll_back(remote: GitRemote) -> Callable[..., RollbackOutcome]:
    def run(
        bad: str, *, verified: tuple[str, ...] = (A, B, C), automatic: bool = False, **more: Any
    ) -> RollbackOutcome:
        asked = {name: more.pop(name) for name in ("policy", "emergency", "dry_run", "reason") if name in more}
        said = {"reason": "p99 was 2 s", "dagster_run": "run-9"}
        request = RollbackRequest(TARGET, bad, automatic=automatic, **(said | asked))
        fakes = {"render": fake_render, "validate": no_objection, "verify": no_objection, "clock": lambda: WHEN}
        return rollback(
            request,
            remote,
            objection=lambda pin: None if pin.release in verified else "it never verified",
            **(fakes | more),
        )

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
    with pytest.raises(
        GateFailed, match=r"no earlier release .*\(aaaaaaaaaaaa: it never verified; cccccccccccc: .*quarantined"
    ):
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


def test_another_image_of_what_came_back_does_not_hide_the_rollback(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote
) -> None:
    deploy_all(run_deploy, A, B, C)
    back = roll_back(C, automatic=True)
    run_deploy(make_pin(release=B, image_digest="sha256:" + "f" * 64))
    found = came_back_by(remote, current(remote, TARGET), TARGET)
    assert found is not None and found.sha == back.commit
    with pytest.raises(GateFailed, match="a machine does not undo that"):
        roll_back(B, automatic=True)


def test_a_squash_merge_that_lost_the_trailers_does_not_hide_the_rollback(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    deploy_all(run_deploy, A, B, C)
    roll_back(C, automatic=True)
    tree = git("rev-parse", "main^{tree}", cwd=bare).strip()
    squashed = git("commit-tree", tree, "-p", "main~1", "-m", "Back to the old one (#7)", cwd=bare).strip()
    git("update-ref", "refs/heads/main", squashed, cwd=bare)
    found = came_back_by(remote, current(remote, TARGET), TARGET)
    assert found is not None and found.sha == squashed


@pytest.fixture
def forge(tmp_path: Path, remote: GitRemote) -> LocalForge:
    return LocalForge(tmp_path / "forge", remote)


def test_production_goes_by_its_own_policy_and_the_request_says_what_it_does(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote, forge: LocalForge
) -> None:
    deploy_all(run_deploy, A, B)
    done = roll_back(B, policy="pull-request", forge=forge)
    assert done.kind == "proposed" and done.pull_request is not None
    assert done.pull_request.title == f"rollback(staging): retriever → release {A[:12]}"
    assert "p99 was 2 s" in done.pull_request.body and f"`{B[:12]}` is quarantined" in done.pull_request.body
    again = roll_back(B, policy="pull-request", forge=forge)
    assert (again.commit, len(forge.all())) == (done.commit, 1)
    forge.merge(1)
    pin = current_pin(remote, TARGET)
    assert pin is not None and pin.release == A
    assert came_back_by(remote, current(remote, TARGET), TARGET) is not None


def test_an_emergency_is_pushed_and_written_into_commit_quarantine_and_pull_request(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote, forge: LocalForge
) -> None:
    deploy_all(run_deploy, A, B)
    roll_back(B, policy="pull-request", forge=forge)
    done = roll_back(B, policy="pull-request", forge=forge, emergency="Zoë Müller")
    assert (done.kind, done.emergency) == ("committed", "Zoë Müller: p99 was 2 s")
    trailers = read_commit(remote, done.commit).trailers
    assert trailers is not None and trailers.emergency == "Zoe Muller: p99 was 2 s"
    entry = current(remote, TARGET).quarantine.find(B)
    assert entry is not None and entry.emergency == done.emergency
    assert forge.get(1).state == "closed" and "Zoë Müller" in forge.comments(1)[0]
    remote.fetch("rankops/*")
    assert remote.branches("rankops/") == {}


def test_an_emergency_stands_when_the_forge_is_down_as_well(
    run_deploy: Deploy, roll_back: Any, forge: LocalForge
) -> None:
    deploy_all(run_deploy, A, B)
    said: list[str] = []

    class Down(LocalForge):
        def find_open(self, **_: Any) -> Any:
            raise RemoteUnavailable("the forge answers 503")

    down = Down(forge.folder, forge._branches)
    done = roll_back(B, policy="pull-request", forge=down, emergency="Ada", progress=said.append)
    assert done.kind == "committed" and any("503" in line for line in said)


def test_where_nothing_is_reviewed_there_is_no_emergency_to_record(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote
) -> None:
    deploy_all(run_deploy, A, B)
    done = roll_back(B, emergency="Ada")
    trailers = read_commit(remote, done.commit).trailers
    assert done.emergency is None and trailers is not None and trailers.emergency is None


def test_a_dry_run_shows_the_change_and_makes_none(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote, forge: LocalForge
) -> None:
    deploy_all(run_deploy, A, B)
    head = remote.head("main")
    done = roll_back(B, dry_run=True, policy="pull-request", emergency="Ada", forge=forge)
    assert "quarantine.yaml" in done.diff and A in done.diff
    assert remote.head("main") == head and forge.all() == []


@pytest.mark.parametrize("reason", ["", "  ", "slow\nRankops-Release: x", "x" * 501])
def test_a_reason_is_one_line(run_deploy: Deploy, roll_back: Any, reason: str) -> None:
    deploy_all(run_deploy, A, B)
    with pytest.raises(BadInput, match="must be one line"):
        roll_back(B, reason=reason)


def test_the_branch_says_when_it_got_a_release_however_old_the_proposal(
    run_deploy: Deploy, roll_back: Any, remote: GitRemote, forge: LocalForge
) -> None:
    deploy_all(run_deploy, A, B)
    proposed = roll_back(B, policy="pull-request", forge=forge)
    merged = forge.merge(1)
    landed = remote.landed(remote.head("main"), TARGET.component)
    assert landed is not None and landed[0] == merged.merge_commit
    assert landed[1] > WHEN and remote.info(proposed.commit).when == WHEN
