"""A local pod runs what the real overlay says, with two tiny programs in place of fetcher and server."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import InvalidOverlay, VerificationFailed
from rankops.overlays.local_pod import LocalPod
from rankops.overlays.pod_plan import PodPlan, expand, pod_plan
from tests.overlays_manifests.conftest import PIN, RELEASE, Objects, fetch, one, pod, server, trust

SERVER = Path(__file__).parent / "tiny_server.py"
FETCH = """
import pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
target = pathlib.Path(arguments["--to"])
target.mkdir()
(target / "release.txt").write_text(arguments["--digest"] + " from " + arguments["--uri"])
"""


@pytest.fixture
def objects(production: Objects) -> Objects:
    """The production overlay; only the two programs are replaced, their arguments are the overlay's."""
    fetch(production)["command"] = ["python", "-c", FETCH]
    # two slashes: a checkout below this machine's /tmp does not lie in the container's
    server(production)["command"] = ["python", f"/{SERVER}"]
    for probe in ("startupProbe", "readinessProbe"):
        server(production)[probe] |= {"periodSeconds": 1, "failureThreshold": 20}
    return production


def ask(pod: LocalPod) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{pod.url}/", timeout=5) as answer:
        return json.loads(answer.read())


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_the_pod_runs_the_overlays_containers_on_its_volumes_and_drains(objects: Objects, tmp_path: Path) -> None:
    said: list[str] = []
    with LocalPod(pod_plan(objects, "retriever"), tmp_path, progress=said.append) as running:
        given = ask(running)
        logs = running.logs
        requests = running.path("/var/lib/rankops/requests")
        assert requests.is_dir()
    assert given["arguments"] == {
        "--release": str(tmp_path / "volumes/state/release"),
        "--digest": RELEASE,
        "--public-key": str(tmp_path / "volumes/trust/release-signing.pub"),
        "--host": "127.0.0.1",
        "--port": str(running.port),
        "--request-log": str(requests),
    }
    assert given["env"]["HOME"] == given["env"]["TMPDIR"] == str(tmp_path / "volumes/tmp")
    assert given["env"]["RANKOPS_RELEASE_URI"] == PIN.uri
    assert f"release: {RELEASE} from {PIN.uri}" in logs
    assert "trusts: -----BEGIN PUBLIC KEY-----" in logs
    assert (requests / "drained").read_text() == "yes"
    assert not (tmp_path / "server.pid").exists()
    assert said[0] == "running retriever/fetch-release"


def test_the_server_listens_on_loopback_only(objects: Objects, tmp_path: Path) -> None:
    with LocalPod(pod_plan(objects, "retriever"), tmp_path) as running:
        table = Path("/proc/net/tcp")
        if not table.exists():
            pytest.skip("needs /proc/net/tcp")
        listening = [line.split()[1] for line in table.read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [at for at in listening if at.endswith(f":{running.port:04X}")] == [f"0100007F:{running.port:04X}"]


def test_the_environment_of_this_machine_does_not_leak_in_but_extra_variables_do(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKOPS_DIGEST", "f" * 64)
    extra = {"RANKOPS_TRUST_REQUEST_TIME": "1", "HOME": "/somewhere"}
    with LocalPod(pod_plan(objects, "retriever"), tmp_path, extra_env=extra) as running:
        env = ask(running)["env"]
    assert "RANKOPS_DIGEST" not in env
    assert env.items() >= extra.items()


def test_a_failing_init_container_ends_it_with_the_last_twenty_lines(objects: Objects, tmp_path: Path) -> None:
    fetch(objects)["command"] = ["python", "-c", "for i in range(30): print('line', i, '.')\nraise SystemExit(4)"]
    with pytest.raises(VerificationFailed) as caught, LocalPod(pod_plan(objects, "retriever"), tmp_path):
        pytest.fail("must not become ready")
    message = str(caught.value)
    assert "'fetch-release' of 'retriever' ended with exit status 4" in message
    assert "line 10 ." in message
    assert "line 9 ." not in message
    assert not (tmp_path / "logs" / "server.log").exists()


def test_a_server_that_dies_is_reported_at_once_with_its_log(objects: Objects, tmp_path: Path) -> None:
    plan = pod_plan(objects, "retriever")
    with pytest.raises(VerificationFailed, match=r"(?s)exit status 3 before it was ready.*line 29"):
        LocalPod(plan, tmp_path, extra_env={"MODE": "dies"}).start()


def test_a_server_that_is_never_ready_is_given_the_budget_of_its_probe_and_then_ended(
    objects: Objects, tmp_path: Path
) -> None:
    server(objects)["startupProbe"] |= {"failureThreshold": 4}
    running = LocalPod(pod_plan(objects, "retriever"), tmp_path, extra_env={"MODE": "never-ready"})
    with pytest.raises(VerificationFailed, match=r"not ready after 4 s \(/readyz: "):
        running.start()
    assert (tmp_path / "volumes/state/requests/drained").exists()


def test_a_server_that_ignores_sigterm_is_killed_after_the_grace_period(objects: Objects, tmp_path: Path) -> None:
    pod(objects)["spec"]["terminationGracePeriodSeconds"] = 1
    said: list[str] = []
    running = LocalPod(pod_plan(objects, "retriever"), tmp_path, extra_env={"MODE": "stubborn"}, progress=said.append)
    with running:
        pid = int((tmp_path / "server.pid").read_text())
        assert is_alive(pid)
    assert not is_alive(pid)
    assert said[-1] == "retriever ignored SIGTERM for 1 s: SIGKILL"


def test_a_server_that_a_killed_run_left_behind_is_ended_by_the_next(objects: Objects, tmp_path: Path) -> None:
    script = """
import os, pickle, sys
from pathlib import Path
from rankops.overlays.local_pod import LocalPod
plan = pickle.loads(Path(sys.argv[1]).read_bytes())
LocalPod(plan, Path(sys.argv[2])).start()
os._exit(9)
"""
    import pickle

    plan = pod_plan(objects, "retriever")
    (tmp_path / "plan").write_bytes(pickle.dumps(plan))
    root = tmp_path / "root"
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "plan", root], check=False)
    assert done.returncode == 9
    left = int((root / "server.pid").read_text())
    assert is_alive(left)
    with LocalPod(plan, root):
        deadline = time.monotonic() + 5
        while is_alive(left) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(left)


