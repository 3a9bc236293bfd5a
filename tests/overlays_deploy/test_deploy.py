from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import (
    BadInput,
    GateFailed,
    IntegrityError,
    InvalidOverlay,
    OverlayConflict,
    RemoteUnavailable,
    ToolMissing,
)
from rankops.overlays.component import read_component, render_component
from rankops.overlays.deploy import DeployRequest
from rankops.overlays.evidence import evidence_verifier
from rankops.overlays.git import PushRefused
from rankops.overlays.history import current_pin, last_commit_for
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.quarantine import Quarantine
from rankops.overlays.seed import create_bare_remote
from rankops.overlays.transaction import Target
from tests.overlays_deploy.conftest import WHEN, Deploy, git, human_edit, make_pin

TARGET = Target("staging", "retriever")
COMPONENT = "k8s-overlays/overlays/staging/retriever/release/kustomization.yaml"


def heads(bare: Path) -> list[str]:
    return git("rev-list", "main", cwd=bare).split()


def test_the_first_deploy_is_one_commit_of_one_file_with_all_its_trailers(
    run_deploy: Deploy, remote: GitRemote, bare: Path
) -> None:
    before = heads(bare)
    said: list[str] = []
    done = run_deploy(DeployRequest(make_pin(), why="drift: new slang"), progress=said.append)
    assert (done.kind, done.branch, done.attempts, done.supersedes) == ("committed", "main", 1, None)
    assert heads(bare) == [done.commit, *before]
    assert git("diff", "--name-only", "main~1", "main", cwd=bare).split() == [COMPONENT]
    assert read_component(git("show", f"main:{COMPONENT}", cwd=bare)) == make_pin()
    assert git("log", "-1", "--format=%B", cwd=bare).strip() == (
        "deploy(staging): retriever to release aaaaaaaaaaaa\n\n"
        "staging/retriever gets release aaaaaaaaaaaa (the first release here).\ndrift: new slang\n\n"
        f"Rankops-Model: retriever\nRankops-Release: {'a' * 64}\nRankops-Environment: staging\n"
        f"Dagster-Run-Id: run-1\nMLflow-Run-Id: 1234\nDataset-Hash: {'d' * 64}"
    )
    assert done.overlay_path == "k8s-overlays/overlays/staging/retriever"
    assert f"+++ b/{COMPONENT}" in done.diff and "+image: rankops-server@sha256:" in done.rendered_diff
    assert current_pin(remote, TARGET) == make_pin()
    record = last_commit_for(remote, done.commit, TARGET)
    assert record is not None and record.commit.when == WHEN
    assert record.trailers is not None and record.trailers.release == "a" * 64
    assert any("pushing" in line for line in said)


def test_the_same_release_again_makes_no_commit_whichever_run_asks(run_deploy: Deploy, bare: Path) -> None:
    first = run_deploy(make_pin())
    again = run_deploy(make_pin(dagster_run="run-2", mlflow_run="9"))
    assert (again.kind, again.commit, again.diff, again.rendered_diff) == ("unchanged", first.commit, "", "")
    assert again.pin.dagster_run == "run-1"
    assert heads(bare)[0] == first.commit


