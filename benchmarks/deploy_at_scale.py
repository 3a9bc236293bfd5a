"""One deploy in a repository of 1,000 overlays: ours at 10 and at 1,000, and the script that an engineer would write.

Ours is everything from the call to the pushed commit: fetch, signature and digests of the release, two kustomize
builds, schemas and rules, commit, push. The script clones (shallowly, as CI does), lets ``kustomize edit`` set the
image, commits and pushes; it checks nothing. A second one checks with the tools that there are for it: signature,
rendering before and after, Kubernetes' schemas. The remotes are bare repositories on this machine, in memory where it
has a file system there: a clone of 4,000 files should not be a measurement of the disk.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Block, Comparison, compare, timed
from rankops.files import combine_digests
from rankops.overlays import kustomize, validate
from rankops.overlays.component import ReleasePin
from rankops.overlays.deploy import DeployRequest, deploy
from rankops.overlays.evidence import evidence_verifier
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from rankops.release.manifest import BaseModelRef, DatasetRef, GateResult, ReleaseManifest, payload_digests
from rankops.release.signing import SIGNATURE, create_key_pair, sign

_OVERLAYS = Path(__file__).resolve().parent.parent / "k8s-overlays"
_FEW, _MANY = 10, 1000
_ROUNDS, _DEPLOYS = 5, 2
_MEMORY = Path("/dev/shm")
_PAYLOAD = 40_000_000
"""Bytes of the release, about an int8 MiniLM with its index of 10,000 products."""
_TARGET = "cpu-avx2"
_MODEL = "model-5"
LIMIT_RATIO, LIMIT_SECONDS = 1.5, 3.0


@dataclass(frozen=True)
class _Release:
    """A signed bundle and the key that it is verified with."""

    folder: Path
    digest: str
    public_key: Path


def measure(progress: Callable[[str], None]) -> Comparison:
    """Seconds from start to pushed; ratio = the script's median / ours, both at 1,000 overlays."""
    program = kustomize.find_kustomize()
    with tempfile.TemporaryDirectory(prefix="rankops-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        root = Path(scratch)
        release = _signed_release(root / "release")
        progress(f"deploy_at_scale: making repositories of {_FEW} and {_MANY} overlays")
        few, many, script = (
            _repository(root / name, count, release.public_key)
            for name, count in (("few", _FEW), ("many", _MANY), ("script", _MANY))
        )
        sides = f"{_ROUNDS} rounds of {_DEPLOYS} deploys"
        progress(f"deploy_at_scale: {sides} by us ({_FEW}, {_MANY} overlays) and by the script ({_MANY})")
        found = compare(
            "deploy_at_scale",
            f"one deploy, start to pushed, {_MANY} overlays, local remote",
            ours=_ours(many, release, program),
            peers={
                "script": _script(script, program),
                "script that checks": _script(script, program, release),
                f"ours with {_FEW} overlays": _ours(few, release, program),
            },
            peer_version=f"git clone --depth 1, kustomize edit, commit, push ({_version('git')})",
            unit="ms",
            rounds=_ROUNDS,
            also={"load average before": os.getloadavg()[0], "cold seconds": _cold(many, release, program)},
        )
    beside = found.also[f"ours with {_FEW} overlays"]
    low, high = beside["interval"]
    growth = {"times": 1 / beside["ratio"], "interval": [1 / high, 1 / low], "limit": LIMIT_RATIO}
    found.also[f"{_MANY} against {_FEW} overlays"] = growth
    found.also["within limits"] = bool(growth["times"] <= LIMIT_RATIO and found.ours <= LIMIT_SECONDS * 1e3)
    progress(
        f"deploy_at_scale: {growth['times']:.2f} times the {_FEW}-overlay deploy; cold {found.also['cold seconds']}"
    )
    return found


def deploy_once(remote: GitRemote, model: str, release: _Release, program: Path) -> None:
    """Pin the release with an image that nothing else pins, by one commit on the remote."""
    pin = ReleasePin(
        model=model,
        environment="staging",
        release=release.digest,
        uri=release.folder.as_uri(),
        image_digest=_image(),
        dataset="d" * 64,
        checkpoint="c" * 64,
    )
    done = deploy(
        DeployRequest(pin, trusted_key=release.public_key.read_text()),
        remote,
        render=lambda folder: kustomize.build(folder, kustomize=program),
        validate=validate.validate,
        verify=evidence_verifier(release.folder, public_key=release.public_key, target=_TARGET),
    )
    if done.kind != "committed":
        raise AssertionError(f"nothing was deployed: {done.kind}")


def _ours(bare: Path, release: _Release, program: Path) -> Block:
    remote = GitRemote(bare.as_uri(), bare.parent / "state")
    return timed(lambda model: deploy_once(remote, model, release, program), [_MODEL] * _DEPLOYS, warm_up=1)


def _script(bare: Path, program: Path, release: _Release | None = None) -> Block:
    """With a ``release`` the script verifies it, builds before and after, and validates what it built."""
    who = ["-c", "user.name=ci", "-c", "user.email=ci@example.org", "-c", "commit.gpgsign=false"]

    def block() -> Sequence[float]:
        with tempfile.TemporaryDirectory(prefix="clones-", dir=bare.parent) as scratch:
            numbers = itertools.count()

            def once(model: str) -> None:
                clone = Path(scratch) / str(next(numbers))
                overlay = clone / "k8s-overlays" / "overlays" / "staging" / model / "release"
                _call("git", "clone", "--quiet", "--depth", "1", bare.as_uri(), str(clone), cwd=bare)
                after = str(Path(scratch) / "after.yaml")
                if release:
                    key, signature = str(release.public_key), str(release.folder / SIGNATURE)
                    verify = ["-m", "model_signing", "verify", "key", str(release.folder), "--signature", signature]
                    _call(sys.executable, *verify, "--public_key", key, cwd=clone)
                    _call(str(program), "build", "..", "--output", str(Path(scratch) / "before.yaml"), cwd=overlay)
                _call(str(program), "edit", "set", "image", f"rankops-server=*@{_image()}", cwd=overlay)
                if release:
                    _call(str(program), "build", "..", "--output", after, cwd=overlay)
                    check = ["-m", "kubernetes_validate", "--strict", "-k", validate.KUBERNETES, after]
                    _call(sys.executable, *check, cwd=clone)
                _call("git", *who, "commit", "--quiet", "--all", "--message", f"deploy {model}", cwd=clone)
                _call("git", "push", "--quiet", "origin", "HEAD:main", cwd=clone)

            return timed(once, [_MODEL] * _DEPLOYS, warm_up=0)()

    return block


_COLD = """
import sys
from pathlib import Path
from benchmarks import deploy_at_scale as bench
bare, folder, digest, key, program = sys.argv[1:]
remote = bench.GitRemote(Path(bare).as_uri(), Path(bare).parent / "state")
bench.deploy_once(remote, bench._MODEL, bench._Release(Path(folder), digest, Path(key)), Path(program))
"""


def _cold(bare: Path, release: _Release, program: Path) -> float:
    """Seconds of one deploy in a process of its own, interpreter and imports included."""
    arguments = [str(bare), str(release.folder), release.digest, str(release.public_key), str(program)]
    start = time.perf_counter()
    _call(sys.executable, "-c", _COLD, *arguments, cwd=_OVERLAYS.parent)
    return time.perf_counter() - start


def _repository(root: Path, count: int, public_key: Path) -> Path:
    """A bare repository with ``count`` models in staging, each added as the overlays' README says."""
    source = root / "k8s-overlays"
    for folder in ("base/server", "components"):
        shutil.copytree(_OVERLAYS / folder, source / folder)
    for number in range(count):
        name = f"model-{number}"
        shutil.copytree(source / "components" / "unreleased", source / "overlays" / "staging" / name / "release")
        for folder in ("base", "overlays/staging"):
            text = (_OVERLAYS / folder / "retriever" / "kustomization.yaml").read_text()
            target = source / folder / name / "kustomization.yaml"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace("retriever", name))
    create_bare_remote(root / "remote.git", source, public_key)
    return root / "remote.git"


def _signed_release(root: Path) -> _Release:
    private, public = create_key_pair(root / "keys")
    folder = root / "bundle"
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "model.onnx").write_bytes(os.urandom(_PAYLOAD))
    files = payload_digests(folder)
    manifest = ReleaseManifest(
        model=_MODEL,
        task="retrieval",
        target=_TARGET,
        base_model=BaseModelRef(name="base", revision="main"),
        checkpoint="c" * 64,
        dataset=DatasetRef(name="shop", digest="d" * 64),
        code_commit="unknown",
        gates=[GateResult(name="relevance", passed=True, explanation="better")],
        files=files,
        encoder_digest="b" * 64,
        digest=combine_digests(files),
    )
    manifest.write(folder)
    sign(folder, private)
    return _Release(folder, manifest.digest, public)


def _image() -> str:
    return f"sha256:{secrets.token_hex(32)}"


def _call(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")


def _version(program: str) -> str:
    return subprocess.check_output([program, "--version"], text=True).strip()
