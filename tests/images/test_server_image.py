"""The server's image, run as its overlay says: under its securityContext, from fetching the release to draining."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import VerificationFailed
from rankops.overlays.docker_pod import DockerPod
from rankops.overlays.pod_plan import pod_plan
from rankops.release.signing import create_key_pair
from rankops.serving.client import Client
from tests.images.conftest import Docker, Shop
from tests.serving.test_drain import Caller, wait

pytestmark = [pytest.mark.images, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def pod(docker: Docker, image: str, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerPod]:
    plan = pod_plan(shop.objects, "retriever")
    root = tmp_path_factory.mktemp("pod")
    with DockerPod(plan, image, root, docker=docker.command, seen=[shop.store]) as running:
        yield running


def inspect(docker: Docker, pod: DockerPod) -> dict[str, Any]:
    return json.loads(docker("inspect", pod.container()))[0]


def test_it_runs_under_the_rendered_security_context(docker: Docker, pod: DockerPod) -> None:
    facts = inspect(docker, pod)
    host = facts["HostConfig"]
    assert facts["Config"]["User"] == "10001:10001"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] in (None, [])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 1 << 30
    assert host["PidsLimit"] == 256
    assert host["GroupAdd"] == ["10001"]
    # and the kernel agrees: no capability at all, no new privileges, seccomp filters system calls
    status = docker("exec", pod.container(), "python", "-c", "print(open('/proc/1/status').read())")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(values[name], 16) == 0, name
    assert values["NoNewPrivs"] == "1"
    assert values["Seccomp"] == "2"
    assert set(values["Uid"].split()) == {"10001"}


def test_it_becomes_ready_and_answers_search_and_the_protocol(pod: DockerPod, shop: Shop) -> None:
    print(f"ready {pod.ready_seconds:.2f} s after its container started (a release of 60 products)")
    with Client(pod.url) as client:
        found = client.post("/search", {"query": "red shoe", "k": 3})
        assert found.status == 200
        assert found.body["results"][0]["product_id"] == "p000"
        assert found.body["release"] == shop.digest
        assert client.get("/v2/models/retriever").status == 200
        tensor = {"name": "query", "datatype": "BYTES", "shape": [1], "data": ["red shoe"]}
        inferred = client.post("/v2/models/retriever/infer", {"inputs": [tensor]})
        assert inferred.status == 200, inferred.body
        assert inferred.body["outputs"][0]["shape"][0] == 1


def test_what_is_installed_and_what_the_bill_of_materials_says_are_the_same(docker: Docker, pod: DockerPod) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    script = (
        "import importlib.metadata as m, json; print(json.dumps({"
        "'bom': open('/opt/rankops/share/sbom.cdx.json').read(),"
        "'python': sorted([d.name.lower().replace('_', '-').replace('.', '-'), d.version] for d in m.distributions()"
        " if str(d.locate_file('')).startswith('/opt/rankops')),"
        "'debian': open('/var/lib/dpkg/status').read()}))"
    )
    there = json.loads(docker("exec", pod.container(), "python", "-c", script))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(there["bom"]) is None
    bom = json.loads(there["bom"])
    parts = bom["components"]
    python = [part for part in parts if part.get("purl", "").startswith("pkg:pypi/")]
    assert sorted([part["purl"][9:].split("@")[0], part["version"]] for part in python) == there["python"]
    assert len(there["python"]) > 30
    stanzas = [stanza for stanza in there["debian"].split("\n\n") if "Status: install ok installed" in stanza]
    names = {line[9:] for stanza in stanzas for line in stanza.splitlines() if line.startswith("Package: ")}
    assert {part["name"] for part in parts if part.get("purl", "").startswith("pkg:deb/")} == names
    assert {part["name"] for part in parts} >= {"rankops", "libc6", "onnxruntime"}
    without = [part["name"] for part in python if not part.get("licenses")]
    assert without == [], "Python distributions without a licence"
    assert all(part["hashes"][0]["alg"] == "SHA-256" for part in python)
    refused = [part["name"] for part in python if "AGPL" in json.dumps(part["licenses"])]
    assert refused == []
    assert bom["metadata"]["component"]["name"] == "rankops-server"


def test_the_image_holds_nothing_that_trains_builds_or_installs(docker: Docker, pod: DockerPod) -> None:
    script = (
        "import importlib.util as u; print([n for n in ('torch', 'transformers', 'dagster', 'pip', 'setuptools', 'polars',"
        " 'rankops.training', 'rankops.data', 'rankops.cli', 'huggingface_hub') if u.find_spec(n.split('.')[0])"
        " and u.find_spec(n)])"
    )
    assert docker("exec", pod.container(), "python", "-c", script) == "[]"


def test_it_writes_only_to_its_volumes_even_where_it_could(
    docker: Docker, image: str, shop: Shop, tmp_path: Path
) -> None:
    # With a writable root, and without a shell: over both stand files that cannot be executed.
    def free(container):
        return replace(container, confinement=replace(container.confinement, read_only=False))

    plan = replace(shop.plan, server=free(shop.plan.server), init=tuple(map(free, shop.plan.init)))
    plan = replace(plan, server=replace(plan.server, pre_stop=0.0))
    extra = {"RANKOPS_REQUEST_LOG_SECONDS": "0.1"}
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"")
    without_shell = [f"--volume={nothing}:{shell}:ro" for shell in ("/bin/dash", "/bin/bash", "/bin/sh")]
    with DockerPod(
        plan, image, tmp_path / "pod", docker=docker.command, seen=[shop.store], extra_env=extra, more=without_shell
    ) as pod:
        with Client(pod.url) as client:
            assert client.post("/search", {"query": "red shoe"}).status == 200
        assert pod.stop() == 0
        changes = docker("diff", pod.container()).splitlines()
        written = sorted(path.name for path in pod.volume("state").rglob("*.parquet"))
    mounts = {"/var", "/var/lib", "/var/lib/rankops", "/etc", "/etc/rankops", "/etc/rankops/trust", "/tmp", "/run"}
    parents = {str(parent) for parent in shop.store.parents} | {str(shop.store), "/bin", "/usr", "/usr/bin"}
    unexpected = [line for line in changes if line.split(" ", 1)[1] not in mounts | parents]
    assert [line for line in unexpected if not line.endswith(("/dash", "/bash", "/sh"))] == []
    assert any(name not in ("products.parquet",) for name in written), "the request log is on its volume"


def test_sigterm_under_load_drains_without_a_dropped_request(
    docker: Docker, image: str, shop: Shop, tmp_path: Path
) -> None:
    plan = replace(shop.plan, server=replace(shop.plan.server, pre_stop=1.0))
    with DockerPod(plan, image, tmp_path, docker=docker.command, seen=[shop.store]) as pod:
        withdrawn = threading.Event()
        callers = [Caller(pod.port, pause, withdrawn) for pause in (0, 0, 0.003, 0.01, 0.05, 0.2, 0.5)]
        for caller in callers:
            caller.start()
        wait(lambda: all(caller.answered > 3 for caller in callers))
        withdrawn.set()  # endpoints go first; then the preStop sleep, SIGTERM, and what is under way is finished
        assert pod.stop() == 0
        for caller in callers:
            caller.join(20)
        assert "drained" in pod.logs
    assert [drop for caller in callers for drop in caller.dropped] == []
    assert {status for caller in callers for status in caller.statuses} == {200}


def test_any_uid_will_do(docker: Docker, image: str, shop: Shop, tmp_path: Path) -> None:
    with (
        DockerPod(shop.plan, image, tmp_path, docker=docker.command, seen=[shop.store], user=(1000650000, 0)) as pod,
        Client(pod.url) as client,
    ):
        assert client.post("/search", {"query": "red shoe"}).status == 200


def test_a_release_with_another_digest_or_signer_is_refused_by_init_container_and_server(
    docker: Docker, image: str, shop: Shop, tmp_path: Path
) -> None:
    other = "d" * 64
    objects = json.loads(json.dumps(shop.objects).replace(shop.digest, other))
    # the store does hold the release: only the digest that the overlay pins is another
    uri = next(v.value for v in shop.plan.init[0].env if v.name == "RANKOPS_RELEASE_URI")
    objects = json.loads(json.dumps(objects).replace(uri.replace(shop.digest, other), uri))
    with pytest.raises(VerificationFailed, match=rf"(?s)'fetch-release'.*exit status 3.*{other}"):
        DockerPod(
            pod_plan(objects, "retriever"), image, tmp_path / "a", docker=docker.command, seen=[shop.store]
        ).start()

    _, public = create_key_pair(tmp_path / "keys")
    objects = copy.deepcopy(shop.objects)
    for obj in objects:
        if obj["kind"] == "ConfigMap" and "release-signing.pub" in obj.get("data", {}):
            obj["data"]["release-signing.pub"] = public.read_text()
    plan = pod_plan(objects, "retriever")
    with pytest.raises(VerificationFailed, match=r"(?s)'fetch-release'.*exit status 3.*signature"):
        DockerPod(plan, image, tmp_path / "b", docker=docker.command, seen=[shop.store]).start()

    # A volume that somebody changed after the init container: the server checks again, and says why in one line.
    server = DockerPod(plan, image, tmp_path / "c", docker=docker.command, seen=[shop.store])
    fetch_with_right_key = replace(shop.plan, init=shop.plan.init, server=plan.server, volumes=shop.plan.volumes)
    server.plan = replace(fetch_with_right_key, init=tuple(shop.plan.init))
    tamper = (
        "import pathlib; p = pathlib.Path('/var/lib/rankops/release/index/vectors.npy'); p.chmod(0o644);"
        "b = bytearray(p.read_bytes()); b[-1] ^= 1; p.write_bytes(bytes(b))"
    )
    tampering = replace(shop.plan.init[0], name="tamper", command=("python", "-c", tamper), args=())
    server.plan = replace(server.plan, init=(*shop.plan.init, tampering))
    with pytest.raises(VerificationFailed, match=r"(?s)'server'.*exit status 3") as refused:
        server.start()
    told = [line for line in str(refused.value).splitlines() if "refuses to start" in line]
    assert len(told) == 1
    assert "vectors.npy was changed" in told[0]


def test_the_bill_of_materials_names_the_code_that_is_in_it(docker: Docker, image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert set(labels) >= {f"org.opencontainers.image.{name}" for name in ("source", "version", "revision", "title")}
    assert labels["dev.rankops.sbom"] == "/opt/rankops/share/sbom.cdx.json"
