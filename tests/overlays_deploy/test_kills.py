"""Processes that die at every step, and git processes that die in the middle of a push: nothing is ever half done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.forge.local import LocalForge
from rankops.overlays.deploy import DeployOutcome, DeployRequest
from rankops.overlays.history import current
from rankops.overlays.mirror import GitRemote
from rankops.overlays.rollback import RollbackRequest, rollback
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import (
    WHEN,
    Deploy,
    fake_render,
    git,
    human_edit,
    in_process,
    make_pin,
    no_objection,
)

BEFORE = ["fetched", "verified", "exported", "written", "rendered", "validated", "committed"]
Work = Callable[..., DeployOutcome]


def refs(bare: Path) -> list[str]:
    """Every ref of the remote, which must be whole."""
    git("fsck", "--full", "--strict", cwd=bare)
    assert not list(bare.rglob("*.lock"))
    return git("for-each-ref", "--format=%(refname:short) %(objectname)", cwd=bare).splitlines()


def killed_at(step: str, work: Work) -> None:
    """Run ``work`` in a process of its own that dies by SIGKILL when it reaches ``step``."""

    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(lambda: work(checkpoint=die)) == -signal.SIGKILL  # type: ignore[arg-type]


@pytest.fixture
def forge(remote: GitRemote, tmp_path: Path) -> LocalForge:
    return LocalForge(tmp_path / "forge", remote)


@pytest.fixture
def works(run_deploy: Deploy, remote: GitRemote, forge: LocalForge) -> dict[str, Work]:
    """A deploy and a rollback, pushed and proposed; each is asked for again in the same words."""
    for release in "ab":
        run_deploy(make_pin(release=release * 64))
    proposed = {"policy": "pull-request", "forge": forge}

    def deploying(checkpoint: Any = no_objection, policy: Any = "push", **more: Any) -> DeployOutcome:
        return run_deploy(DeployRequest(make_pin(release="c" * 64), policy=policy), checkpoint=checkpoint, **more)

    def rolling_back(checkpoint: Any = no_objection, policy: Any = "push", **more: Any) -> DeployOutcome:
        request = RollbackRequest(Target("staging", "retriever"), "b" * 64, "p99 was 2 s", policy=policy)
        fakes = {"render": fake_render, "validate": no_objection, "verify": no_objection, "clock": lambda: WHEN}
        return rollback(request, remote, objection=lambda _: None, checkpoint=checkpoint, **fakes, **more)

    return {
        "deploy": deploying,
        "rollback": rolling_back,
        "deploy by pull request": lambda **more: deploying(**more, **proposed),
        "rollback by pull request": lambda **more: rolling_back(**more, **proposed),
    }


@pytest.mark.parametrize("what", ["deploy", "rollback", "deploy by pull request", "rollback by pull request"])
def test_killed_at_every_step_on_the_way_the_remote_is_as_before_and_one_more_run_finishes(
    works: dict[str, Work], remote: GitRemote, forge: LocalForge, bare: Path, what: str
) -> None:
    before = refs(bare)
    for step in BEFORE:
        killed_at(step, works[what])
        assert refs(bare) == before and forge.all() == []
    done = works[what]()
    by_request = "pull request" in what
    assert done.kind == ("proposed" if by_request else "committed")
    assert git("rev-parse", f"{done.commit}~1", cwd=bare).strip() == before[0].split()[1]
    assert [p.number for p in forge.all()] == ([1] if by_request else [])


@pytest.mark.parametrize("what", ["deploy", "rollback"])
def test_killed_after_the_push_the_next_run_reports_that_commit(
    works: dict[str, Work], remote: GitRemote, bare: Path, what: str
) -> None:
    killed_at("pushed", works[what])
    after = refs(bare)
    done = works[what]()
    assert (done.kind, [f"main {done.commit}"]) == ("unchanged", after) and refs(bare) == after
    standing = current(remote, Target("staging", "retriever"))
    assert standing.pin is not None and standing.pin.release == ("a" if what == "rollback" else "c") * 64
    assert (standing.quarantine.find("b" * 64) is not None) == (what == "rollback")


@pytest.mark.parametrize("step", ["pushed", "proposed"])
@pytest.mark.parametrize("what", ["deploy by pull request", "rollback by pull request"])
def test_killed_between_a_branch_and_its_pull_request_the_next_run_makes_one_of_them(
    works: dict[str, Work], forge: LocalForge, bare: Path, what: str, step: str
) -> None:
    before = refs(bare)
    killed_at(step, works[what])
    done = works[what]()
    assert [p.number for p in forge.all()] == [1]
    assert sorted(refs(bare)) == sorted([*before, f"{done.branch} {done.commit}"])


# Run by git at a moment of a push; kills what `victims` names, then says yes (as far as it is still there).
HOOK = """#!{python}
import os, pathlib, signal
def parent(pid):
    return int(pathlib.Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])
