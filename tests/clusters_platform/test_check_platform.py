"""``rankops check-platform``: what a platform engineer runs before applying anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankops.cli import app
from rankops.cli.platform import applied_folders
from tests.clusters_platform.conftest import FOLDERS, OVERLAYS


@pytest.fixture
def overlays(kustomize: Path, tmp_path: Path) -> Path:
    return shutil.copytree(OVERLAYS, tmp_path / "k8s-overlays")


def run(overlays: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check-platform", str(overlays), *options])
    return result.exit_code, result.output


def test_the_tests_here_know_every_folder_that_is_applied() -> None:
    found = {str(folder.relative_to(OVERLAYS)) for folder in applied_folders(OVERLAYS)}
    assert found == {*FOLDERS, "platform/sync-proof/base"}


def test_a_fresh_fork_is_told_what_is_its_own_and_one_that_filled_it_in_passes(overlays: Path) -> None:
    code, output = run(overlays)
    assert code == 1
    assert "registry.invalid/rankops-pipeline" in output and "0 mistakes" in output
    assert run(overlays, "--as-forked")[0] == 0
    replacements = {".invalid": ".example.com", "your-org/": "shop/", "0" * 64: "ab" * 32}
    for file in (path for path in overlays.rglob("*") if path.suffix in (".yaml", ".env")):
        text = file.read_text()
        for old, new in replacements.items():
            text = text.replace(old, new)
        file.write_text(text)
    code, output = run(overlays)
    assert (code, "0 mistakes, 0 places" in output) == (0, True), output


def test_a_misspelled_field_fails_even_as_forked(overlays: Path) -> None:
    file = overlays / "clusters/flux/sources.yaml"
    file.write_text(file.read_text().replace("timeout: 60s", "timeOut: 60s"))
    code, output = run(overlays, "--as-forked")
    assert code == 1
    assert "spec.timeOut: is no field of this kind" in output


def test_a_folder_without_a_platform_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    code, output = run(tmp_path)
    assert code == 1 and "remedy" in output
