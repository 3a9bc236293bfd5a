from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rankops.errors import InvalidOverlay, OverlayConflict
from rankops.overlays import plumbing
from rankops.overlays.git import LostRace, PushRefused
from rankops.overlays.mirror import GitRemote
from tests.overlays_deploy.conftest import WHEN, git, human_edit

STAGING = "k8s-overlays/overlays/staging"


def test_an_export_is_what_git_holds_byte_for_byte_and_nothing_else(
    remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    awkward = "line\r\n$Id$ \u00e4\n"
    human_edit(bare, tmp_path / "clone", ".gitattributes", "* text eol=crlf ident\n*.txt export-ignore\n")
    human_edit(bare, tmp_path / "clone", f"{STAGING}/model-0/notes with space.txt", awkward)
    head = remote.head("main")
    paths = ["k8s-overlays/base", f"{STAGING}/model-0"]
    fingerprint = remote.export(head, paths, tmp_path / "out")
    name = f"{STAGING}/model-0/notes with space.txt"
    held = subprocess.run(["git", "cat-file", "blob", f"{head}:{name}"], cwd=bare, capture_output=True, check=True)
    assert (tmp_path / "out" / name).read_bytes() == held.stdout
    assert b"$Id$" in held.stdout  # git's own checkout would expand it, and `git archive` would leave the file out
    assert sorted(p.name for p in (tmp_path / "out" / STAGING).iterdir()) == ["model-0"]
    assert fingerprint == remote.fingerprint(head, paths) != remote.fingerprint(head, [f"{STAGING}/model-1"])


def test_a_symbolic_link_out_of_the_repository_is_refused(remote: GitRemote, bare: Path, tmp_path: Path) -> None:
    human_edit(bare, tmp_path / "clone", "x", "x")
    link = tmp_path / "clone" / STAGING / "model-0" / "secret.yaml"
    link.symlink_to("../../../../../../etc/passwd")
    human_edit(bare, tmp_path / "clone", "y", "y")
    with pytest.raises(InvalidOverlay, match=r"secret\.yaml is a symbolic link"):
        remote.export(remote.head("main"), [STAGING], tmp_path / "out")
    with pytest.raises(OverlayConflict, match="not a plain file"):
        remote.read(remote.head("main"), f"{STAGING}/model-0/secret.yaml")


def test_a_commit_changes_only_its_files_and_nothing_moves_before_the_push(remote: GitRemote, bare: Path) -> None:
    head = remote.head("main")
    removed = f"{STAGING}/model-1/kustomization.yaml"
    made = remote.commit(head, {f"{STAGING}/model-0/new.yaml": "a: 1\n", removed: None}, "words\n", when=WHEN)
    assert git("rev-parse", "main", cwd=bare).strip() == head
    remote.push(made, "main")
    changed = git("diff", "--name-status", head, made, cwd=bare).split("\n")
    assert changed == [f"A\t{STAGING}/model-0/new.yaml", f"D\t{removed}", ""]
    info = remote.info(made)
    assert (info.when, info.parents, info.message) == (WHEN, (head,), "words\n")


def test_a_push_that_came_second_is_a_lost_race_and_loses_nothing(remote: GitRemote, bare: Path) -> None:
    head = remote.head("main")
    first, second = (remote.commit(head, {name: "x\n"}, name, when=WHEN) for name in ("one", "two"))
    remote.push(first, "main")
    with pytest.raises(LostRace, match="moved while we pushed"):
        remote.push(second, "main")
    assert git("rev-parse", "main", cwd=bare).strip() == first


def test_a_ref_that_is_being_written_by_another_push_is_a_lost_race_too(remote: GitRemote, bare: Path) -> None:
    made = remote.commit(remote.head("main"), {"one": "x\n"}, "one", when=WHEN)
    lock = bare / "refs" / "heads" / "main.lock"
    lock.write_text("")
    with pytest.raises(LostRace):
        remote.push(made, "main")
    lock.unlink()
    remote.push(made, "main")


def test_a_rule_of_the_remote_is_no_race_and_its_words_reach_the_error(remote: GitRemote, bare: Path) -> None:
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho main is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    made = remote.commit(remote.head("main"), {"one": "x\n"}, "one", when=WHEN)
    with pytest.raises(PushRefused, match=r"pre-receive hook declined.*main is protected"):
        remote.push(made, "main")


def test_a_merge_keeps_both_sides_and_a_real_conflict_is_refused(remote: GitRemote, bare: Path) -> None:
    head = remote.head("main")
    remote.push(remote.commit(head, {"one": "1\n"}, "one", when=WHEN), "topic")
    remote.push(remote.commit(head, {"two": "2\n"}, "two", when=WHEN), "main")
    merged = remote.merge_branch("topic", "main", "Merge\n", when=WHEN)
    assert remote.read(merged, "one", "none", "two") == ["1\n", None, "2\n"]
    assert remote.merge_branch("topic", "main", "Merge\n", when=WHEN) == merged
    remote.push(remote.commit(head, {"two": "other\n"}, "conflict", when=WHEN), "clash")
    with pytest.raises(OverlayConflict, match="clash and main changed the same lines"):
        remote.merge_branch("clash", "main", "Merge\n", when=WHEN)
    assert remote.head("main") == merged


def test_a_branch_is_deleted_only_where_it_still_is_what_we_saw(remote: GitRemote) -> None:
    head = remote.head("main")
    made = remote.commit(head, {"one": "1\n"}, "one", when=WHEN)
    remote.push(made, "rankops/staging/x/1")
    with pytest.raises(LostRace):
        remote.delete_branch("rankops/staging/x/1", head)
    remote.fetch("main", "rankops/staging/x/*")
    assert remote.branches("rankops/staging/x/") == {"rankops/staging/x/1": made}
    remote.delete_branch("rankops/staging/x/1", made)
    remote.fetch("main", "rankops/staging/x/*")
    assert remote.branches("rankops/staging/x/") == {}


def test_a_mirror_of_many_small_fetches_is_packed_and_loses_nothing(
    remote: GitRemote, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plumbing, "_MANY_PACKS", 3)
    first = remote.head("main")
    unpushed = remote.commit(first, {"mine": "not pushed yet\n"}, "mine", when=WHEN)
    for number in range(3):
        human_edit(bare, tmp_path / "clone", "README.md", f"{number}\n")
        remote.read(remote.head("main"), "README.md")
    head = remote.head("main")
    assert len(list(remote.mirror.glob("objects/pack/*.pack"))) <= 2
    assert remote.read(head, "README.md") == ["2\n"] and remote.read(unpushed, "mine") == ["not pushed yet\n"]
    remote.push(unpushed, "topic")
    git("fsck", "--full", "--strict", cwd=bare)


def test_a_turn_is_waited_for_only_so_long(remote: GitRemote, tmp_path: Path) -> None:
    other = GitRemote(remote.url.address, tmp_path / "state")
    with remote.turn(1) as mine, other.turn(0.02) as theirs:
        assert (mine, theirs) == (True, False)
    with other.turn(0.02) as theirs:
        assert theirs


def test_a_commit_of_many_folders_is_the_tree_that_git_itself_would_write(
    remote: GitRemote, bare: Path, tmp_path: Path
) -> None:
    """Names around the slash in ASCII order are where a hand-written tree goes wrong."""
    awkward = [
        "a/b",
        "a.b/c",
        "a-b/c",
        "a0",
        "ab/c/d/e",
        "k8s-overlays/zz",
        "k8s-overlays.txt",
        "k8s-overlays-x/y",
        "ä/ö",
    ]
    head = remote.head("main")
    made = remote.commit(head, {name: f"{name}\n" for name in awkward}, "many", when=WHEN)
    gone = remote.commit(made, {"ab/c/d/e": None, "never/there": None}, "remove", when=WHEN)
    remote.push(gone, "main")
    git("fsck", "--full", "--strict", cwd=bare)
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--no-checkout", str(bare), str(clone))
    git("checkout", "--quiet", head, cwd=clone)
    for name in awkward:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(f"{name}\n")
    for commit, remove in ((made, None), (gone, "ab")):
        if remove:
            git("rm", "-r", "--quiet", "-f", remove, cwd=clone)
        git("add", "-A", cwd=clone)
        assert git("write-tree", cwd=clone).strip() == git("rev-parse", f"{commit}^{{tree}}", cwd=bare).strip()


def test_a_file_where_a_folder_must_be_is_named(remote: GitRemote, bare: Path, tmp_path: Path) -> None:
    human_edit(bare, tmp_path / "clone", "blocked", "a file\n")
    with pytest.raises(OverlayConflict, match="blocked is a file"):
        remote.commit(remote.head("main"), {"blocked/x": "1\n"}, "x", when=WHEN)


def test_a_pack_that_is_received_while_leftovers_are_looked_for_is_none(remote: GitRemote) -> None:
    remote.head("main")
    packs = remote.mirror / "objects" / "pack"
    packs.mkdir(exist_ok=True)
    renamed, old, new = packs / "tmp_pack_renamed", packs / "tmp_pack_old", packs / "tmp_pack_new"
    renamed.symlink_to(packs / "gone")  # listed, and not there when it is looked at
    for path, age in ((old, 2 * plumbing._ABANDONED), (new, 0.0)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    remote.fetch("main")
    assert (old.exists(), new.exists()) == (False, True)
