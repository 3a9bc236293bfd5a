from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rankops.errors import BadInput
from rankops.overlays import seed
from tests.overlays_deploy.conftest import git, in_process, write_overlays


def test_the_repository_starts_with_the_overlays_and_the_demos_key(overlays: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("the key of the demo\n")
    head = seed.create_bare_remote(tmp_path / "r.git", overlays, key)
    assert git("rev-parse", "main", cwd=tmp_path / "r.git").strip() == head
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(tmp_path / "r.git"), str(clone))
    trust = "components/trust/release-signing.pub"
    assert (clone / "k8s-overlays" / trust).read_text() == "the key of the demo\n"
    names = {p.relative_to(overlays) for p in overlays.rglob("*") if p.is_file()}
    assert {p.relative_to(clone / "k8s-overlays") for p in (clone / "k8s-overlays").rglob("*") if p.is_file()} == names
    same = [n for n in names if str(n) != trust]
    assert all((clone / "k8s-overlays" / n).read_bytes() == (overlays / n).read_bytes() for n in same)


def test_a_standing_repository_is_left_as_it_is(overlays: Path, tmp_path: Path) -> None:
    head = seed.create_bare_remote(tmp_path / "r.git", overlays, None)
    other = write_overlays(tmp_path / "k8s-overlays", ["another"])
    assert seed.create_bare_remote(tmp_path / "r.git", other, None) == head


def test_a_wrong_source_key_or_place_is_named_and_leaves_nothing(overlays: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no overlays/"):
        seed.create_bare_remote(tmp_path / "r.git", tmp_path, None)
    with pytest.raises(BadInput, match=r"none\.pub is missing"):
        seed.create_bare_remote(tmp_path / "r.git", overlays, tmp_path / "none.pub")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "r.git").mkdir()
    with pytest.raises(BadInput, match="is no repository with a branch"):
        seed.create_bare_remote(tmp_path / "r.git", overlays, None)


def test_killed_while_seeding_there_is_no_half_repository(
    overlays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    monkeypatch.setattr(seed, "_first_commit", die)
    assert in_process(lambda: seed.create_bare_remote(tmp_path / "r.git", overlays, None)) == -signal.SIGKILL  # type: ignore[func-returns-value]
    assert not (tmp_path / "r.git").exists()
    monkeypatch.undo()
    seed.create_bare_remote(tmp_path / "r.git", overlays, None)
