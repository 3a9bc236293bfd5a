"""Dagster on Kubernetes: the instance that platform/dagster describes, loaded by Dagster, on a real PostgreSQL, launching
runs, steps and trainings against an API server over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rankops.overlays import rules, schemas
from rankops.state import REPOSITORY
from tests.clusters_platform.api_server import Cluster, kubeconfig, serve
from tests.clusters_platform.conftest import OVERLAYS, Objects, Render, of_kind
from tests.clusters_platform.test_order_and_rights import rights

IMAGE = "registry.example.com/rankops-pipeline@sha256:" + "1" * 64
SECRETS = {
    "dagster-postgresql": {"postgresql-password": 'it\'s a "secret" $1'},
    "rankops-git": {"token": "git-token"},
}
# Why a rule does not hold for a run's pod: it starts Jobs, and its objects lie in other folders.
JOB_EXCEPTIONS = {"security", "reference"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real PostgreSQL on an empty volume, initialised by our script; yields its port."""
    programs = [shutil.which(name) for name in ("initdb", "postgres", "psql", "pg_isready")]
    if None in programs:
        pytest.skip("needs PostgreSQL's programs")
    folder, port = tmp_path_factory.mktemp("postgresql"), free_port()
    user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        for parent in (folder, *folder.parents[:4]):
            parent.chmod(parent.stat().st_mode | 0o055)
        shutil.chown(folder, "nobody")
        user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    data, password = folder / "data", folder / "password"
    password.write_text("superuser")
    subprocess.run(
        [*user, "initdb", "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}", "-N"],
        check=True,
        capture_output=True,
    )
    options = ["-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-c", "fsync=off"]
    server = subprocess.Popen([*user, "postgres", "-D", str(data), *options], stderr=subprocess.DEVNULL)
    try:
        ready = ["pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "30"]
        while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
            assert server.poll() is None, "PostgreSQL did not start"
        env = {
            "PATH": os.environ["PATH"],
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGPASSWORD": "superuser",
            "POSTGRES_USER": "postgres",
            "DAGSTER_PASSWORD": SECRETS["dagster-postgresql"]["postgresql-password"],
            "MLFLOW_PASSWORD": "another'one",
        }
        script = OVERLAYS / "platform/postgresql/init-databases.sh"
        subprocess.run(["sh", str(script)], env=env, check=True)
        yield port
    finally:
        server.terminate()
        server.wait()


def environment(rendered: Render, port: int) -> dict[str, str]:
    """What the pods of Dagster see: dagster.env and the password, with the database of this test."""
    maps = of_kind(rendered("platform/dagster"), "ConfigMap")
    values = next(obj["data"] for name, obj in maps.items() if name.startswith("dagster-env-"))
    password = SECRETS["dagster-postgresql"]["postgresql-password"]
    return {**values, "DAGSTER_PG_HOST": "127.0.0.1", "DAGSTER_PG_PORT": str(port), "DAGSTER_PG_PASSWORD": password}


def instance_yaml(rendered: Render) -> str:
    maps = of_kind(rendered("platform/dagster"), "ConfigMap")
    return next(obj["data"]["dagster.yaml"] for name, obj in maps.items() if name.startswith("dagster-instance-"))


@pytest.fixture
def api(rendered: Render, database: int) -> Iterator[Cluster]:
    name = env_config_map(rendered("platform/dagster"))
    cluster = Cluster({name: environment(rendered, database)}, SECRETS)
    yield cluster
    cluster.close()


def env_config_map(objects: Objects) -> str:
    return next(name for name in of_kind(objects, "ConfigMap") if name.startswith("dagster-env-"))


@pytest.fixture
def instance(
    api: Cluster, rendered: Render, database: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The instance of our dagster.yaml; the one change is a kubeconfig in place of the pod's own account."""
    from dagster import DagsterInstance

    server = serve(api)
    config = kubeconfig(server, tmp_path / "kubeconfig")
    text = instance_yaml(rendered).replace(
        "job_namespace: rankops",
        f"job_namespace: rankops\n    load_incluster_config: false\n    kubeconfig_file: {config}",
    )
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text(text)
    for key, value in environment(rendered, database).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("DAGSTER_ENV_CONFIG_MAP", env_config_map(rendered("platform/dagster")))
    with DagsterInstance.from_config(str(tmp_path / "home")) as loaded:
        yield loaded
    server.shutdown()


def test_the_instance_is_what_dagster_understands(instance: Any) -> None:
    from dagster._core.run_coordinator import QueuedRunCoordinator
    from dagster_k8s import K8sRunLauncher
    from dagster_postgres.event_log import PostgresEventLogStorage
    from dagster_postgres.run_storage import PostgresRunStorage
    from dagster_postgres.schedule_storage import PostgresScheduleStorage

    assert isinstance(instance.run_launcher, K8sRunLauncher)
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
    assert instance.run_monitoring_enabled and instance.run_monitoring_max_resume_run_attempts == 2
    assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 8
    assert not instance.telemetry_enabled
    assert instance.get_runs() == []


def test_the_workspace_names_the_service_and_port_of_the_code_location(rendered: Render, tmp_path: Path) -> None:
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    objects = rendered("platform/dagster")
    maps = of_kind(objects, "ConfigMap")
    text = next(obj["data"]["workspace.yaml"] for obj in maps.values() if "workspace.yaml" in obj["data"])
    (tmp_path / "workspace.yaml").write_text(text)
    (origin,) = location_origins_from_yaml_paths([str(tmp_path / "workspace.yaml")])
    service = of_kind(objects, "Service")[origin.host]["spec"]["ports"][0]
    pod = of_kind(objects, "Deployment")["dagster-code"]["spec"]["template"]["spec"]["containers"][0]
    assert origin.port == service["port"] == pod["ports"][0]["containerPort"]
    assert f"--port={origin.port}" in pod["args"] and f"--location-name={origin.location_name}" in pod["args"]


def test_the_code_location_serves_and_its_probe_is_answered(rendered: Render) -> None:
    """The Deployment's own command with another port, and the health service that the kubelet asks."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    pod = of_kind(rendered("platform/dagster"), "Deployment")["dagster-code"]["spec"]["template"]["spec"]
    container, port = pod["containers"][0], free_port()
    changed = {"--host": "127.0.0.1", "--port": str(port), "--working-directory": str(REPOSITORY)}
    arguments = dict(argument.split("=", 1) for argument in container["args"]) | changed
    command = [str(Path(sys.executable).parent / container["command"][0]), *container["command"][1:]]
    server = subprocess.Popen([*command, *(f"{k}={v}" for k, v in arguments.items())], cwd="/", env={"HOME": "/tmp"})
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(channel).result(timeout=60)
        request = health_pb2.HealthCheckRequest(service=container["readinessProbe"]["grpc"]["service"])
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert container["readinessProbe"]["grpc"]["port"] == container["ports"][0]["containerPort"]
        from dagster._grpc.client import DagsterGrpcClient

        found = json.loads(DagsterGrpcClient(port=port, host="127.0.0.1").list_repositories())
        assert found.get("executable_path") and "__repository__" in json.dumps(found)
    finally:
        server.terminate()
        server.wait()


def new_run(instance: Any, module: str, job: str) -> Any:
    from dagster import DagsterRun
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT, JobPythonOrigin, RepositoryPythonOrigin
    from dagster._core.storage.dagster_run import DagsterRunStatus

    pointer = ModuleCodePointer(module, "defs", str(REPOSITORY))
    origin = RepositoryPythonOrigin(sys.executable, pointer, IMAGE, DEFAULT_DAGSTER_ENTRY_POINT, {})
    run = DagsterRun(
        job_name=job, job_code_origin=JobPythonOrigin(job, origin), run_config={}, status=DagsterRunStatus.STARTING
    )
    return instance.add_run(run)


def job_violations(job: dict[str, Any]) -> set[str]:
    found = [*schemas.check([job], "1.30"), *schemas.check([job], "1.37"), *rules.check([job])]
    return {v.rule for v in found if v.rule not in JOB_EXCEPTIONS} | {
        f"{v.path}: {v.message}" for v in found if v.rule == "security" and "automount" not in v.path
    }


def test_the_daemon_has_exactly_the_rights_to_launch_watch_explain_and_stop_a_run(
    instance: Any, api: Cluster, rendered: Render
) -> None:
    from dagster._core.launcher import LaunchRunContext

    api.node = False
    run = new_run(instance, "tests.clusters_platform.tiny_location", "train")
    launcher = instance.run_launcher
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    (job,) = api.created
    assert launcher.check_run_worker_health(run).status
    assert "dagster-run-" in launcher.get_run_worker_debug_info(run)
    api.stop(job["metadata"]["name"])
    api.pods.clear()  # the pod was evicted: what remains is the Job, and its events
    launcher.get_run_worker_debug_info(run)
    api.pods[job["metadata"]["name"]] = {
        "metadata": {"name": job["metadata"]["name"]},
        "spec": job["spec"]["template"]["spec"],
    }
    before = set(api.requests)
    api.requests.clear()
    launcher.terminate(run.run_id)
    roles = of_kind(rendered("platform/dagster"), "Role")
    assert api.requests == rights(roles["dagster-webserver"])
    assert before | api.requests == rights(roles["dagster-daemon"])
    template = job["spec"]["template"]
    assert job_violations(job) == set()
    assert template["spec"]["serviceAccountName"] == "dagster-run"
    assert template["spec"]["containers"][0]["image"] == IMAGE
    assert job["spec"]["backoffLimit"] == 0 and job["spec"]["ttlSecondsAfterFinished"] > 0


def test_no_credential_is_in_the_text_of_a_run_pod(instance: Any, api: Cluster) -> None:
    from dagster._core.launcher import LaunchRunContext

    api.node = False
    run = new_run(instance, "tests.clusters_platform.tiny_location", "train")
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    text = json.dumps(api.created)
    for secret in SECRETS.values():
        for value in secret.values():
            assert json.dumps(value)[1:-1] not in text


def test_a_run_trains_in_a_gpu_pod_with_exactly_its_rights(
    instance: Any, api: Cluster, rendered: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, step Job and training pod for real, each in a process of its own, as their manifests say."""
    from dagster import DagsterRunStatus
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
    from dagster._core.execution.api import execute_run

    state = tmp_path / "state"
    state.mkdir()
    (state / "job.json").write_text("{}")
    for values in api.config_maps.values():
        values |= {"TINY_STATE": str(state), "TINY_KUBECONFIG": str(tmp_path / "kubeconfig")}
    monkeypatch.setenv("HOSTNAME", "the-run-pod")
    run = new_run(instance, "tests.clusters_platform.tiny_location", "train")
    instance.add_run_tags(run.run_id, {"docker/image": IMAGE})
    repository = ReconstructableRepository(run.job_code_origin.repository_origin.code_pointer, container_image=IMAGE)
    result = execute_run(ReconstructableJob(repository, "train"), instance.get_run_by_id(run.run_id), instance)
    assert result.success, api.output(api.created[0]["metadata"]["name"])
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.SUCCESS
    logs = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert "the training pod speaks" in logs
    assert f"trained on gpu-0 with image {IMAGE}" in logs

    step, pod = api.created
    assert step["kind"] == "Job" and job_violations(step) == set()
    assert step["metadata"]["ownerReferences"][0]["uid"] == "uid-of-the-run"
    mounts = {m["name"]: m["mountPath"] for m in step["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["shared"] == "/var/lib/rankops-shared"
    assert json.loads((state / "result.json").read_text())["secrets"] == []
    check_training_pod(pod, rendered)

    # What the executor asks every 20 seconds of a longer step, and does to it when the run is cancelled.
    instance.run_launcher._api_client.get_job_status(namespace="rankops", job_name=step["metadata"]["name"])
    instance.run_launcher._api_client.delete_job(step["metadata"]["name"], "rankops")
    assert api.requests == rights(of_kind(rendered("platform/dagster"), "Role")["dagster-run"])


def check_training_pod(pod: dict[str, Any], rendered: Render) -> None:
    accounts = of_kind(rendered("platform/dagster"), "ServiceAccount")
    assert pod["spec"]["serviceAccountName"] in accounts
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["activeDeadlineSeconds"] == 6 * 3600
    found = {v.rule for version in schemas.VERSIONS for v in schemas.check([pod], version)}
    assert found | {v.rule for v in rules.check([pod])} == {"reference"}  # its account lies in platform/dagster
    policy = of_kind(rendered("platform/dagster"), "NetworkPolicy")["training"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "1"


def test_every_secret_that_pods_ask_for_is_in_the_readme(rendered: Render) -> None:
    readme = (OVERLAYS / "platform" / "README.md").read_text()
    text = "".join(repr(rendered(f"platform/{name}")) for name in ("dagster", "mlflow", "postgresql"))
    text += repr(YAML(typ="safe").load(instance_yaml(rendered)))
    import re

    names = set(re.findall(r"'secretKeyRef': \{[^}]*'name': '([^']+)'", text))
    names |= set(re.findall(r"'secretRef': \{'name': '([^']+)'", text)) | set(
        re.findall(r"'secretName': '([^']+)'", text)
    )
    assert {"rankops-git", "rankops-signing", "dagster-postgresql", "mlflow-postgresql"} <= names
    for name in names:
        assert f"secret generic {name} " in readme, name
