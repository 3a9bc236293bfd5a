"""What ``images/*.sh`` do, with a stand-in for docker that writes down how it was called."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rankops.stages.deploy import server_image
from rankops.state import REPOSITORY

DIGEST = "sha256:" + "5" * 64
STAND_IN = """#!{python}
import os, sys
words = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write("\\t".join(words) + "\\n")
match words:
    case ["version", *_]:
        print("20.10")
    case ["image", "inspect", "--format", form, image]:
        if "RepoDigests" in form:
            print("elsewhere.example/rankops-server@sha256:" + "9" * 64)
            print(os.environ.get("TOLD", image.rpartition(":")[0] + "@{digest}"))
        else:
            print("id sha256:1, 2 bytes")
    case ["history", *_]:
        print("342MB\\tCOPY dir:1 in /")
        print("0B\\tENV A=1")
    case ["create", image]:
        print("c0ffee")
    case ["cp", _, target]:
        open(target, "w").write("{{}}")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the calls; ``docker`` on PATH is the stand-in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text(STAND_IN.format(python=sys.executable, digest=DIGEST))
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    for name in ("BASE_IMAGE", "BUILD_IMAGE", "EXTRAS", "REGISTRY", "TAG", "DOCKER", "BUILD_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(script: str, *arguments: str, code: int = 0, **environment: str) -> str:
    command = ["bash", str(REPOSITORY / "images" / script), *arguments]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def calls(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "calls").read_text().splitlines()]


def test_a_build_names_version_revision_and_base_and_leaves_size_and_bill_of_materials(stand_in: Path) -> None:
    said = run("build.sh", "server", BASE_IMAGE="base:1", EXTRAS="", TAG="t1")
    (build,) = [call for call in calls(stand_in) if call[0] == "build"]
    arguments = [build[i + 1] for i, word in enumerate(build) if word == "--build-arg"]
    assert "BASE_IMAGE=base:1" in arguments
    assert "EXTRAS=" in arguments, "an empty EXTRAS means none; it must not fall back to the default"
    assert any(each.startswith("SOURCE_DATE_EPOCH=") and each[18:].isdigit() for each in arguments)
    assert build[build.index("--tag") + 1] == "rankops-server:t1"
    assert (stand_in / "out" / "server.cdx.json").is_file()
    assert "342MB" in (stand_in / "out" / "server.txt").read_text()
    assert "0B" not in (stand_in / "out" / "server.txt").read_text()
    assert "server.cdx.json" in said
    assert not [call for call in calls(stand_in) if call[0] == "push"]


def test_a_push_writes_the_digest_in_the_form_that_gitops_pins(stand_in: Path) -> None:
    run("build.sh", "server", "pipeline", REGISTRY="registry.example.com/shop/", TAG="t1")
    written = (stand_in / "out" / "server.image").read_text().strip()
    assert server_image(written) == ("registry.example.com/shop/rankops-server", DIGEST)
    assert (stand_in / "out" / "pipeline.image").read_text().startswith("registry.example.com/shop/rankops-pipeline@")


def test_a_registry_that_tells_no_digest_fails_the_build_and_leaves_no_pin(stand_in: Path) -> None:
    said = run(
        "build.sh", "server", REGISTRY="registry.example.com", TOLD="registry.example.com/rankops-server", code=1
    )
    assert "told no digest" in said
    assert not (stand_in / "out" / "server.image").exists()


def test_without_an_engine_or_with_an_unknown_name_it_says_so(stand_in: Path) -> None:
    assert "no Docker engine answers" in run("build.sh", "server", DOCKER="false", code=1)
    assert "no images/nothing/Dockerfile" in run("build.sh", "nothing", code=2)
    assert "images/build.sh server pipeline" in run("build.sh", code=2)


def test_pushed_digests_are_written_where_the_platform_takes_them(stand_in: Path) -> None:
    root = stand_in / "repository"
    shutil.copytree(REPOSITORY / "k8s-overlays", root / "k8s-overlays")
    run("build.sh", "server", "pipeline", REGISTRY="registry.example.com/shop", TAG="t1")
    run("pin.sh", str(stand_in / "out"), ROOT=str(root))
    environment = (root / "k8s-overlays/platform/dagster/dagster.env").read_text().splitlines()
    assert f"RANKOPS_SERVER_IMAGE=registry.example.com/shop/rankops-server@{DIGEST}" in environment
    pins = (root / "k8s-overlays/platform/images/kustomization.yaml").read_text()
    assert f"newName: registry.example.com/shop/rankops-pipeline\n    digest: {DIGEST}" in pins
    assert "registry.invalid/postgresql" in pins, "only ours are changed"
    assert "changed" not in run("pin.sh", str(stand_in / "out"), ROOT=str(root)), "the same digest changes nothing"


def test_a_pin_that_is_no_digest_is_refused_before_anything_is_written(stand_in: Path) -> None:
    (stand_in / "out").mkdir()
    (stand_in / "out" / "server.image").write_text("registry.example.com/rankops-server:latest\n")
    said = run("pin.sh", str(stand_in / "out"), ROOT=str(stand_in), code=1)
    assert "is not name@sha256" in said
    (stand_in / "out" / "server.image").unlink()
    assert "build with REGISTRY" in run("pin.sh", str(stand_in / "out"), ROOT=str(stand_in), code=1)
