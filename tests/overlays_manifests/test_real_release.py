"""The whole way of a release: signed, stored, pinned in an overlay, rendered, run by a local pod, and answering."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rankops.errors import InvalidOverlay, VerificationFailed
from rankops.overlays.component import render_component
from rankops.overlays.kustomize import Rendered
from rankops.overlays.local_pod import LocalPod
from rankops.overlays.pod_plan import pod_plan
from rankops.overlays.validate import build_and_validate
from rankops.release.fetch import fetch as fetch_release
from rankops.release.signing import create_key_pair
from rankops.serving.client import Client
from rankops.store import ArtifactStore
from tests.overlays_manifests.conftest import PIN, copy_overlays, fetch, pin_release, server, use_components
from tests.support.tiny_artifact import make_tiny_artifact
from tests.support.tiny_release import VOCABULARY, make_release, write_catalogue


def publish(root: Path) -> tuple[str, str, Path]:
    """``(URI, digest, public key)`` of a small signed release in a local store."""
    private, public = create_key_pair(root / "keys")
    artifact = make_tiny_artifact(root / "artifact", VOCABULARY, seed=1)
    catalogue = write_catalogue(root / "catalogue.parquet")
    manifest = make_release(root / "release", artifact=artifact, catalogue=catalogue, private_key=private)
    stored = ArtifactStore(str(root / "store")).publish("release", root / "release", digest=manifest.digest)
    return stored.uri, manifest.digest, public


def render(root: Path, kustomize: Path, uri: str, digest: str, public: Path | None) -> Rendered:
    overlays = copy_overlays(root)
    folder = pin_release(overlays, "staging")
    pin = PIN.model_copy(update={"uri": uri, "release": digest})
    (folder / "release" / "kustomization.yaml").write_text(render_component(pin))
    if public is not None:
        (overlays / "components" / "trust" / "release-signing.pub").write_bytes(public.read_bytes())
    return build_and_validate(folder, kustomize=kustomize)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    return publish(tmp_path_factory.mktemp("shop"))


def test_a_pinned_release_is_fetched_verified_and_served(
    published: tuple[str, str, Path], tmp_path: Path, kustomize: Path
) -> None:
    rendered = render(tmp_path, kustomize, *published)
    with LocalPod(pod_plan(rendered.objects, "retriever"), tmp_path / "pod") as pod, Client(pod.url) as client:
        reply = client.post("/search", {"query": "red shoe", "k": 3})
    assert reply.status == 200
    assert reply.body["results"][0]["product_id"] == "p000"
    assert reply.body["release"] == published[1]


def test_a_fork_that_kept_the_placeholder_key_serves_nothing(
    published: tuple[str, str, Path], tmp_path: Path, kustomize: Path
) -> None:
    uri, digest, _ = published
    rendered = render(tmp_path, kustomize, uri, digest, None)
    with pytest.raises(VerificationFailed, match=r"(?s)'fetch-release'.*exit status 3.*signature"):
        LocalPod(pod_plan(rendered.objects, "retriever"), tmp_path / "pod").start()


def render_image_volume(root: Path, kustomize: Path, digest: str) -> Rendered:
    folder = pin_release(copy_overlays(root), "staging")
    pin = PIN.model_copy(update={"uri": f"s3://models/release/{digest}", "release": digest})
    (folder / "release" / "kustomization.yaml").write_text(render_component(pin))
    use_components(folder, "cpu", "trust", "release", "image-volume")
    return build_and_validate(folder, kustomize=kustomize)


def test_a_release_in_an_image_volume_is_verified_before_it_is_served(
    published: tuple[str, str, Path], tmp_path: Path, kustomize: Path
) -> None:
    uri, digest, public = published
    objects = render_image_volume(tmp_path, kustomize, digest).objects
    with pytest.raises(InvalidOverlay, match="volume 'release' is of type image"):
        pod_plan(objects, "retriever")  # this machine cannot mount images, so the init container runs by hand
    mounted = tmp_path / "mounted"
    fetch_release(uri, mounted, digest=digest, public_key=public)  # as the README builds the image
    here = {
        "/var/lib/rankops/release": str(mounted),
        "/etc/rankops/trust/release-signing.pub": str(public),
        "$(RANKOPS_RELEASE_DIGEST)": digest,
    }
    command = [sys.executable, *fetch(objects)["command"][1:], *(here.get(a, a) for a in fetch(objects)["args"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, digest in done.stdout) == (0, True), done.stderr
    (mounted / "unexpected.txt").write_text("a tag was moved")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "unexpected.txt" in done.stderr
    assert server(objects)["args"][:4] == [
        "--release",
        "/var/lib/rankops/release",
        "--digest",
        "$(RANKOPS_RELEASE_DIGEST)",
    ]