def test_a_standing_commit_is_reported_even_after_others_committed_elsewhere(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    first = run_deploy(make_pin())
    human_edit(bare, tmp_path / "clone", "README.md", "hello\n")
    assert run_deploy(make_pin()).commit == first.commit


def test_another_release_supersedes_and_another_image_is_a_change_too(run_deploy: Deploy) -> None:
    run_deploy(make_pin())
    second = run_deploy(make_pin(release="b" * 64))
    assert (second.kind, second.supersedes) == ("committed", "a" * 64)
    assert f'-    rankops.dev/release: "{"a" * 64}"' in second.diff
    third = run_deploy(make_pin(release="b" * 64, image_digest="sha256:" + "9" * 64))
    assert (third.kind, third.supersedes) == ("committed", "a" * 64)
    assert "+image: rankops-server@sha256:999" in third.rendered_diff


def test_what_people_write_beside_the_release_is_kept(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    run_deploy(make_pin())
    mine = human_edit(bare, tmp_path / "clone", COMPONENT.replace("release/", ""), "components: [release]\n# 3 pods\n")
    done = run_deploy(make_pin(release="b" * 64))
    assert heads(bare)[:2] == [done.commit, mine]
    assert "# 3 pods" in git("show", f"main:{COMPONENT.replace('release/', '')}", cwd=bare)


def test_a_human_edit_of_our_file_is_a_conflict_that_names_file_commit_author_and_remedy(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    run_deploy(make_pin())
    text = git("show", f"main:{COMPONENT}", cwd=bare)
    sha = human_edit(bare, tmp_path / "clone", COMPONENT, text.replace("a" * 64, "f" * 64))
    for release in ("a", "b"):
        with pytest.raises(OverlayConflict) as error:
            run_deploy(make_pin(release=release * 64))
        for part in (COMPONENT, sha[:12], "Ada <ada@example.org>", "UTC", "revert"):
            assert part in str(error.value)
    assert heads(bare)[0] == sha


def test_a_release_folder_copied_from_another_overlay_is_noticed(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    human_edit(bare, tmp_path / "clone", COMPONENT, render_component(make_pin(model="model-1")))
    with pytest.raises(OverlayConflict, match="belongs to staging/model-1"):
        run_deploy(make_pin())


def test_an_overlay_that_does_not_exist_is_named(run_deploy: Deploy, bare: Path) -> None:
    before = heads(bare)
    with pytest.raises(InvalidOverlay, match=r"has no k8s-overlays/overlays/staging/unknown/kustomization\.yaml"):
        run_deploy(make_pin(model="unknown"))
    assert heads(bare) == before


@pytest.mark.parametrize(
    "broken", [ToolMissing("kustomize is not installed", "run make setup"), InvalidOverlay("does not build")]
)
def test_without_kustomize_or_a_valid_build_nothing_is_pushed(
    run_deploy: Deploy, bare: Path, broken: Exception
) -> None:
    before = heads(bare)

    def fail(_: object) -> Any:
        raise broken

    with pytest.raises(type(broken)):
        run_deploy(make_pin(), render=fail)
    with pytest.raises(type(broken)):
        run_deploy(make_pin(), validate=fail)
    assert heads(bare) == before


def test_a_rendering_that_ignores_the_pin_is_refused(run_deploy: Deploy, bare: Path) -> None:
    from tests.overlays_deploy.conftest import Rendered, fake_render

    def forgetful(folder: Path) -> Rendered:
        rendered = fake_render(folder)
        rendered.objects[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "rankops-server:latest"
        return rendered

    before = heads(bare)
    with pytest.raises(InvalidOverlay, match="does not pin release"):
        run_deploy(make_pin(), render=forgetful)
    assert heads(bare) == before


def test_a_quarantined_digest_is_refused_from_git_itself(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    path = "k8s-overlays/overlays/staging/retriever/quarantine.yaml"
    human_edit(bare, tmp_path / "clone", path, f"- digest: {'a' * 64}\n  reason: crashed\n  since: 2026-01-01\n")
    asked: list[Quarantine] = []
    with pytest.raises(GateFailed, match=rf"quarantined since 2026-01-01: crashed \({re.escape(path)}\)"):
        run_deploy(make_pin(), verify=lambda _, quarantine: asked.append(quarantine))
    assert asked[0].find("a" * 64) is not None
    assert run_deploy(make_pin(release="b" * 64)).kind == "committed"


def test_a_release_changed_by_one_byte_is_refused_before_anything_is_written(
    run_deploy: Deploy, bare: Path, release: Any, keys: Any
) -> None:
    folder, manifest = release
    verify = evidence_verifier(folder, public_key=keys[1], target="cpu-avx2")
    pin = make_pin(release=manifest.digest)
    weights = folder / "encoder" / "model.onnx"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"!")
    before, steps = heads(bare), []
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        run_deploy(pin, verify=verify, checkpoint=steps.append)
    assert steps == ["fetched"] and heads(bare) == before
    weights.write_bytes(good)
    assert run_deploy(pin, verify=verify).kind == "committed"
    # also where the release stands already: the evidence is asked for each time
    weights.write_bytes(good[:-1] + b"!")
    with pytest.raises(IntegrityError):
        run_deploy(pin, verify=verify)


def test_overlays_that_trust_another_key_are_refused(run_deploy: Deploy, bare: Path) -> None:
    with pytest.raises(GateFailed, match=r"release-signing\.pub on main is another key"):
        run_deploy(DeployRequest(make_pin(), trusted_key="-----BEGIN PUBLIC KEY-----\nxyz\n"))
    assert run_deploy(DeployRequest(make_pin(), trusted_key="placeholder")).kind == "committed"


def test_the_steps_come_in_the_order_of_the_contract(run_deploy: Deploy) -> None:
    steps: list[str] = []
    run_deploy(make_pin(), checkpoint=steps.append)
    assert steps == ["fetched", "verified", "exported", "written", "rendered", "validated", "committed", "pushed"]
    steps.clear()
    run_deploy(make_pin(), checkpoint=steps.append)
    assert steps == ["fetched", "verified", "exported", "written", "rendered", "validated"]


def test_an_unreachable_remote_is_named_and_loses_nothing(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    run_deploy(make_pin())
    away = bare.rename(tmp_path / "away.git")
    with pytest.raises(RemoteUnavailable, match=r"remote\.git"):
        run_deploy(make_pin(release="b" * 64))
    away.rename(bare)
    assert run_deploy(make_pin(release="b" * 64)).kind == "committed"


def test_a_remote_that_goes_away_before_the_push_is_named_and_running_again_finishes(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    def vanish(step: str) -> None:
        if step == "committed":
            bare.rename(tmp_path / "away.git")

    with pytest.raises(RemoteUnavailable, match="no Git repository"):
        run_deploy(make_pin(), checkpoint=vanish)
    (tmp_path / "away.git").rename(bare)
    assert len(heads(bare)) == 1
    assert run_deploy(make_pin()).kind == "committed"


def test_a_protected_branch_is_refused_once_and_not_retried(run_deploy: Deploy, bare: Path) -> None:
    hook = bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho GH006: protected branch >&2\nexit 1\n")
    hook.chmod(0o755)
    steps: list[str] = []
    with pytest.raises(PushRefused, match="protected branch"):
        run_deploy(make_pin(), checkpoint=steps.append)
    assert steps.count("fetched") == 1


def race(bare: Path, tmp_path: Path, path: str, text: str, times: int = 1) -> Any:
    """A checkpoint hook: right before our push, a person pushes."""
    done: list[str] = []

    def hook(step: str) -> None:
        if step == "committed" and len(done) < times:
            done.append(human_edit(bare, tmp_path / "racer", path, f"{text}# {len(done)}\n"))

    return hook


def test_a_lost_race_is_won_on_the_new_head_without_building_again(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    from tests.overlays_deploy.conftest import fake_render

    rendered: list[Path] = []

    def counting(folder: Path) -> Any:
        rendered.append(folder)
        return fake_render(folder)

    done = run_deploy(make_pin(), render=counting, checkpoint=race(bare, tmp_path, "README.md", "", times=3))
    assert (done.kind, done.attempts, len(rendered)) == ("committed", 4, 1)
    assert len(heads(bare)) == 5 and git("show", "main:README.md", cwd=bare) == "# 2\n"


def test_a_lost_race_that_changed_what_the_build_reads_builds_again(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    path = "k8s-overlays/overlays/staging/retriever/kustomization.yaml"
    done = run_deploy(make_pin(), checkpoint=race(bare, tmp_path, path, "components: [release]\n"))
    assert "people: components: [release]\n+# 0" in done.rendered_diff


def test_somebody_elses_deploy_of_our_file_meanwhile_is_a_conflict(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    run_deploy(make_pin())
    other = GitRemote(bare.as_uri(), tmp_path / "other-state")

    def meanwhile(step: str) -> None:
        if step == "committed":
            run_deploy(make_pin(release="9" * 64), remote=other)

    with pytest.raises(OverlayConflict, match=r"was changed while we deployed: [0-9a-f]{12} by rankops deploy"):
        run_deploy(make_pin(release="b" * 64), checkpoint=meanwhile)


def test_the_same_release_deployed_meanwhile_by_another_run_is_no_change(
    run_deploy: Deploy, bare: Path, tmp_path: Path
) -> None:
    other = GitRemote(bare.as_uri(), tmp_path / "other-state")
    theirs: list[str] = []

    def meanwhile(step: str) -> None:
        if step == "committed" and not theirs:
            theirs.append(run_deploy(make_pin(dagster_run="run-0"), remote=other).commit)

    done = run_deploy(make_pin(), checkpoint=meanwhile)
    assert (done.kind, done.commit, done.attempts) == ("unchanged", theirs[0], 2)


def test_a_digest_quarantined_meanwhile_is_refused(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    path = "k8s-overlays/overlays/staging/retriever/quarantine.yaml"
    text = f"- digest: {'a' * 64}\n  reason: crashed\n  since: 2026-01-01\n"
    with pytest.raises(GateFailed, match="crashed"):
        run_deploy(make_pin(), checkpoint=race(bare, tmp_path, path, text))


def test_endless_lost_races_end_with_a_clear_error(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    hook = race(bare, tmp_path, "README.md", "", times=99)
    with pytest.raises(RemoteUnavailable, match="others pushed first 3 times"):
        run_deploy(make_pin(), checkpoint=hook, attempts=3)


def test_a_lock_that_a_killed_git_left_in_the_remote_is_named_with_its_path(run_deploy: Deploy, bare: Path) -> None:
    """It is the remote's file and may be somebody's who is alive, so it is not ours to remove."""
    lock = bare / "refs" / "heads" / "main.lock"
    lock.touch()
    with pytest.raises(RemoteUnavailable, match=r"main does not move.*main\.lock': File exists") as error:
        run_deploy(make_pin(), sleep=lambda _: None)
    assert "remove it once no git runs there" in str(error.value)
    lock.unlink()
    assert run_deploy(make_pin()).kind == "committed"


def test_the_users_checkout_is_untouched_even_from_within_a_git_hook(
    run_deploy: Deploy, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "users"
    git("clone", "--quiet", str(bare), str(clone))
    (clone / "k8s-overlays" / "base" / "server" / "kustomization.yaml").write_text("half-done\n")
    (clone / "untracked").write_text("mine")

    def state() -> dict[str, str]:
        files = [p for p in clone.rglob("*") if p.is_file()]
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = state()
    monkeypatch.chdir(clone)
    monkeypatch.setenv("GIT_DIR", str(clone / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(clone / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(clone))
    assert run_deploy(make_pin()).kind == "committed"
    assert state() == before


def test_a_monorepository_may_keep_its_overlays_anywhere(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    layout = OverlayLayout(root="platform/search/k8s")
    folder = "platform/search/k8s/overlays/staging/retriever/kustomization.yaml"
    human_edit(bare, tmp_path / "clone", folder, "components: [release]\n")
    done = run_deploy(DeployRequest(make_pin(), layout=layout))
    assert git("diff", "--name-only", "main~1", "main", cwd=bare).split() == [
        "platform/search/k8s/overlays/staging/retriever/release/kustomization.yaml"
    ]
    assert done.overlay_path == "platform/search/k8s/overlays/staging/retriever"


def test_a_repository_of_overlays_and_nothing_else_has_them_at_its_root(
    run_deploy: Deploy, overlays: Path, tmp_path: Path
) -> None:
    layout = OverlayLayout(root=".")
    create_bare_remote(tmp_path / "own.git", overlays, None, layout=layout)
    remote = GitRemote((tmp_path / "own.git").as_uri(), tmp_path / "state")
    done = run_deploy(DeployRequest(make_pin(), layout=layout), remote=remote)
    component = "overlays/staging/retriever/release/kustomization.yaml"
    assert git("diff", "--name-only", "main~1", "main", cwd=tmp_path / "own.git").split() == [component]
    assert (done.overlay_path, done.kind) == ("overlays/staging/retriever", "committed")
    assert run_deploy(DeployRequest(make_pin(), layout=layout), remote=remote).commit == done.commit
    quarantine = f"- digest: {'b' * 64}\n  reason: crashed\n  since: 2026-01-01\n"
    human_edit(tmp_path / "own.git", tmp_path / "clone", "overlays/staging/retriever/quarantine.yaml", quarantine)
    with pytest.raises(GateFailed, match="crashed"):
        run_deploy(DeployRequest(make_pin(release="b" * 64), layout=layout), remote=remote)
    for outside in ("../k8s", "/etc"):
        with pytest.raises(BadInput, match="outside the repository"):
            OverlayLayout(root=outside)


def test_what_else_lies_in_a_monorepository_is_neither_fetched_nor_changed(
    run_deploy: Deploy, remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    """A large file, an LFS pointer, a submodule, a link and a program, beside the overlays."""
    clone = tmp_path / "clone"
    human_edit(bare, clone, "README.md", "mono\n")
    (clone / "big.bin").write_bytes(os.urandom(3_000_000))
    (clone / "model.lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    (clone / "run.sh").write_text("#!/bin/sh\n")
    (clone / "run.sh").chmod(0o755)
    (clone / "link").symlink_to("../outside")
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendored", cwd=clone)
    (clone / ".gitmodules").write_text('[submodule "vendored"]\n\tpath = vendored\n\turl = https://example.org/x\n')
    git("add", "--all", "--", ".gitmodules", "big.bin", "model.lfs", "run.sh", "link", cwd=clone)
    git("commit", "--quiet", "-m", "mono", cwd=clone)
    git("push", "--quiet", "origin", "HEAD:main", cwd=clone)
    before = git("ls-tree", "-r", "main", cwd=bare).splitlines()
    done = run_deploy(make_pin())
    after = git("ls-tree", "-r", done.commit, cwd=bare).splitlines()
    assert {line.split("\t")[1] for line in set(before) ^ set(after)} == {COMPONENT}
    here = sum(file.stat().st_size for file in remote.mirror.rglob("*") if file.is_file())
    assert here < 500_000


def test_a_component_that_is_no_text_is_a_conflict_and_no_crash(run_deploy: Deploy, bare: Path, tmp_path: Path) -> None:
    human_edit(bare, tmp_path / "clone", "x", "x")
    (tmp_path / "clone" / COMPONENT).write_bytes(b"\xff\xfe\x00")
    human_edit(bare, tmp_path / "clone", "y", "y")
    with pytest.raises(OverlayConflict, match="is not UTF-8 text"):
        run_deploy(make_pin())
