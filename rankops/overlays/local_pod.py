"""The ``local`` cluster: run what a rendered overlay says as processes of this machine.

What belongs here: volumes as folders, containers as processes, probes as HTTP requests to 127.0.0.1.

What is the overlay's: commands, arguments, variables, the order of containers, config maps, probe paths and budgets,
the grace period. What is changed, because a process is not a container:

* paths below a mount are moved to the folder that stands for the volume (``/var/lib/rankops/release`` becomes
  ``<root>/volumes/state/release``);
* ``python`` becomes the running interpreter, with the same ``rankops``;
* the listening address (an argument or variable ``0.0.0.0`` or ``::``) becomes 127.0.0.1, and the container's port,
  where an option ending in ``port`` or a variable ending in ``PORT`` has it, becomes a free one;
* probes are asked more often than their period, within the same budget of seconds.

What is not reproduced: the image, the user, resource limits, network policies, preStop hooks.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import rankops
from rankops.errors import InvalidOverlay, VerificationFailed
from rankops.files import write_text
from rankops.overlays.pod_plan import ContainerPlan, PodPlan, Probe, Variable, expand
from rankops.overlays.pod_volumes import make_volumes, volume_folder
from rankops.overlays.probing import wait_for

_ANYWHERE = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 - what is replaced, not what is bound
_LOOPBACK = "127.0.0.1"
# What a process needs of its host; everything else comes from the overlay or from `extra_env`.
_INHERITED = ("PATH", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy")
_PYTHON = re.compile(r"^(?:/\S*/)?python(?:3(?:\.\d+)?)?$")
_LINES = 20


class LocalPod:
    """A pod of ``plan`` below the folder ``root``, as a context manager.

    ``extra_env`` is added to each container (it stands in for Secrets and cloud credentials, and wins over the
    overlay); ``port`` is a free port unless given. Entering runs the init containers and waits until the server is
    ready; leaving terminates it. The log files stay below ``root``.
    """

    def __init__(
        self,
        plan: PodPlan,
        root: Path,
        *,
        extra_env: Mapping[str, str] | None = None,
        port: int | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.plan = plan
        self.root = root.resolve()
        self._extra = dict(extra_env or {})
        self._wanted_port = port
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or 0

    def __enter__(self) -> LocalPod:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the server answers."""
        return f"http://{_LOOPBACK}:{self.port}"

    @property
    def logs(self) -> str:
        """What the server has written so far (stdout and stderr)."""
        return self._log_of(self.plan.server)

    def path(self, inside: str) -> Path:
        """The folder or file of this machine that stands for a path of the server's container.

        Raises :class:`InvalidOverlay` for a path that lies on no volume.
        """
        moved = self._relocate(inside, self.plan.server)
        if moved == inside:
            raise InvalidOverlay(f"{inside} lies on no volume of {self.plan.name!r}", "use a path below a mountPath")
        return Path(moved)

    def start(self) -> None:
        """Run the init containers, start the server, wait until it is ready.

        Raises :class:`VerificationFailed` with the end of the log where a container fails or readiness does not come
        within the probes' budget; nothing is left running then.
        """
        self._reap()
        make_volumes(self.plan, self.root)
        for container in self.plan.init:
            self._run_to_completion(container)
        attempts = 1 if self._wanted_port else 3
        for attempt in range(1, attempts + 1):
            try:
                self._serve()
                return
            except VerificationFailed:
                self.stop()
                # Somebody took the free port between our look and the server's bind.
                if attempt == attempts or "address already in use" not in self.logs.lower():
                    raise
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after the grace period of the overlay; harmless when nothing runs."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(self.plan.grace)
        except subprocess.TimeoutExpired:
            self._progress(f"{self.plan.name} ignored SIGTERM for {self.plan.grace:g} s: SIGKILL")
        finally:
            _kill_group(process.pid)  # also what the server itself started
            process.wait()
            self._pid_file.unlink(missing_ok=True)

    def _serve(self) -> None:
        server = self.plan.server
        if server.port is None or not server.probes:
            raise InvalidOverlay(f"container {server.name!r} has no port or no HTTP probe", "add both to the overlay")
        self.port = self._wanted_port or _free_port()
        self._progress(f"starting {self.plan.name}/{server.name} on {self.url}")
        self._process = self._spawn(server)
        write_text(self._pid_file, f"{self._process.pid}\n")
        for probe in server.probes:
            self._await(probe, self._process)

    def _await(self, probe: Probe, process: subprocess.Popen[bytes]) -> None:
        """Until the probe passes; raises when the process ends or the budget is spent."""

        def ended() -> str | None:
            return None if process.poll() is None else f"ended with exit status {process.returncode}"

        if problem := wait_for(self.url, probe, ended):
            self._fail(self.plan.server, problem)

    def _run_to_completion(self, container: ContainerPlan) -> None:
        self._progress(f"running {self.plan.name}/{container.name}")
        process = self._spawn(container)
        try:
            code = process.wait(self.plan.deadline)
        except subprocess.TimeoutExpired:
            self._fail(container, f"did not end within {self.plan.deadline:g} s")
        finally:
            _kill_group(process.pid)
            process.wait()
        if code != 0:
            self._fail(container, f"ended with exit status {code}")

    def _fail(self, container: ContainerPlan, what: str) -> None:
        tail = "\n".join(self._log_of(container).splitlines()[-_LINES:]) or "(it wrote nothing)"
        raise VerificationFailed(
            f"container {container.name!r} of {self.plan.name!r} {what}; the end of its log:\n{tail}",
            f"read the log above; the whole log is {self._log_file(container)}",
        )

    def _spawn(self, container: ContainerPlan) -> subprocess.Popen[bytes]:
        environment = self._environment(container)
        # Paths are moved before variables are filled in: what a variable brings is moved already, or is meant as it is.
        words = [self._relocate(word, container) for word in (*container.command, *container.args)]
        command = [expand(word, environment) for word in words]
        if container.port is not None:
            command = self._rebind(command, container, environment)
        command[0] = sys.executable if _PYTHON.match(command[0]) else command[0]
        log = self._log_file(container)
        log.parent.mkdir(parents=True, exist_ok=True)
        folder = self._relocate(container.working_dir, container) if container.working_dir else str(self.root)
        try:
            with log.open("wb") as handle:
                return subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=handle,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            problem = f"container {container.name!r} of {self.plan.name!r} cannot start {command[0]!r}: {error}"
            raise VerificationFailed(problem, "install that program here, or verify on a cluster") from error

    def _environment(self, container: ContainerPlan) -> dict[str, str]:
        """The container's variables in the overlay's order, on top of what a process needs of its host."""
        values = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        values["PYTHONPATH"] = str(Path(rankops.__file__).resolve().parents[1])
        values["PYTHONUNBUFFERED"] = "1"
        if (scratch := self._relocate("/tmp", container)) != "/tmp":  # noqa: S108 - the container's path
            values["TMPDIR"] = scratch
        for variable in container.env:
            values[variable.name] = self._value(variable, container, values)
        return values | self._extra

    def _value(self, variable: Variable, container: ContainerPlan, values: Mapping[str, str]) -> str:
        if variable.secret and variable.name not in self._extra:
            raise InvalidOverlay(
                f"variable {variable.name!r} of {container.name!r} comes from the Secret {variable.secret!r}",
                "pass its value in `extra_env`: a local pod has no Secrets",
            )
        return expand(self._relocate(variable.value, container), values)

    def _rebind(self, words: list[str], container: ContainerPlan, environment: dict[str, str]) -> list[str]:
        """Loopback for any address, our port for the container's.

        Raises :class:`InvalidOverlay` where the overlay names no address or no port that could be replaced.
        """
        old, new = str(container.port), str(self.port)
        moved_port = moved_host = False
        result: list[str] = []
        for word in words:
            option, sign, value = word.rpartition("=")
            name = option if sign else (result[-1] if result else "")
            if value == old and name.lower().endswith("port"):
                value, moved_port = new, True
            elif value in _ANYWHERE:
                value, moved_host = _LOOPBACK, True
            result.append(f"{option}{sign}{value}")
        for key in (variable.name for variable in container.env):
            if key.upper().endswith("PORT") and environment[key] == old:
                environment[key], moved_port = new, True
            elif environment[key] in _ANYWHERE:
                environment[key], moved_host = _LOOPBACK, True
        if not (moved_port and moved_host):
            raise InvalidOverlay(
                f"container {container.name!r} does not name its port {old} and its address 0.0.0.0 in its arguments",
                "pass `--host 0.0.0.0 --port <containerPort>`, so that a local pod can bind to loopback only",
            )
        return result

    def _relocate(self, text: str, container: ContainerPlan) -> str:
        """``text`` with the container's mount paths replaced by folders of this machine (longest path first).

        A path counts only where it begins (not inside ``file:///tmp/x``) and ends at a path boundary.
        """
        folders = {mount.path: self._volume(mount.volume) / mount.sub_path for mount in container.mounts if mount.path}
        if not folders:
            return text
        paths = "|".join(re.escape(path) for path in sorted(folders, key=len, reverse=True))
        return re.sub(rf"(?<![\w./\-~])(?:{paths})(?![\w.\-])", lambda found: str(folders[found[0]]), text)

    def _reap(self) -> None:
        """End a server that a killed run left behind: same pid file, and its command line still names our folder."""
        if self._process is not None:
            raise VerificationFailed(f"local pod {self.plan.name!r} already runs", "stop it before starting it again")
        try:
            pid = int(self._pid_file.read_text())
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self.root).encode() in command_line:
            self._progress(f"ending a server that an earlier run left behind (process {pid})")
            _kill_group(pid)

    def _volume(self, name: str) -> Path:
        return volume_folder(self.root, name)

    @property
    def _pid_file(self) -> Path:
        return self.root / "server.pid"

    def _log_file(self, container: ContainerPlan) -> Path:
        return self.root / "logs" / f"{container.name}.log"

    def _log_of(self, container: ContainerPlan) -> str:
        file = self._log_file(container)
        return file.read_text(errors="replace") if file.is_file() else ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        return int(listener.getsockname()[1])


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
