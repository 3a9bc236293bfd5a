"""The overlays of this repository, the real kustomize, the real validation and a really signed release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankops.errors import InvalidOverlay, ToolMissing
from rankops.overlays import kustomize, validate
from rankops.overlays.component import CONTAINERS
from rankops.overlays.deploy import DeployRequest, deploy
from rankops.overlays.evidence import evidence_verifier
from rankops.overlays.mirror import GitRemote
from rankops.overlays.seed import create_bare_remote
from tests.overlays_deploy.conftest import WHEN, git, make_pin, no_objection

SOURCE = Path(__file__).resolve().parents[2] / "k8s-overlays"


@pytest.fixture
def tools() -> dict[str, Any]:
    try:
        program = kustomize.find_kustomize()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    render = lambda folder: kustomize.build(folder, kustomize=program)  # noqa: E731
    return {"render": render, "validate": validate.validate, "clock": lambda: WHEN}


@pytest.fixture
def real(tmp_path: Path, keys: tuple[Path, Path]) -> GitRemote:
    create_bare_remote(tmp_path / "remote.git", SOURCE, keys[1])
    return GitRemote((tmp_path / "remote.git").as_uri(), tmp_path / "state")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_signed_release_reaches_both_containers_of_the_rendered_deployment(
    real: GitRemote, tools: dict[str, Any], release: Any, keys: Any, tmp_path: Path, environment: str
) -> None:
    folder, manifest = release
    pin = make_pin(environment=environment, release=manifest.digest, mlflow_run="1234567e8", dagster_run="0o17")
    request = DeployRequest(pin, trusted_key=keys[1].read_text())
    verify = evidence_verifier(folder, public_key=keys[1], target="cpu-avx2")
    done = deploy(request, real, verify=verify, **tools)
    assert done.kind == "committed"
    git("clone", "--quiet", real.url.address, str(tmp_path / "clone"))
    objects = tools["render"](tmp_path / "clone" / done.overlay_path).objects
    (deployment,) = (o for o in objects if o["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"] | pin.annotations == template["metadata"]["annotations"]
    for group in CONTAINERS:
        container = template["spec"][group][0]
        told = {e["name"]: e["value"] for e in container["env"]}
        assert told["RANKOPS_RELEASE_DIGEST"] == manifest.digest and told["RANKOPS_RELEASE_URI"] == pin.uri
        assert container["image"] == f"rankops-server@{pin.image_digest}"
    assert deployment["spec"].get("replicas") != 0
    assert deploy(request, real, verify=verify, **tools).kind == "unchanged"


@pytest.mark.parametrize("digest", ["1" * 61 + "e12", "1" * 64, "0" * 64])
def test_digests_that_look_like_numbers_pass_through_kustomize(
    real: GitRemote, tools: dict[str, Any], digest: str
) -> None:
    pin = make_pin(release=digest, dataset=digest, checkpoint=digest)
    assert deploy(DeployRequest(pin), real, verify=no_objection, **tools).kind == "committed"


def test_another_image_name_is_pulled_by_digest(real: GitRemote, tools: dict[str, Any]) -> None:
    pin = make_pin(image="images.example/acme/rankops-server")
    done = deploy(DeployRequest(pin), real, verify=no_objection, **tools)
    assert f"+        image: images.example/acme/rankops-server@{pin.image_digest}" in done.rendered_diff


def test_an_overlay_that_no_longer_lists_the_release_is_refused(
    real: GitRemote, tools: dict[str, Any], tmp_path: Path
) -> None:
    from tests.overlays_deploy.conftest import human_edit

    path = "k8s-overlays/overlays/staging/retriever/kustomization.yaml"
    text = (SOURCE.parent / path).read_text().replace("  - release\n", "")
    human_edit(Path(real.url.address.removeprefix("file://")), tmp_path / "clone", path, text)
    with pytest.raises(InvalidOverlay):
        deploy(DeployRequest(make_pin()), real, verify=no_objection, **tools)


def test_a_missing_kustomize_is_named_before_anything_is_pushed(
    real: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = real.head("main")
    monkeypatch.setenv("RANKOPS_STATE", str(tmp_path / "empty"))
    only_git = tmp_path / "bin"
    only_git.mkdir()
    import shutil

    found = shutil.which("git")
    assert found is not None
    (only_git / "git").symlink_to(found)
    monkeypatch.setenv("PATH", str(only_git))

    def render(folder: Path) -> kustomize.Rendered:
        return kustomize.build(folder, kustomize=kustomize.find_kustomize())

    with pytest.raises(ToolMissing, match="kustomize is not installed"):
        deploy(DeployRequest(make_pin()), real, render=render, validate=no_objection, verify=no_objection)
    assert real.head("main") == head
