"""A clone of the repository's own overlays with a signed release behind them, as CI and people have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rankops.cli import app
from rankops.errors import ToolMissing
from rankops.overlays.component import ReleasePin, render_component
from rankops.overlays.deploy import settle
from rankops.overlays.kustomize import find_kustomize
from rankops.overlays.seed import create_bare_remote
from rankops.overlays.transaction import Plan
from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import create_key_pair
from rankops.store import ArtifactStore
from tests.overlays_deploy.conftest import git, make_pin, write_release

SOURCE = Path(__file__).resolve().parents[2] / "k8s-overlays"
OVERLAY = "k8s-overlays/overlays/staging/retriever"
COMPONENT = f"{OVERLAY}/release/kustomization.yaml"


@dataclass
class Clone:
    """A person's clone on the branch ``change``; ``main`` stays where it was."""

    folder: Path
    store: Path
    keys: tuple[Path, Path]
    releases: dict[str, ReleaseManifest] = field(default_factory=dict)

    def run(self, *args: str) -> str:
        return git(*args, cwd=self.folder).strip()

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def commit(self, message: str = "by hand") -> str:
        self.run("add", "-A")
        self.run("commit", "--quiet", "-m", message)
        return self.run("rev-parse", "HEAD")

    def publish(self, name: str, **facts: Any) -> ReleaseManifest:
        """A signed release in the store; ``name`` makes its bytes, and so its digest."""
        folder = self.store.parent / f"release-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "name.txt").write_text(name)
        self.releases[name] = write_release(folder, self.keys[0], **({"mlflow_run": "1234"} | facts))
        digest = self.releases[name].digest
        ArtifactStore(str(self.store)).publish("release", folder, digest=digest)
        return self.releases[name]

    def pin(self, name: str, **changes: Any) -> ReleasePin:
        manifest = self.releases.get(name) or self.publish(name)
        standing = changes.pop("standing", None)
        uri = f"{self.store.as_uri()}/release/{manifest.digest}"
        return settle(make_pin(release=manifest.digest, uri=uri), standing).model_copy(update=changes)

    def deploy(self, pin: ReleasePin, *, change: Callable[[str], str] = str) -> str:
        """What deploy commits, by the very code that it commits with."""
        path = f"k8s-overlays/overlays/{pin.environment}/{pin.model}/release/kustomization.yaml"
        self.write(path, render_component(pin))
        message = Plan(pin, {}, f"deploy({pin.environment}): {pin.model}").message()
        self.run("add", "-A")
        self.run("-c", "user.name=rankops deploy", "commit", "--quiet", "-m", change(message))
        return self.run("rev-parse", "HEAD")

    def merge(self) -> None:
        """The change becomes main."""
        self.run("checkout", "--quiet", "-B", "main")
        self.run("checkout", "--quiet", "-B", "change")


@pytest.fixture(scope="session", autouse=True)
def kustomize() -> Path:
    try:
        return find_kustomize()
    except ToolMissing as error:
        pytest.skip(f"needs the real kustomize: {error}")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return create_key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def _bare(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    bare = tmp_path_factory.mktemp("remote") / "remote.git"
    create_bare_remote(bare, SOURCE, keys[1])
    return bare


@pytest.fixture
def clone(_bare: Path, keys: tuple[Path, Path], tmp_path: Path) -> Clone:
    git("clone", "--quiet", str(_bare), str(tmp_path / "clone"))
    git("checkout", "--quiet", "-b", "change", cwd=tmp_path / "clone")
    return Clone(tmp_path / "clone", tmp_path / "store", keys)


@pytest.fixture
def check(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command as CI runs it, in the clone."""
    monkeypatch.chdir(clone.folder)

    def run(*arguments: str, code: int = 0, base: str | None = "main") -> Result:
        against = ["--base", base] if base else []
        result = CliRunner().invoke(app, ["check-overlays", "k8s-overlays", *against, *arguments])
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    return run
