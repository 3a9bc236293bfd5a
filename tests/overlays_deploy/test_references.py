from __future__ import annotations

from pathlib import Path

import pytest

from rankops.overlays.mirror import GitRemote
from rankops.overlays.references import paths_read
from rankops.overlays.seed import create_bare_remote

SOURCE = Path(__file__).resolve().parents[2] / "k8s-overlays"
OVERLAY = "k8s-overlays/overlays/staging/retriever"
WITHIN = ["k8s-overlays/base", "k8s-overlays/components", OVERLAY]


def commit(tmp_path: Path, files: dict[str, str]) -> tuple[GitRemote, str]:
    for name, text in files.items():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(text)
    head = create_bare_remote(tmp_path / "r.git", tmp_path / "src", None)
    remote = GitRemote((tmp_path / "r.git").as_uri(), tmp_path / "state")
    remote.fetch("main")
    return remote, head


def test_only_what_the_overlay_refers_to_is_read_however_many_models_there_are(tmp_path: Path) -> None:
    models = {f"base/model-{i}/kustomization.yaml": "resources: [../server]\n" for i in range(5)}
    files = models | {
        "overlays/staging/retriever/kustomization.yaml": (
            "resources:\n  - ../../../base/model-3\ncomponents: ['../../../components/cpu', release]\n"
        ),
        "overlays/staging/retriever/release/kustomization.yaml": "kind: Component\n",
        "base/server/kustomization.yaml": "resources: [deployment.yaml]\n",
        "base/server/deployment.yaml": "kind: Deployment\n",
        "components/cpu/kustomization.yml": "components: [./../common]\n",
        "components/common/Kustomization": "# see ../../README.md and ..\n",
        "components/gpu/kustomization.yaml": "components: [../common]\n",
    }
    remote, head = commit(tmp_path, files)
    below = ["base/model-3", "base/server", "components/common", "components/cpu", "overlays/staging/retriever"]
    assert paths_read(remote, head, OVERLAY, WITHIN) == [f"k8s-overlays/{name}" for name in below]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_the_real_overlays_read_is_enough_for_the_real_kustomize(tmp_path: Path, environment: str) -> None:
    from rankops.errors import ToolMissing
    from rankops.overlays import kustomize

    try:
        program = kustomize.find_kustomize()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    create_bare_remote(tmp_path / "r.git", SOURCE, None)
    remote = GitRemote((tmp_path / "r.git").as_uri(), tmp_path / "state")
    overlay = f"k8s-overlays/overlays/{environment}/retriever"
    head = remote.head("main")
    paths = paths_read(remote, head, overlay, [*WITHIN[:2], overlay])
    remote.export(head, paths, tmp_path / "out")
    built = kustomize.build(tmp_path / "out" / overlay, kustomize=program).text
    assert built == kustomize.build(SOURCE / "overlays" / environment / "retriever", kustomize=program).text
    assert "k8s-overlays/components/gpu-nvidia" not in paths or environment == "production"
