"""A rendered overlay as containers of a Docker engine on this machine: the real image under the real restrictions.

What belongs here: Kubernetes' rules for a pod's containers, written as ``docker run`` flags. The image, the commands,
arguments and variables, the user, the read-only root, capabilities, seccomp, limits, volumes with their owner, probes,
the preStop sleep and the grace period are the overlay's. What is changed, because an engine is not a cluster:

* the image is the one given (an overlay names a digest that only a registry knows);
* emptyDirs are folders below ``root`` (those in memory: tmpfs), owned by the pod's fsGroup as the kubelet does it;
* the server's port is published on a free one of 127.0.0.1, and probes are asked there, more often;
* ``pids`` limits processes and threads, which a node does and not the overlay.

What is not reproduced: service accounts, network policies, scheduling.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from rankops.errors import InvalidOverlay, ToolMissing, VerificationFailed
from rankops.overlays.pod_plan import Confinement, ContainerPlan, Mount, PodPlan, expand
from rankops.overlays.pod_volumes import make_volumes, volume_folder
from rankops.overlays.probing import wait_for

LABEL = "rankops.dev/pod"
_LOOPBACK = "127.0.0.1"
_LINES = 20
_KILLED_FOR_MEMORY = 137


class DockerPod:
    """A pod of ``plan`` whose containers run ``image``, as a context manager.

    ``docker`` is the command with its options; ``extra_env`` stands in for Secrets and wins over the overlay; ``seen``
    are folders of this machine that containers see read-only at the same path (a store at ``file://``); ``user``
    replaces the overlay's ``(uid, gid)``, as OpenShift does; ``more`` are further flags of ``docker run``.

    Entering runs the init containers and waits until the server is ready, within its probes' budget; leaving stops and
    removes everything but the folder ``root``.
    """

    def __init__(
        self,
        plan: PodPlan,
        image: str,
        root: Path,
        *,
        docker: Sequence[str] = ("docker",),
        extra_env: Mapping[str, str] | None = None,
        seen: Sequence[Path] = (),
        user: tuple[int, int] | None = None,
        pids: int = 256,
        more: Sequence[str] = (),
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.plan = plan
        self.image = image
        self.root = root.resolve()
        self.name = f"rankops-{plan.name}-{uuid.uuid4().hex[:8]}"
        self.port = 0
        self.ready_seconds = 0.0
        """From the start of the server's first process (as the engine tells it) until its last probe passed."""
        self._docker = tuple(docker)
        self._extra = dict(extra_env or {})
        self._seen = tuple(seen)
        self._user = user
        self._pids = pids
        self._more = tuple(more)
        self._progress = progress

    def __enter__(self) -> DockerPod:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def url(self) -> str:
        """Where the server answers."""
        return f"http://{_LOOPBACK}:{self.port}"

    @property
    def logs(self) -> str:
        """What the server has written so far (stdout and stderr)."""
        return self._logs_of(self.plan.server)

    def container(self, plan: ContainerPlan | None = None) -> str:
        """The engine's name of a container, by default of the server's."""
        return f"{self.name}-{(plan or self.plan.server).name}"

    def volume(self, name: str) -> Path:
        """The folder of this machine that stands for a volume."""
        return volume_folder(self.root, name)

    def start(self) -> None:
        """Run the init containers, start the server, wait until it is ready.

        Raises :class:`VerificationFailed` with the end of the log where a container fails or readiness does not come
        within the probes' budget (nothing is left running then), :class:`InvalidOverlay` for a server without port or
        probe, and :class:`ToolMissing` where the engine does not answer.
        """
        try:
            self._prepare_volumes()
            for container in self.plan.init:
                self._run_to_completion(container)
            self._serve()
        except BaseException:
            self.remove()
            raise

    def stop(self) -> int:
        """What happens at a deletion: the preStop sleep, SIGTERM, SIGKILL after the grace period; the exit status."""
        server = self.plan.server
        time.sleep(server.pre_stop)
        self._call("stop", "--time", str(max(1, int(self.plan.grace - server.pre_stop))), self.container())
        return self.wait()

    def wait(self) -> int:
        """Exit status of the server's container, once it has ended."""
        return int(self._call("wait", self.container()))

    def remove(self) -> None:
        """Remove the pod's containers, running or not."""
        names = [self.container(each) for each in (*self.plan.init, self.plan.server)]
        self._call("rm", "--force", "--volumes", *names, check=False)

    def _serve(self) -> None:
        server = self.plan.server
        if server.port is None or not server.probes:
            raise InvalidOverlay(f"container {server.name!r} has no port or no HTTP probe", "add both to the overlay")
        self._progress(f"starting {self.plan.name}/{server.name} from {self.image}")
        publish = f"{_LOOPBACK}::{server.port}"
        self._call("run", "--detach", "--publish", publish, *self.flags(server))
        self.port = int(self._call("port", self.container(), str(server.port)).splitlines()[0].rpartition(":")[2])
        for probe in server.probes:
            if problem := wait_for(self.url, probe, self._ended, poll=0.02):
                self._fail(server, problem)
        ready = datetime.now(UTC)
        told = self._call("inspect", "--format", "{{.State.StartedAt}}", self.container())
        self.ready_seconds = (ready - datetime.fromisoformat(f"{told[:19]}+00:00")).total_seconds()
        self.ready_seconds -= float(f"0.{told[20:].rstrip('Z') or 0}")

    def _ended(self) -> str | None:
        state, code = self._state(self.plan.server)
        return None if state == "running" else f"ended with exit status {code}"

    def _run_to_completion(self, container: ContainerPlan) -> None:
        self._progress(f"running {self.plan.name}/{container.name}")
        self._call("run", "--detach", *self.flags(container))
        try:
            code = int(self._call("wait", self.container(container), timeout=self.plan.deadline))
        except subprocess.TimeoutExpired:
            self._fail(container, f"did not end within {self.plan.deadline:g} s")
        if code != 0:
            self._fail(container, f"ended with exit status {code}")

    def _fail(self, container: ContainerPlan, what: str) -> None:
        memory = container.confinement.memory
        if self._state(container)[1] == _KILLED_FOR_MEMORY and memory:
            what += f" (killed; its memory limit is {memory / 2**20:.0f} MiB)"
        tail = "\n".join(self._logs_of(container).splitlines()[-_LINES:]) or "(it wrote nothing)"
        raise VerificationFailed(
            f"container {container.name!r} of {self.plan.name!r} {what}; the end of its log:\n{tail}",
            "read the log above; what the overlay allows a container is in its securityContext and resources",
        )

    def flags(self, container: ContainerPlan) -> list[str]:
        """What follows ``docker run``: names, restrictions, volumes, variables, the image and its arguments."""
        environment: dict[str, str] = {}
        for variable in container.env:
            if variable.secret and variable.name not in self._extra:
                raise InvalidOverlay(
                    f"variable {variable.name!r} of {container.name!r} comes from the Secret {variable.secret!r}",
                    "pass its value in `extra_env`: a container here has no Secrets",
                )
            environment[variable.name] = expand(variable.value, environment)
        environment |= self._extra
        command = [expand(word, environment) for word in (*container.command, *container.args)]
        words = ["--name", self.container(container), "--label", f"{LABEL}={self.name}"]
        words += [*confinement_flags(container.confinement, self._user), "--pids-limit", str(self._pids)]
        words += [word for mount in container.mounts for word in self._mount(mount)]
        words += [f"--volume={path}:{path}:ro" for path in self._seen]
        words += [f"--env={name}={value}" for name, value in environment.items()]
        if container.working_dir:
            words += ["--workdir", container.working_dir]
        return [*words, *self._more, "--entrypoint", command[0], self.image, *command[1:]]

    def _mount(self, mount: Mount) -> list[str]:
        if mount.volume in self.plan.in_memory:
            size = self.plan.in_memory[mount.volume]
            return ["--tmpfs", f"{mount.path}:rw,mode=1777" + (f",size={size}" if size else "")]
        source = self.volume(mount.volume) / mount.sub_path
        # Config maps are mounted read-only whatever the overlay says, as the kubelet does it.
        read_only = mount.read_only or bool(self.plan.volumes.get(mount.volume))
        return ["--volume", f"{source}:{mount.path}" + (":ro" if read_only else "")]

    def _prepare_volumes(self) -> None:
        """Folders with the owner that the kubelet gives them: root, the pod's fsGroup, new files in that group."""
        make_volumes(self.plan, self.root)
        groups = self.plan.server.confinement.groups
        for name, files in self.plan.volumes.items():
            folder = self.volume(name)
            folder.chmod(0o755 if files else 0o2777)
            if groups and not files:
                os.chown(folder, -1, groups[0])

    def _state(self, container: ContainerPlan) -> tuple[str, int]:
        answer = self._call("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", self.container(container))
        state, _, code = answer.partition(" ")
        return state, int(code)

    def _logs_of(self, container: ContainerPlan) -> str:
        command = [*self._docker, "logs", self.container(container)]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, errors="replace"
        ).stdout

    def _call(self, *words: str, check: bool = True, timeout: float | None = None) -> str:
        try:
            result = subprocess.run(
                [*self._docker, *words], capture_output=True, text=True, check=False, timeout=timeout
            )
        except OSError as error:
            raise ToolMissing(f"{self._docker[0]} cannot be run: {error}", "install a Docker engine") from error
        if check and result.returncode != 0:
            raise VerificationFailed(
                f"docker {words[0]} of {self.plan.name!r} failed: {result.stderr.strip() or result.returncode}",
                "is the engine running, and the image there?",
            )
        return result.stdout.strip()


