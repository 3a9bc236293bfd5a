"""How a rendered overlay becomes ``docker run`` flags; no engine is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rankops.errors import InvalidOverlay, ToolMissing
from rankops.overlays.docker_pod import DockerPod, confinement_flags
from rankops.overlays.pod_plan import Confinement, PodPlan, Variable, pod_plan
from tests.images.conftest import Shop


def test_the_overlays_restrictions_become_flags(shop: Shop) -> None:
    assert confinement_flags(shop.plan.server.confinement) == [
        "--user", "10001:10001", "--group-add=10001", "--read-only", "--security-opt=no-new-privileges",
        "--cap-drop=ALL", "--memory=1073741824", "--memory-swap=1073741824",
    ]  # fmt: skip


def test_an_overlay_that_allows_more_is_run_with_more() -> None:
    loose = Confinement(add=("NET_BIND_SERVICE",), seccomp="Unconfined", cpu=1.5)
    assert confinement_flags(loose) == ["--cap-add=NET_BIND_SERVICE", "--security-opt=seccomp=unconfined", "--cpus=1.5"]
    assert confinement_flags(loose, user=(5, 0))[:2] == ["--user", "5:0"]
    with pytest.raises(InvalidOverlay, match="Localhost"):
        confinement_flags(Confinement(seccomp="Localhost"))


def test_commands_arguments_variables_and_volumes_are_the_overlays(shop: Shop, tmp_path: Path) -> None:
    pod = DockerPod(shop.plan, "image:1", tmp_path, extra_env={"RANKOPS_THREADS": "1"}, seen=[Path("/store")])
    words = pod.flags(shop.plan.server)
    at = words.index("image:1")
    assert words[at - 2 : at + 3] == ["--entrypoint", "python", "image:1", "-m", "rankops.serving"]
    assert words[words.index("--digest") + 1] == shop.digest, "$(RANKOPS_RELEASE_DIGEST) is expanded"
    assert {"--env=HOME=/tmp", "--env=RANKOPS_THREADS=1", "--volume=/store:/store:ro"} <= set(words)
    volumes = {words[i + 1] for i, word in enumerate(words) if word == "--volume"}
    assert f"{tmp_path}/volumes/state:/var/lib/rankops" in volumes
    assert f"{tmp_path}/volumes/trust:/etc/rankops/trust:ro" in volumes


def test_memory_emptydirs_become_tmpfs_and_secrets_must_be_passed(shop: Shop, tmp_path: Path) -> None:
    objects = [dict(obj) for obj in shop.objects]
    (deployment,) = [obj for obj in objects if obj["kind"] == "Deployment"]
    for volume in deployment["spec"]["template"]["spec"]["volumes"]:
        if volume["name"] == "tmp":
            volume["emptyDir"] = {"medium": "Memory", "sizeLimit": "64Mi"}
    plan = pod_plan(objects, "retriever")
    assert plan.in_memory == {"tmp": 64 << 20}
    words = DockerPod(plan, "image:1", tmp_path).flags(plan.server)
    assert words[words.index("--tmpfs") + 1] == "/tmp:rw,mode=1777,size=67108864"
    secret = replace(plan.server, env=(*plan.server.env, Variable("TOKEN", secret="store")))
    with pytest.raises(InvalidOverlay, match="Secret 'store'"):
        DockerPod(plan, "image:1", tmp_path).flags(secret)


def test_an_engine_that_is_not_there_is_a_missing_tool(shop: Shop, tmp_path: Path) -> None:
    plan: PodPlan = shop.plan
    with pytest.raises(ToolMissing, match="no-such-docker"):
        DockerPod(plan, "image:1", tmp_path, docker=("no-such-docker",)).start()
