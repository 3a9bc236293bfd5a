"""Many processes at once, against one real repository. What happens to those that die is ``test_kills.py``."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import OverlayConflict
from rankops.overlays.component import read_component
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.overlays.trailers import read_commit
from tests.overlays_deploy.conftest import Deploy, git, make_pin, write_overlays

CROWD = 20
MODELS = [f"model-{i}" for i in range(CROWD)]
# Each machine has a mirror of its own; the processes of one machine share theirs.
MACHINES = pytest.mark.parametrize("machines", [1, CROWD], ids=["one machine", "twenty machines"])


def at_once(works: list[Callable[[], None]]) -> list[int | None]:
    """Start all, let them begin together, and return their exit codes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        barrier.wait(60)
        work()

    processes = [context.Process(target=run, args=(work,)) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def many_overlays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overlays(tmp_path_factory.mktemp("many") / "k8s-overlays", MODELS)


@pytest.fixture
def bare(tmp_path: Path, many_overlays: Path) -> Path:
    create_bare_remote(tmp_path / "remote.git", many_overlays, None)
    git("config", "receive.denyNonFastForwards", "false", cwd=tmp_path / "remote.git")  # nothing may rely on it
    return tmp_path / "remote.git"


def crowd(run_deploy: Deploy, bare: Path, tmp_path: Path, machines: int, pin_of: Callable[[int], Any]) -> list[Any]:
    """Twenty processes deploy ``pin_of(i)`` at once; returns ``[kind, commit, what it supersedes]`` of each."""

    def work(i: int) -> Callable[[], None]:
        def go() -> None:
            remote = GitRemote(bare.as_uri(), tmp_path / f"machine-{i % machines}")
            try:
                done = run_deploy(pin_of(i), remote=remote)
                result = [done.kind, done.commit, done.supersedes]
            except OverlayConflict as conflict:
                result = ["conflict", str(conflict), None]
            (tmp_path / f"done-{i}").write_text(json.dumps(result))

        return go

    assert at_once([work(i) for i in range(CROWD)]) == [0] * CROWD
    git("fsck", "--full", "--strict", cwd=bare)
    return [json.loads((tmp_path / f"done-{i}").read_text()) for i in range(CROWD)]


@MACHINES
def test_twenty_processes_deploy_twenty_models_and_no_commit_is_lost_or_doubled(
    run_deploy: Deploy, bare: Path, tmp_path: Path, machines: int
) -> None:
    outcomes = crowd(run_deploy, bare, tmp_path, machines, lambda i: make_pin(model=MODELS[i], release=f"{i:064x}"))
    assert [kind for kind, *_ in outcomes] == ["committed"] * CROWD
    log = git("rev-list", "main", cwd=bare).split()
    assert len(log) == CROWD + 1 and set(log[:-1]) == {commit for _, commit, _ in outcomes}
    for i, model in enumerate(MODELS):
        path = f"k8s-overlays/overlays/staging/{model}/release/kustomization.yaml"
        assert read_component(git("show", f"main:{path}", cwd=bare)).release == f"{i:064x}"


@MACHINES
def test_twenty_releases_of_one_model_end_in_commits_and_conflicts_and_never_in_a_silent_overwrite(
    run_deploy: Deploy, bare: Path, tmp_path: Path, machines: int
) -> None:
    outcomes = crowd(run_deploy, bare, tmp_path, machines, lambda i: make_pin(model=MODELS[0], release=f"{i:064x}"))
    assert {kind for kind, *_ in outcomes} <= {"committed", "conflict"}
    made = {commit: supersedes for kind, commit, supersedes in outcomes if kind == "committed"}
    log = git("rev-list", "main", cwd=bare).split()
    assert list(made) and set(made) == set(log[:-1]) and len(made) == len(log) - 1
    remote, standing = GitRemote(bare.as_uri(), tmp_path / "reader"), None
    remote.fetch("main")
    for sha in reversed(log[:-1]):  # each commit knew what it replaced
        trailers = read_commit(remote, sha).trailers
        assert trailers is not None and trailers.supersedes == made[sha] == standing
        standing = trailers.release
    for _, words, _ in [outcome for outcome in outcomes if outcome[0] == "conflict"]:
        assert "was changed while we deployed" in words and "deploy again" in words


@MACHINES
def test_one_release_deployed_by_twenty_processes_is_one_commit_that_all_report(
    run_deploy: Deploy, bare: Path, tmp_path: Path, machines: int
) -> None:
    outcomes = crowd(run_deploy, bare, tmp_path, machines, lambda i: make_pin(model=MODELS[0], dagster_run=f"run-{i}"))
    (head, _) = git("rev-list", "main", cwd=bare).split()
    assert [commit for _, commit, _ in outcomes] == [head] * CROWD
    assert sorted(kind for kind, *_ in outcomes) == ["committed"] + ["unchanged"] * (CROWD - 1)
