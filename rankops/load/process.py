"""A server under test: a process of this machine, with what it uses of memory and CPU (Linux: from /proc)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rankops.errors import RemoteUnavailable

_LINES = 30


@dataclass(frozen=True)
class Memory:
    """Megabytes (1e6 bytes) of a process and its children. ``resident`` = ``private`` + mapped files; ``peak`` is the
    largest that resident was, added over the processes."""

    resident: float
    private: float
    peak: float


class Server:
    """``command`` with ``{port}`` filled in, listening on 127.0.0.1; ended with its whole process group."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        cores: Iterable[int] | None = None,
    ) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [word.replace("{port}", str(self.port)) for word in command],
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # ended as a whole; stays in this session, so that one priority holds for both sides
            )
        if cores is not None:
            # before it starts any thread: threads inherit it, and what counts its cores sees these
            os.sched_setaffinity(self.process.pid, set(cores))

    def wait_ready(self, path: str = "/readyz", timeout: float = 60.0) -> float:
        """Seconds until ``path`` answers 200. Raises :class:`RemoteUnavailable` with the log where that fails."""
        begun = time.monotonic()
        while time.monotonic() - begun < timeout:
            if self.process.poll() is not None:
                break
            if self.get(path) is not None:
                return time.monotonic() - begun
            time.sleep(0.05)
        self.stop()
        raise RemoteUnavailable(
            f"the server did not become ready; the end of its log:\n{self.log_tail()}", "see its log"
        )

    def get(self, path: str, timeout: float = 5.0) -> str | None:
        """The body of an answer with status 200; None for anything else."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}{path}", timeout=timeout) as answer:
                body: bytes = answer.read()
                return body.decode()
        except (OSError, ValueError, urllib.error.HTTPError):
            return None

    def log_tail(self) -> str:
        """The last lines of what it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LINES:])

    def memory(self) -> Memory:
        """What it and its children use now."""
        resident = private = peak = 0.0
        for pid in process_tree(self.process.pid):
            fields = _status(pid)
            resident += fields.get("VmRSS", 0.0)
            private += fields.get("RssAnon", 0.0)
            peak += fields.get("VmHWM", 0.0)
        return Memory(resident, private, peak)

    def cpu_seconds(self) -> float:
        """CPU time of it and its children so far."""
        return sum(_cpu(pid) for pid in process_tree(self.process.pid))

    def pause(self) -> None:
        """Stop its clock and its children's (SIGSTOP): no CPU time until :meth:`resume`."""
        _signal(process_tree(self.process.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        _signal(process_tree(self.process.pid), signal.SIGCONT)

    def stop(self, grace: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL for its group and for children in other ones; the exit status."""
        started = process_tree(self.process.pid)[1:]
        if self.process.poll() is None:
            self.process.terminate()
            self.resume()  # a paused process would not see the signal
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            _signal([pid for pid in started if _parent(pid) in (1, self.process.pid)], signal.SIGKILL)
        return self.process.returncode

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def process_tree(pid: int) -> list[int]:
    """``pid`` and its descendants that still run."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        try:
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def busy_cores_seconds() -> float:
    """CPU time of this machine so far, of all processes (``/proc/stat``); 0 where there is none."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _parent(pid: int) -> int | None:
    """Who would wait for it; None for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _status(pid: int) -> dict[str, float]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if line.endswith(" kB"))
    return {name: float(value.split()[0]) * 1024 / 1e6 for name, value in pairs}


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
