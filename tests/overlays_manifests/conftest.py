"""Real overlays, built by the real kustomize: a copy of ``k8s-overlays`` in which a release is pinned."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rankops.errors import ToolMissing
from rankops.overlays.component import ReleasePin, render_component
from rankops.overlays.kustomize import build, find_kustomize

OVERLAYS = Path(__file__).parents[2] / "k8s-overlays"
README = (OVERLAYS / "README.md").read_text()
# All digits but one: a YAML dumper that forgets to quote it makes a number of it.
RELEASE = "1234567e8" + "0" * 55
PIN = ReleasePin(
    model="retriever",
    environment="staging",
    release=RELEASE,
    uri=f"s3://models/release/{RELEASE}",
    image="registry.example.com/search/rankops-server",
    image_digest="sha256:" + "2" * 64,
    dataset="3" * 64,
    checkpoint="4" * 64,
    dagster_run="0f5c4c1e-run",
    mlflow_run="9d2f",
)

Objects = list[dict[str, Any]]


@pytest.fixture(scope="session")
def kustomize() -> Path:
    try:
        return find_kustomize()
    except ToolMissing as error:
        pytest.skip(f"needs the real kustomize: {error}")


def copy_overlays(target: Path) -> Path:
    return shutil.copytree(OVERLAYS, target / "k8s-overlays")


def pin_release(overlays: Path, environment: str, model: str = "retriever") -> Path:
    """Write the release component as ``deploy`` does; returns the overlay's folder."""
    folder = overlays / "overlays" / environment / model
    pin = PIN.model_copy(update={"environment": environment, "model": model})
    (folder / "release").mkdir(exist_ok=True)
    (folder / "release" / "kustomization.yaml").write_text(render_component(pin))
    return folder


def use_components(folder: Path, *names: str) -> None:
    """Make the overlay list exactly these components, ``release`` among them or last.

    What a component wants from the overlay is taken from its snippet in the README.
    """
    file = folder / "kustomization.yaml"
    yaml = YAML()
    overlay = yaml.load(file.read_text())
    order = names if "release" in names else (*names, "release")
    overlay["components"] = [name if name == "release" else f"../../../components/{name}" for name in order]
    for name in order:
        for key, values in snippet(name).items():
            overlay.setdefault(key, []).extend(values)
    with file.open("w") as target:
        yaml.dump(overlay, target)


def snippet(component: str) -> dict[str, list[Any]]:
    """The YAML that the README tells people to put into the overlay with this component."""
    found = re.search(rf"^### {component}:.*?```yaml\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    section_only = found and "\n### " not in found[0] and "\n## " not in found[0]
    return YAML(typ="safe").load(found[1]) if found and section_only else {}


def offered_combinations() -> list[tuple[str, ...]]:
    """Every combination of components that the README offers."""
    table = README.split("<!-- The tests read this table")[1].split("\n\n")[0].splitlines()[3:]
    lines = [tuple(re.findall(r"`([a-z-]+)`", row)) for row in table]
    return [*lines, *((*line, "image-volume") for line in lines)]


@pytest.fixture(scope="session")
def _production(kustomize: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    folder = pin_release(copy_overlays(tmp_path_factory.mktemp("overlays")), "production")
    return build(folder, kustomize=kustomize).objects


@pytest.fixture(scope="session")
def _gpu(kustomize: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    folder = pin_release(copy_overlays(tmp_path_factory.mktemp("overlays")), "staging")
    use_components(folder, "gpu-nvidia", "trust")
    return build(folder, kustomize=kustomize).objects


@pytest.fixture(scope="session")
def _canary(kustomize: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    folder = pin_release(copy_overlays(tmp_path_factory.mktemp("overlays")), "production")
    use_components(folder, "cpu", "trust", "monitoring", "canary", "autoscale-keda", "release", "image-volume")
    return build(folder, kustomize=kustomize).objects


@pytest.fixture
def production(_production: Objects) -> Objects:
    """The rendered production overlay with a release pinned; each test may spoil its own copy."""
    return copy.deepcopy(_production)


@pytest.fixture
def gpu(_gpu: Objects) -> Objects:
    """The rendered staging overlay on a GPU."""
    return copy.deepcopy(_gpu)


@pytest.fixture
def canary(_canary: Objects) -> Objects:
    """The rendered production overlay with everything: canary, KEDA and image volume."""
    return copy.deepcopy(_canary)


def one(objects: Objects, kind: str) -> dict[str, Any]:
    found = [obj for obj in objects if obj["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def trust(objects: Objects) -> dict[str, Any]:
    """The ConfigMap with the key that releases must be signed with."""
    (found,) = [o for o in objects if o["kind"] == "ConfigMap" and "release-signing.pub" in o["data"]]
    return found


def dashboard(objects: Objects) -> dict[str, Any]:
    """The ConfigMap with the Grafana dashboard."""
    (found,) = [o for o in objects if o["kind"] == "ConfigMap" and "rankops-serving.json" in o["data"]]
    return found


def pod(objects: Objects) -> dict[str, Any]:
    return one(objects, "Deployment")["spec"]["template"]


def server(objects: Objects) -> dict[str, Any]:
    return pod(objects)["spec"]["containers"][0]


def fetch(objects: Objects) -> dict[str, Any]:
    return pod(objects)["spec"]["initContainers"][0]


Mutation = Callable[[Objects], object]
