"""Small overlays, real bare repositories, a signed bundle, and a renderer that reads what deploy wrote.

The fake renderer stands in for Kustomize where a test is about Git; ``test_real_kustomize.py`` uses the real one.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rankops.files import combine_digests
from rankops.overlays.component import SEED_MARKER, ReleasePin, is_seed, read_component
from rankops.overlays.deploy import DeployOutcome, DeployRequest, deploy
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.release.manifest import BaseModelRef, DatasetRef, GateResult, ReleaseManifest, payload_digests
from rankops.release.signing import create_key_pair, sign

MODELS = (*(f"model-{i}" for i in range(8)), "retriever")
WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass
class Rendered:
    objects: list[dict[str, Any]]
    text: str


def fake_render(folder: Path) -> Rendered:
    """A Deployment with exactly what the component says, so that nothing passes that deploy did not write."""
    text = (folder / "release" / "kustomization.yaml").read_text()
    pin = None if is_seed(text) else read_component(text)
    env = [{"name": k, "value": v} for k, v in pin.environment_variables.items()] if pin else []
    image = f"{pin.image}@{pin.image_digest}" if pin else "rankops-server"
    containers = {
        group: [{"name": name, "image": image, "env": env}]
        for group, name in (("containers", "server"), ("initContainers", "fetch-release"))
    }
    template = {"metadata": {"annotations": pin.annotations if pin else {}}, "spec": containers}
    deployment = {"kind": "Deployment", "metadata": {"name": folder.name}, "spec": {"template": template}}
    return Rendered([deployment], f"people: {(folder / 'kustomization.yaml').read_text()}\nimage: {image}\n")


def no_objection(*_: object) -> None:
    return None


def make_pin(
    model: str = "retriever", environment: str = "staging", release: str = "a" * 64, **more: Any
) -> ReleasePin:
    fields: dict[str, Any] = {
        "uri": f"file:///store/release/{release}",
        "image_digest": "sha256:" + "e" * 64,
        "dataset": "d" * 64,
        "checkpoint": "c" * 64,
        "dagster_run": "run-1",
        "mlflow_run": "1234",
    }
    return ReleasePin(model=model, environment=environment, release=release, **(fields | more))


def write_overlays(folder: Path, models: Sequence[str] = MODELS) -> Path:
    (folder / "base" / "server").mkdir(parents=True)
    (folder / "base" / "server" / "kustomization.yaml").write_text("resources: []\n")
    trust = folder / "components" / "trust"
    trust.mkdir(parents=True)
    (trust / "release-signing.pub").write_text("placeholder\n")
    for environment in ("staging", "production"):
        for model in models:
            release = folder / "overlays" / environment / model / "release"
            release.mkdir(parents=True)
            (release / "kustomization.yaml").write_text(f"{SEED_MARKER}.\nkind: Component\n")
            (release.parent / "kustomization.yaml").write_text("components: [release]\n")
    return folder


def git(*args: str, cwd: Path | None = None) -> str:
    """Plain git, as a person would run it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(["git", *who, *args], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def human_edit(bare: Path, workdir: Path, path: str, text: str, branch: str = "main") -> str:
    """Commit and push a change as a person with a clone; returns the commit."""
    if not workdir.exists():
        git("clone", "--quiet", "--branch", branch, str(bare), str(workdir))
    git("pull", "--quiet", "--ff-only", cwd=workdir)
    (workdir / path).parent.mkdir(parents=True, exist_ok=True)
    (workdir / path).write_text(text)
    git("add", "-A", cwd=workdir)
    git("commit", "--quiet", "-m", "by hand", cwd=workdir)
    git("push", "--quiet", "origin", f"HEAD:{branch}", cwd=workdir)
    return git("rev-parse", "HEAD", cwd=workdir).strip()


def in_process(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process and return its exit code (-9 where it was killed)."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overlays(tmp_path_factory.mktemp("source") / "k8s-overlays")


@pytest.fixture
def bare(tmp_path: Path, overlays: Path) -> Path:
    create_bare_remote(tmp_path / "remote.git", overlays, None)
    # Our seed forbids forced pushes; other remotes allow them, and nothing may rely on that protection.
    git("config", "receive.denyNonFastForwards", "false", cwd=tmp_path / "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def remote(bare: Path, tmp_path: Path) -> GitRemote:
    return GitRemote(bare.as_uri(), tmp_path / "state")


Deploy = Callable[..., DeployOutcome]


@pytest.fixture
def run_deploy(remote: GitRemote) -> Deploy:
    """``deploy`` with fakes for all but Git; any argument can be replaced."""

    def run(request: DeployRequest | ReleasePin, **more: Any) -> DeployOutcome:
        asked = DeployRequest(request) if isinstance(request, ReleasePin) else request
        fakes = {"render": fake_render, "validate": no_objection, "verify": no_objection, "clock": lambda: WHEN}
        return deploy(asked, more.pop("remote", remote), **(fakes | more))

    return run


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return create_key_pair(tmp_path_factory.mktemp("keys"))


def write_release(folder: Path, private_key: Path, **changes: Any) -> ReleaseManifest:
    """A signed bundle with a toy payload; the format is the real one."""
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "model.onnx").write_bytes(b"weights" * 100)
    (folder / "golden.json").write_text("[]")
    files = payload_digests(folder)
    facts: dict[str, Any] = {
        "model": "retriever",
        "task": "retrieval",
        "target": "cpu-avx2",
        "base_model": BaseModelRef(name="base", revision="main"),
        "checkpoint": "c" * 64,
        "dataset": DatasetRef(name="shop", digest="d" * 64),
        "code_commit": "unknown",
        "gates": [GateResult(name="relevance", passed=True, explanation="better")],
    }
    manifest = ReleaseManifest(**(facts | changes), files=files, encoder_digest="b" * 64, digest=combine_digests(files))
    manifest.write(folder)
    sign(folder, private_key)
    return manifest


@pytest.fixture
def release(tmp_path: Path, keys: tuple[Path, Path]) -> tuple[Path, ReleaseManifest]:
    return tmp_path / "release", write_release(tmp_path / "release", keys[0])