receive = os.getppid()
push = parent(receive)
victims = {{"deploy": [int(pathlib.Path({pid!r}).read_text())], "push": [push], "receive": [receive]}}
for name in {victims!r}:
    for victim in victims[name]:
        os.kill(victim, signal.SIGKILL)
"""


@pytest.mark.parametrize("victims", [["deploy"], ["push"], ["receive"], ["deploy", "push", "receive"]], ids="+".join)
@pytest.mark.parametrize("moment", ["pre-receive", "post-receive"])
def test_killed_within_the_push_the_remote_is_whole_and_the_next_run_finishes(
    run_deploy: Deploy, bare: Path, tmp_path: Path, moment: str, victims: list[str]
) -> None:
    """``pre-receive``: the pack is there and the ref has not moved. ``post-receive``: it moved, nobody was told."""
    (before,) = refs(bare)
    hook = bare / "hooks" / moment
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(python=sys.executable, pid=str(tmp_path / "pid"), victims=victims))
    hook.chmod(0o755)

    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        run_deploy(make_pin())

    assert in_process(work) == (-signal.SIGKILL if "deploy" in victims else 1)
    hook.unlink()
    settle(bare, tmp_path)
    (after,) = refs(bare)
    done = run_deploy(make_pin())
    assert done.kind == ("committed" if after == before else "unchanged")
    if moment == "post-receive":
        assert done.kind == "unchanged"
    assert git("rev-list", "main", cwd=bare).split() == [done.commit, before.split()[1]]


def settle(bare: Path, tmp_path: Path) -> None:
    """Wait for git processes that outlived the deploy: they are in sessions of their own and end by themselves."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(
        _works_on(process, str(bare)) for process in Path("/proc").glob("[0-9]*")
    ):
        time.sleep(0.01)


def _works_on(process: Path, repository: str) -> bool:
    try:
        return repository in (process / "cmdline").read_text(errors="replace").replace("file://", "")
    except OSError:
        return False


LEFTOVERS = ["refs/rankops/remote/main.lock", "packed-refs.lock", "shallow.lock", "index.lock", "config.lock"]
LEFTOVERS += ["HEAD.lock", "objects/info/commit-graph.lock", "objects/info/commit-graphs/commit-graph-chain.lock"]


def test_locks_that_killed_processes_left_in_the_mirror_stop_nobody(
    run_deploy: Deploy, remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    run_deploy(make_pin())
    for name in [*LEFTOVERS, "gc.pid", "objects/pack/tmp_pack_abandoned", "objects/pack/tmp_pack_young"]:
        (remote.mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (remote.mirror / name).touch()
    os.utime(remote.mirror / "objects/pack/tmp_pack_abandoned", (0, 0))
    for lock in remote.mirror.parent.glob("*.lock"), remote.mirror.parent.glob("*.turn"):
        assert all(path.is_file() for path in lock)  # our own: files without a holder
    human_edit(bare, tmp_path / "clone", "README.md", "moves the branch\n")
    done = run_deploy(make_pin(release="b" * 64))
    assert done.kind == "committed" and git("rev-parse", "main", cwd=bare).strip() == done.commit
    assert [p.name for p in remote.mirror.rglob("*.lock")] == []
    assert sorted(p.name for p in remote.mirror.glob("objects/pack/tmp_*")) == ["tmp_pack_young"]


def test_a_fetch_that_outlives_its_killed_process_is_waited_for_and_not_disturbed(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock on the mirror belongs to the git that writes there, and ends with it."""
    fetching, going = tmp_path / "fetching", tmp_path / "going"
    os.mkfifo(going)
    ssh = tmp_path / "ssh"  # a connection that is slow the first time
    ssh.write_text(
        f"#!/bin/sh\nif [ ! -e {fetching} ]; then touch {fetching}; read line < {going}; fi\n"
        'eval "command=\\${$#}"\nexec sh -c "$command"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    remote = GitRemote(f"ssh://host{bare}", tmp_path / "state")
    first = started(lambda: remote.fetch("main"))
    deadline = time.monotonic() + 30
    while not fetching.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    first.kill()
    first.join(30)
    second = started(lambda: remote.fetch("main"))
    second.join(0.3)
    assert second.exitcode is None and remote.tip("main") is None  # it waits
    going.write_text("go\n")
    second.join(60)
    assert second.exitcode == 0 and remote.tip("main") == git("rev-parse", "main", cwd=bare).strip()


def started(work: Callable[[], None]) -> Any:
    """``work`` in a process that has begun."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process
