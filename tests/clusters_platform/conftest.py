"""What ``clusters/`` and ``platform/`` render, built once by the real kustomize."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import ToolMissing
from rankops.overlays.kustomize import build, find_kustomize

OVERLAYS = Path(__file__).parents[2] / "k8s-overlays"
PLAIN = ("namespaces", "postgresql", "mlflow", "dagster", "sync-proof/flux", "sync-proof/argocd")
CHARTS = ("monitoring", "gpu", "keda", "flagger")
FOLDERS = (
    *(f"platform/{name}" for name in (*PLAIN, *CHARTS)),
    "clusters/flux",
    "clusters/flux/tenants",
    "clusters/argocd",
    "clusters/argocd/apps",
)
"""Every folder that somebody, or a controller, applies."""

Objects = list[dict[str, Any]]
Render = Callable[[str], Objects]


@pytest.fixture(scope="session")
def kustomize() -> Path:
    try:
        return find_kustomize()
    except ToolMissing as error:
        pytest.skip(f"needs the real kustomize: {error}")


@pytest.fixture(scope="session")
def rendered(kustomize: Path) -> Render:
    """The objects of a folder below k8s-overlays; not to be changed."""

    @cache
    def render(folder: str) -> Objects:
        return build(OVERLAYS / folder, kustomize=kustomize).objects

    return render


@pytest.fixture(scope="session")
def everything(kustomize: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The same with every option switched on (the commented components of clusters/)."""
    copy = shutil.copytree(OVERLAYS, tmp_path_factory.mktemp("options") / "k8s-overlays")
    for file in (*(copy / "clusters").rglob("kustomization.yaml"), copy / "platform/dagster/kustomization.yaml"):
        file.write_text(file.read_text().replace("  # - ", "  - "))

    @cache
    def render(folder: str) -> Objects:
        return build(copy / folder, kustomize=kustomize).objects

    return render


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    """The objects of one kind by name."""
    return {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == kind}