def test_a_pid_file_that_names_another_process_harms_nobody(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "server.pid").write_text(f"{os.getpid()}\n")
    with LocalPod(pod_plan(objects, "retriever"), tmp_path) as running:
        assert ask(running)


def test_volumes_are_fresh_for_each_pod_as_in_a_cluster(objects: Objects, tmp_path: Path) -> None:
    plan = pod_plan(objects, "retriever")
    with LocalPod(plan, tmp_path):
        pass
    with LocalPod(plan, tmp_path) as running:
        assert not (running.path("/var/lib/rankops/requests") / "drained").exists()


def test_a_port_that_is_taken_is_an_error_when_it_was_asked_for(objects: Objects, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(VerificationFailed, match="ddress already in use"):
            LocalPod(pod_plan(objects, "retriever"), tmp_path, port=taken.getsockname()[1]).start()


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x-$(A)-$(B)", "x-1-2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $(A", "$A ${A} $(A"),
        ("a$$b$", "a$b$"),
    ],
)
def test_variables_expand_as_in_kubernetes(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def test_variables_see_those_defined_before_them_only(objects: Objects, tmp_path: Path) -> None:
    server(objects)["env"] += [
        {"name": "EARLY", "value": "$(LATE)"},
        {"name": "LATE", "value": "$(RANKOPS_RELEASE_DIGEST)!"},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['rankops.dev/dataset']"}}},
        {"name": "STORE", "value": "file:///tmp/store and /tmp/x:/tmpfile:/var/lib/rankops"},
    ]
    with LocalPod(pod_plan(objects, "retriever"), tmp_path) as running:
        env = ask(running)["env"]
    assert env["EARLY"] == "$(LATE)"
    assert env["LATE"] == f"{RELEASE}!"
    assert env["ME"] == PIN.dataset
    volumes = tmp_path / "volumes"
    assert env["STORE"] == f"file:///tmp/store and {volumes}/tmp/x:/tmpfile:{volumes}/state"


def test_a_variable_from_a_secret_has_to_be_passed_in(objects: Objects, tmp_path: Path) -> None:
    secret = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "k"}}}
    fetch(objects)["env"].append(secret)
    plan = pod_plan(objects, "retriever")
    with pytest.raises(InvalidOverlay, match="comes from the Secret 'store'"):
        LocalPod(plan, tmp_path).start()
    with LocalPod(plan, tmp_path, extra_env={"AWS_SECRET_ACCESS_KEY": "x"}) as running:
        assert ask(running)["env"]["AWS_SECRET_ACCESS_KEY"] == "x"


def _without_host(o: Objects) -> None:
    server(o)["args"] = ["--port=8080"]


def _with_sidecar(o: Objects) -> None:
    pod(o)["spec"]["containers"].append({"name": "proxy"})


CANNOT: list[tuple[Callable[[Objects], Any], str]] = [
    (lambda o: o.remove(one(o, "Deployment")), "expected one Deployment 'retriever', found 0"),
    (lambda o: o.remove(trust(o)), "which the overlay does not render"),
    (lambda o: server(o).pop("command"), "the image's entry point"),
    (_with_sidecar, "has 2 containers"),
    (_without_host, "does not name its port 8080 and its address"),
    (lambda o: server(o).pop("ports"), "has no port or no HTTP probe"),
    (lambda o: pod(o)["spec"]["volumes"].append({"name": "v", "hostPath": {"path": "/"}}), "of type hostPath"),
]


@pytest.mark.parametrize(("spoil", "message"), CANNOT, ids=[message for _, message in CANNOT])
def test_what_a_local_pod_cannot_run_is_refused_in_words(
    objects: Objects, tmp_path: Path, spoil: Callable[[Objects], Any], message: str
) -> None:
    spoil(objects)
    with pytest.raises(InvalidOverlay, match=message):
        LocalPod(pod_plan(objects, "retriever"), tmp_path).start()


def test_a_program_that_is_not_here_fails_with_its_name(objects: Objects, tmp_path: Path) -> None:
    server(objects)["command"] = ["/opt/server/run"]
    with pytest.raises(VerificationFailed, match="/opt/server/run"):
        LocalPod(pod_plan(objects, "retriever"), tmp_path).start()


def test_a_config_map_cannot_write_outside_its_volume(objects: Objects, tmp_path: Path) -> None:
    plan: PodPlan = pod_plan(objects, "retriever")
    evil = dataclasses.replace(plan, volumes={**plan.volumes, "trust": {"../../x": b"x"}})
    with pytest.raises(InvalidOverlay, match="outside itself"):
        LocalPod(evil, tmp_path / "root").start()
    assert not (tmp_path / "root" / "x").exists()
