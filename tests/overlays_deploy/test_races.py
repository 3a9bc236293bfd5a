"""Many processes at once, and processes that die: against one real repository."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from rankops.errors import OverlayConflict
from rankops.overlays.component import read_component
from rankops.overlays.deploy import DeployRequest
from rankops.overlays.mirror import GitRemote
from rankops.overlays.trailers import read_commit
from tests.overlays_deploy.conftest import Deploy, git, in_process, make_pin

PUSH_STEPS = ["fetched", "verified", "exported", "written", "rendered", "validated", "committed", "pushed"]


def at_once(works: list) -> list[int]:
    """Start all, let them begin together, and return their exit codes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(works))

    def run(work) -> None:
        barrier.wait(60)
        work()

    processes = [context.Process(target=run, args=(work,)) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def test_eight_processes_deploy_eight_models_and_no_commit_is_lost(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    """Half of them share a machine's mirror, half have one each, as on machines of their own."""

    def work(i: int):
        state = tmp_path / ("shared" if i < 4 else f"machine-{i}")
        pin = make_pin(model=f"model-{i}", release=f"{i}" * 64)

        def go() -> None:
            done = run_deploy(pin, remote=GitRemote(bare.as_uri(), state))
            (tmp_path / f"done-{i}").write_text(json.dumps([done.kind, done.commit, done.attempts]))

        return go

    assert at_once([work(i) for i in range(8)]) == [0] * 8
    outcomes = [json.loads((tmp_path / f"done-{i}").read_text()) for i in range(8)]
    assert {kind for kind, _, _ in outcomes} == {"committed"}
    log = git("rev-list", "main", cwd=bare).split()
    assert len(log) == 9 and set(log[:-1]) == {commit for _, commit, _ in outcomes}
    for i in range(8):
        path = f"k8s-overlays/overlays/staging/model-{i}/release/kustomization.yaml"
        assert read_component(git("show", f"main:{path}", cwd=bare)).release == f"{i}" * 64


def test_eight_processes_deploying_one_model_end_in_a_commit_a_no_op_or_a_conflict(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    """Two releases, four runs each: nobody overwrites what they did not see."""

    def work(i: int):
        pin = make_pin(release=("a" if i % 2 else "b") * 64, dagster_run=f"run-{i}")

        def go() -> None:
            try:
                done = run_deploy(pin, remote=GitRemote(bare.as_uri(), tmp_path / f"machine-{i % 4}"))
                result = [done.kind, done.commit, done.supersedes]
            except OverlayConflict as conflict:
                result = ["conflict", str(conflict), None]
            (tmp_path / f"done-{i}").write_text(json.dumps(result))

        return go

    assert at_once([work(i) for i in range(8)]) == [0] * 8
    outcomes = [json.loads((tmp_path / f"done-{i}").read_text()) for i in range(8)]
    made = [commit for kind, commit, _ in outcomes if kind == "committed"]
    log = git("rev-list", "main", cwd=bare).split()
    assert set(made) == set(log[:-1]) and len(made) == len(log) - 1 >= 1
    assert {kind for kind, _, _ in outcomes} <= {"committed", "unchanged", "conflict"}
    remote = GitRemote(bare.as_uri(), tmp_path / "reader")
    remote.fetch("main")
    standing = None
    for sha in reversed(log[:-1]):  # each commit knew what it replaced
        trailers = read_commit(remote, sha).trailers
        assert trailers is not None and trailers.supersedes == standing and trailers.release != standing
        standing = trailers.release


@pytest.mark.parametrize("step", PUSH_STEPS)
def test_killed_at_any_step_the_remote_is_before_or_after_and_the_next_run_finishes(
    run_deploy: Deploy, bare: Path, step: str
) -> None:
    before = git("rev-parse", "main", cwd=bare).strip()

    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(lambda: run_deploy(make_pin(), checkpoint=die)) == -signal.SIGKILL
    git("fsck", "--full", "--strict", cwd=bare)
    after_kill = git("rev-parse", "main", cwd=bare).strip()
    assert (after_kill != before) == (step == "pushed")
    done = run_deploy(make_pin(dagster_run="run-2"))
    assert done.kind == ("unchanged" if step == "pushed" else "committed")
    assert git("rev-list", "main", cwd=bare).split() == [done.commit, before]
    assert not list(bare.rglob("*.lock"))


def test_killed_while_the_remote_has_accepted_but_not_answered_the_next_run_sees_the_commit(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    hook = bare / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nkill -9 $(cat {tmp_path}/pid)\n")
    hook.chmod(0o755)

    def work() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        run_deploy(make_pin())

    assert in_process(work) == -signal.SIGKILL
    hook.unlink()
    done = run_deploy(make_pin())
    assert done.kind == "unchanged"
    assert done.commit == git("rev-parse", "main", cwd=bare).strip()


@pytest.mark.parametrize("step", ["committed", "pushed", "proposed"])
def test_a_proposal_killed_at_any_step_becomes_one_pull_request(
    run_deploy: Deploy, remote: GitRemote, bare: Path, tmp_path: Path, step: str
) -> None:
    from rankops.forge.local import LocalForge

    forge = LocalForge(tmp_path / "forge", remote)
    request = DeployRequest(make_pin(environment="production"), policy="pull-request")

    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(lambda: run_deploy(request, forge=forge, checkpoint=die)) == -signal.SIGKILL
    done = run_deploy(request, forge=forge)
    assert [p.number for p in forge.all()] == [1]
    branches = git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads/rankops", cwd=bare)
    assert branches.split() == [done.branch, done.commit]
