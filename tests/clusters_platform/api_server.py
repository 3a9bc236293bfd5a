"""A small Kubernetes API server over HTTP whose node is this machine: pods and Jobs run as processes.

It speaks as much of the API as dagster-k8s asks for, and writes down who asked for what, so that a Role can be compared
with what is really needed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/v\d\w*)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<resource>\w+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>\w+))?$"
)
STAMP = "2026-03-02T00:00:00Z"


class Cluster:
    """The state: objects that were created, their processes, and every request as ``(group, resource, verb)``."""

    def __init__(self, config_maps: dict[str, dict[str, str]], secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.config_maps, self.secrets = config_maps, secrets
        self.node = True
        """False: pods are accepted and only wait."""
        self.requests: set[tuple[str, str, str]] = set()
        self.created: list[dict[str, Any]] = []
        self.pods: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.outputs: dict[str, str] = {}
        self.lock = threading.Lock()

    def start(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Create a Pod or a Job, and run its first container's command."""
        spec = obj["spec"]["template"]["spec"] if obj["kind"] == "Job" else obj["spec"]
        name, container = obj["metadata"]["name"], spec["containers"][0]
        self.created.append(obj)
        labels = {**obj["metadata"].get("labels", {}), "job-name": name}
        self.pods[name] = {"metadata": {"name": name, "uid": f"uid-{name}", "labels": labels}, "spec": spec}
        command = [*container.get("command", []), *container.get("args", [])]
        bin_folder = Path(sys.executable).parent
        if command[0] == "python":
            command[0] = sys.executable
        if not self.node:
            command = ["sleep", "600"]
        process = subprocess.Popen(
            command,
            env={"PATH": f"{bin_folder}:{os.environ['PATH']}", **self._environment(container)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes[name] = process
        return obj

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                found |= self.config_maps[source["configMapRef"]["name"]]
            elif not source["secretRef"].get("optional"):
                found |= self.secrets[source["secretRef"]["name"]]
        for entry in container.get("env", []):
            if "valueFrom" in entry:
                reference = entry["valueFrom"]["secretKeyRef"]
                found[entry["name"]] = self.secrets[reference["name"]][reference["key"]]
            else:
                found[entry["name"]] = entry["value"]
        return found

    def output(self, name: str) -> str:
        """All that a pod printed; waits until it has ended."""
        with self.lock:
            if name not in self.outputs:
                self.outputs[name] = self.processes[name].communicate()[0]
            return self.outputs[name]

    def pod(self, name: str) -> dict[str, Any]:
        """A pod with its status."""
        pod = self.pods[name]
        code = self.processes[name].poll()
        container = pod["spec"]["containers"][0]["name"]
        state = {"running": {"startedAt": STAMP}}
        if code is not None:
            reason = "Completed" if code == 0 else "Error"
            state = {"terminated": {"exitCode": code, "reason": reason, "startedAt": STAMP, "finishedAt": STAMP}}
        status = {
            "phase": "Running" if code is None else "Succeeded" if code == 0 else "Failed",
            "startTime": STAMP,
            "containerStatuses": [
                {
                    "name": container,
                    "image": "x",
                    "imageID": "x",
                    "ready": code is None,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        return {"apiVersion": "v1", "kind": "Pod", **pod, "status": status}

    def job(self, name: str) -> dict[str, Any]:
        """A Job with its status."""
        code = self.processes[name].poll()
        status = {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "status": status}

    def matching(self, resource: str, query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        """Pods or Jobs by field or label selector."""
        if resource == "events":
            return []
        make = self.pod if resource == "pods" else self.job
        field = re.search(r"metadata\.name=([^,]+)", query.get("fieldSelector", [""])[0])
        label = re.search(r"job-name=([^,]+)", query.get("labelSelector", [""])[0])
        wanted = field[1] if field else label[1] if label else None
        return [make(name) for name in list(self.pods) if wanted in (None, name)]

    def stop(self, name: str) -> None:
        """Delete."""
        if name in self.processes:
            self.processes[name].kill()
            self.output(name)

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        match = _PATH.match(path)
        assert match is not None, f"{method} {url} is not part of this API server"
        assert match["namespace"] == "rankops"
        resource, name, sub = match["resource"], match["name"], match["sub"]
        verbs = {"POST": "create", "DELETE": "delete", "GET": "get" if name else "list"}
        self.requests.add((match["group"] or "", f"{resource}/{sub}" if sub else resource, verbs[method]))
        if sub == "log":
            # Dagster takes lines with one time for one message: each gets its own nanosecond, as a kubelet gives it.
            ended = self.processes[name].poll() is not None
            lines = (self.output(name) if ended or "follow" in query else "").splitlines()
            return (
                200,
                "text/plain",
                "".join(f"{STAMP[:-1]}.{at:09d}Z {line}\n" for at, line in enumerate(lines)).encode(),
            )
        found: Any = {"kind": "Status", "status": "Success"}
        if method == "POST":
            kind = {"pods": {"apiVersion": "v1", "kind": "Pod"}, "jobs": {"apiVersion": "batch/v1", "kind": "Job"}}
            found = self.start({**json.loads(body), **kind[resource]})
        elif method == "DELETE":
            self.stop(name)
        elif name is None:
            found = {"kind": "List", "metadata": {}, "items": self.matching(resource, query)}
        elif name not in self.pods:
            pod = {"metadata": {"name": name, "uid": "uid-of-the-run"}, "spec": {"containers": []}}
            found = {"apiVersion": "v1", "kind": "Pod", **pod}
        else:
            found = self.pod(name) if resource == "pods" else self.job(name)
        return 200, "application/json", json.dumps(found).encode()

    def close(self) -> None:
        """End what still runs."""
        for name in self.processes:
            self.stop(name)


def serve(cluster: Cluster) -> ThreadingHTTPServer:
    """The API server on the loopback interface, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, kind, body = cluster.answer(self.command, self.path, self.rfile.read(length))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def kubeconfig(server: ThreadingHTTPServer, path: Path) -> Path:
    """A kubeconfig for the server."""
    host, port = server.server_address[:2]
    name = {"name": "test"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{**name, "cluster": {"server": f"http://{host}:{port}"}}],
        "users": [{**name, "user": {"token": "test"}}],
        "contexts": [{**name, "context": {"cluster": "test", "user": "test", "namespace": "rankops"}}],
    }
    path.write_text(json.dumps(config))
    return path
