"""Finding kustomize, its version, and what its failures look like; and the installer's decisions."""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import pytest

from rankops.errors import InvalidOverlay, ToolMissing
from rankops.files import sha256_file
from rankops.overlays.kustomize import build, find_kustomize, parse, version_of
from tests.overlays_manifests.conftest import OVERLAYS


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without kustomize: an empty state folder, and a PATH of one empty folder."""
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def test_the_installed_kustomize_is_found_and_recent(kustomize: Path) -> None:
    assert (version_of(kustomize) or (0,)) >= (5, 7)


def test_the_state_folder_wins_over_path_and_an_explicit_one_over_both(bare: Path) -> None:
    on_path = program(bare / "path" / "kustomize", "echo v5.8.0")
    assert find_kustomize() == on_path
    installed = program(bare / "state" / "bin" / "kustomize", "echo v5.8.1")
    assert find_kustomize() == installed
    explicit = program(bare / "mine", "echo v5.7.1")
    assert find_kustomize(explicit) == explicit


def test_without_kustomize_the_remedy_is_make_setup(bare: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        find_kustomize()


@pytest.mark.parametrize(
    ("script", "message"),
    [("echo v5.6.9", "is kustomize 5.6.9"), ("exit 1", "does not run"), ("echo '(devel)'", "older than kustomize 5.7")],
)
def test_an_old_or_broken_kustomize_is_refused_rather_than_passed_over(bare: Path, script: str, message: str) -> None:
    program(bare / "state" / "bin" / "kustomize", script)
    program(bare / "path" / "kustomize", "echo v5.8.1")
    with pytest.raises(ToolMissing, match=message):
        find_kustomize()


def test_kustomizes_own_message_and_the_folder_are_in_the_error(kustomize: Path, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]\n")
    with pytest.raises(InvalidOverlay, match=r"missing\.yaml") as caught:
        build(tmp_path, kustomize=kustomize)
    assert str(tmp_path) in str(caught.value)


def test_a_misspelled_field_of_a_kustomization_does_not_build(kustomize: Path, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resourcs: []\n")
    with pytest.raises(InvalidOverlay, match="resourcs"):
        build(tmp_path, kustomize=kustomize)


def test_a_folder_that_renders_nothing_or_does_not_exist_is_refused(kustomize: Path, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namespace: x\n")
    with pytest.raises(InvalidOverlay):
        build(tmp_path, kustomize=kustomize)
    with pytest.raises(InvalidOverlay, match="does not exist"):
        build(tmp_path / "nowhere", kustomize=kustomize)


def test_a_build_that_hangs_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    hanging = program(tmp_path / "kustomize", "sleep 60 & echo $! > " + str(tmp_path / "child") + "; wait")
    with pytest.raises(InvalidOverlay, match=r"took over 0\.5 s"):
        build(tmp_path, kustomize=hanging, timeout=0.5)
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "status"
    for _ in range(200):  # a killed process still has to be given the processor in order to die
        if ended := not child.exists() or "State:\tZ" in child.read_text():
            break
        time.sleep(0.05)
    assert ended


def test_a_program_that_cannot_be_started_is_a_missing_tool(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        build(OVERLAYS, kustomize=tmp_path / "kustomize")


def test_yaml_is_read_as_go_reads_it() -> None:
    text = "a: 1234567e8000\nb: 2024-01-01\nc: yes\nd: 1e3\n---\n---\ne: .inf\n"
    assert parse(text) == [{"a": "1234567e8000", "b": "2024-01-01", "c": "yes", "d": 1000.0}, {"e": float("inf")}]
    with pytest.raises(InvalidOverlay, match="not an object"):
        parse("- a\n")
    with pytest.raises(InvalidOverlay, match="not YAML"):
        parse("a: [\n")


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    path = OVERLAYS.parent / "scripts" / "install_kustomize.py"
    spec = importlib.util.spec_from_file_location("install_kustomize", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_installing_again_does_nothing(installer: ModuleType, tmp_path: Path) -> None:
    standing = program(tmp_path / "bin" / "kustomize", "echo v5.8.1")
    before = standing.stat()
    assert installer.install(standing, sources=()) == 0
    assert standing.stat() == before


def test_the_next_source_is_tried_and_an_old_one_is_replaced(installer: ModuleType, tmp_path: Path) -> None:
    target = program(tmp_path / "bin" / "kustomize", "echo v5.0.0")

    def unreachable(staged: Path) -> None:
        raise installer.NotAvailableError("no network")

    def too_old(staged: Path) -> None:
        program(staged, "echo v5.6.0")

    def good(staged: Path) -> None:
        program(staged, "echo v5.8.1")

    assert installer.install(target, (("a", unreachable), ("b", too_old), ("c", good))) == 0
    assert version_of(target) == (5, 8, 1)
    assert [p.name for p in target.parent.iterdir()] == ["kustomize"]


def test_when_all_sources_fail_each_reason_and_the_remedies_are_printed(
    installer: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(staged: Path) -> None:
        raise installer.NotAvailableError("the mirror sleeps")

    target = tmp_path / "bin" / "kustomize"
    assert installer.install(target, (("the mirror", unreachable),)) == 1
    printed = capsys.readouterr().err
    for part in ("the mirror sleeps", "Remedies", "make setup", str(target)):
        assert part in printed
    assert not target.exists()


def test_an_archive_with_other_bytes_than_the_pinned_ones_is_refused(installer: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "kustomize.tar.gz"
    content = b"#!/bin/sh\necho v5.8.1\n"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("kustomize")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    key, url = installer.platform_key(), archive.as_uri()
    staged = tmp_path / "staged"
    with pytest.raises(installer.NotAvailableError, match="refused"):
        installer.from_archive(staged, archive=url, pinned={key: "0" * 64})
    assert not staged.exists()
    installer.from_archive(staged, archive=url, pinned={key: sha256_file(archive)})
    assert version_of(staged) == (5, 8, 1)
    with pytest.raises(installer.NotAvailableError, match="no archive is pinned"):
        installer.from_archive(staged, archive=url, pinned={})


def test_apt_sources_keep_mirror_and_key_and_only_change_the_suite(installer: ModuleType) -> None:
    deb822 = """\
# http://snapshot.example/20250520T000000Z
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
Check-Valid-Until: no

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
    one_line = """\
deb [signed-by=/usr/share/keyrings/d.gpg arch=amd64] http://mirror.example/debian bookworm main contrib # ours
deb-src http://mirror.example/debian bookworm main
deb http://other.example/apt stable main
"""
    found = installer.sid_sources([("debian.sources", deb822), ("debian.list", one_line), ("x.list", "")], "bookworm")
    assert list(found) == ["0.sources", "1.list"]
    assert found["0.sources"] == (
        "types: deb\nuris: http://mirror.example/debian\nsuites: sid\ncomponents: main\n"
        "signed-by: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\ncheck-valid-until: no\n"
    )
    assert (
        found["1.list"]
        == "deb [signed-by=/usr/share/keyrings/d.gpg arch=amd64] http://mirror.example/debian sid main\n"
    )
