"""The git command line, made safe for a service: no prompt, no user configuration, no credential on a command line.

What belongs here: running one git command. Its settings are ``git_options.py``, its errors ``git_errors.py``; what a
repository holds is ``mirror.py``.

Credentials travel only in the environment of the child process (``GIT_CONFIG_KEY_n``/``GIT_CONFIG_VALUE_n``, read by
git ≥ 2.31), bound to the remote's host and with redirects refused, so that neither ``ps`` nor another host sees them.
Everything that git prints is redacted before it reaches an error message.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rankops.errors import RemoteUnavailable, ToolMissing
from rankops.overlays.git_errors import GitFailed, LostRace, PushRefused, explain
from rankops.overlays.git_options import GitOptions, Identity, RemoteUrl, environment, redact, secrets_of

__all__ = ["Git", "GitFailed", "GitOptions", "Identity", "LostRace", "PushRefused", "RemoteUrl", "explain", "redact"]

MINIMUM_VERSION = (2, 39)


class Git:
    """Runs git for one remote. Thread-safe; holds no open process."""

    def __init__(self, remote: RemoteUrl, options: GitOptions | None = None) -> None:
        self.remote, self.options = remote, options or GitOptions()
        found = shutil.which("git")
        if found is None:
            raise ToolMissing("git is not installed", f"install git ≥ {'.'.join(map(str, MINIMUM_VERSION))}")
        self._program = found

    def version(self) -> tuple[int, int]:
        """``(major, minor)``. Raises :class:`ToolMissing` for a git older than :data:`MINIMUM_VERSION`."""
        printed = self.run(["version"]).decode()
        match = re.search(r"(\d+)\.(\d+)", printed)
        found = (int(match[1]), int(match[2])) if match else (0, 0)
        if found < MINIMUM_VERSION:
            raise ToolMissing(f"git is {found[0]}.{found[1]}", "install git ≥ 2.39 (push --porcelain, merge-tree)")
        return found

    def run(
        self,
        args: Sequence[str],
        *,
        repository: Path | None = None,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Run ``git args``, which gets no credentials, and return its standard output.

        Raises :class:`GitFailed` with redacted output for any exit status but zero and :class:`RemoteUnavailable` at
        the time limit (``timeout`` seconds instead of the options').
        """
        return self._run(args, {}, repository, stdin, env or {}, timeout, ())

    def talk(
        self,
        args: Sequence[str],
        *,
        repository: Path,
        stdin: bytes = b"",
        keep_open: Sequence[int] = (),
        timeout: float | None = None,
    ) -> bytes:
        """Like :meth:`run` for a command that talks to the remote: it is told the credentials.

        A function for tokens is asked for each command, and once more where the remote does not accept the token: it
        may have expired on the way. ``keep_open`` are file descriptors (locks) that live as long as the child does.
        """
        secrets = secrets_of(self.options, self.remote)
        try:
            return self._run(args, secrets, repository, stdin, {}, timeout, keep_open)
        except GitFailed as failure:
            if not (failure.login_refused and callable(self.options.token)):
                raise
            if forget := getattr(self.options.token, "forget", None):
                forget()
            fresh = secrets_of(self.options, self.remote)
            if fresh == secrets:
                raise
        return self._run(args, fresh, repository, stdin, {}, timeout, keep_open)

    def network(
        self,
        args: Sequence[str],
        *,
        repository: Path,
        stdin: bytes = b"",
        keep_open: Sequence[int] = (),
        timeout: float | None = None,
    ) -> bytes:
        """Like :meth:`talk`, but its failures name the remote and the remedy."""
        try:
            return self.talk(args, repository=repository, stdin=stdin, keep_open=keep_open, timeout=timeout)
        except GitFailed as failure:
            raise explain(failure, self.remote) from None

    def _run(
        self,
        args: Sequence[str],
        secrets: Mapping[str, str],
        repository: Path | None,
        stdin: bytes,
        env: Mapping[str, str],
        timeout: float | None,
        keep_open: Sequence[int],
    ) -> bytes:
        basic = _basic(secrets)
        full_env = {**environment(self.options, self.remote, basic), **env}
        if repository is not None:
            full_env["GIT_DIR"] = str(repository)
        limit = timeout or self.options.timeout
        returncode, out, err = _communicate([self._program, *args], stdin, full_env, limit, keep_open)
        if returncode is None:
            raise RemoteUnavailable(
                f"git {args[0]} on {self.remote} took over {limit:g} s and was stopped",
                "check that the remote answers, or raise the git timeout; running again is safe",
            )
        if returncode != 0:
            # the longest first, so that hiding one does not break another; a user name alone may itself be the token
            password = secrets.get("password", "")
            hide = [basic, password, "" if password else secrets.get("user", "")]
            stderr = redact(err.decode(errors="replace").strip(), *hide)
            stdout = redact(out.decode(errors="replace"), *hide)
            how = f"exited {returncode}" if returncode > 0 else f"was killed by signal {-returncode}"
            raise GitFailed(
                f"git {args[0]} {how}: {stderr[-2000:] or stdout[-2000:] or 'no message'}",
                stdout=stdout,
                stderr=stderr,
                returncode=returncode,
            )
        return out


def _basic(secrets: Mapping[str, str]) -> str:
    return base64.b64encode(f"{secrets['user']}:{secrets['password']}".encode()).decode() if secrets else ""


def _communicate(
    command: Sequence[str], stdin: bytes, env: Mapping[str, str], timeout: float, keep_open: Sequence[int]
) -> tuple[int | None, bytes, bytes]:
    """Run to the end, or kill the whole process group (git starts helpers); the status is None at the time limit."""
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd="/",
        start_new_session=True,
        pass_fds=tuple(keep_open),
    )
    try:
        out, err = process.communicate(stdin, timeout=timeout)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        _kill_group(process)
        return None, b"", b""
    except BaseException:
        _kill_group(process)
        raise


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself in between
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