def confinement_flags(confinement: Confinement, user: tuple[int, int] | None = None) -> list[str]:
    """The ``docker run`` flags of a securityContext and of limits; ``user`` replaces its ``(uid, gid)``.

    Docker's default seccomp profile is what ``RuntimeDefault`` means on its engine. Raises :class:`InvalidOverlay`
    for a profile that only a node has.
    """
    uid, gid = user or (confinement.user, confinement.group)
    flags = [] if uid is None else ["--user", f"{uid}" if gid is None else f"{uid}:{gid}"]
    flags += [f"--group-add={group}" for group in confinement.groups]
    flags += ["--read-only"] if confinement.read_only else []
    flags += [] if confinement.escalation else ["--security-opt=no-new-privileges"]
    flags += [f"--cap-drop={name}" for name in confinement.drop] + [f"--cap-add={name}" for name in confinement.add]
    if confinement.seccomp == "Unconfined":
        flags.append("--security-opt=seccomp=unconfined")
    elif confinement.seccomp not in ("", "RuntimeDefault"):
        raise InvalidOverlay(
            f"seccomp profile of type {confinement.seccomp}", "use RuntimeDefault, or verify on a node"
        )
    if confinement.memory:
        # the same for swap: a pod has none
        flags += [f"--memory={confinement.memory}", f"--memory-swap={confinement.memory}"]
    return flags + ([f"--cpus={confinement.cpu:g}"] if confinement.cpu else [])
