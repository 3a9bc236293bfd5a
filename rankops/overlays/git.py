"""The git command line, made safe for a service: no prompt, no user configuration, no credential on a command line.

What belongs here: running one git command, its environment, its errors. What a repository holds is ``mirror.py``.

Credentials travel only in the environment of the child process (``GIT_CONFIG_KEY_n``/``GIT_CONFIG_VALUE_n``, read by
git ≥ 2.31), bound to the remote's host, so that neither ``ps`` nor a redirect to another host sees them.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from rankops.errors import BadInput, RankopsError, RemoteUnavailable, ToolMissing

MINIMUM_VERSION = (2, 39)

_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\"]+@")
_AUTHORIZATION = re.compile(r"(?i)(authorization:\s*\S+\s+)\S+")
# What a child may inherit: finding programs, the SSH agent, proxies and certificate bundles. No other GIT_* variable:
# GIT_DIR or GIT_INDEX_FILE, set by git around its hooks, would point our plumbing at the user's checkout.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
_INHERITED_TOO = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSH_COMMAND", "GIT_EXEC_PATH")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

_AUTH_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|access denied|invalid credentials"
    r"|returned error: 40[13]|host key verification failed|publickey|terminal prompts disabled|not allowed to",
    re.IGNORECASE,
)
_NOT_THERE = re.compile(
    r"does not appear to be a git repository|repository .*not found|returned error: 404|does not exist|no such path",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"could not resolve|couldn't connect|connection (refused|reset|timed out|closed)|timed out|unable to access"
    r"|network is unreachable|no route to host|failed to connect|early eof|hung up unexpectedly|unable to connect"
    r"|returned error: 5\d\d|could not read from remote repository|operation too slow",
    re.IGNORECASE,
)
_NO_SUCH_BRANCH = re.compile(r"couldn't find remote ref (?:refs/heads/)?(\S+)")


class GitFailed(RankopsError):
    """A git command failed for a reason that is neither the network nor a refused push."""

    def __init__(self, problem: str, *, stdout: str = "", stderr: str = "", returncode: int = 1) -> None:
        self.stdout, self.stderr, self.returncode = stdout, stderr, returncode
        super().__init__(problem, "read git's message above; removing the managed mirror is always safe")


class LostRace(RankopsError):
    """Somebody pushed first. The one rejection that building again on the new head can cure."""


class PushRefused(RankopsError):
    """The remote refused the push by a rule (protected branch, hook, read-only); trying again cannot help."""


@dataclass(frozen=True)
class Identity:
    """Who the commits are by."""

    name: str = "rankops deploy"
    email: str = "rankops-deploy@localhost"


@dataclass(frozen=True)
class GitOptions:
    """How to talk to a remote.

    ``token`` (or a function that returns a fresh one, for tokens that expire such as a GitHub App's) is sent as HTTP
    basic authentication of ``token_user``. ``ssh_key`` is a deploy key, ``signing_key`` an SSH key that signs commits.
    ``timeout`` is in seconds, for one git command. ``user_config`` lets the user's and the machine's git configuration
    in (credential helpers, ``insteadOf``); hooks, signing and line-ending settings stay ours even then.
    """

    identity: Identity = Identity()
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    token_user: str = "x-access-token"  # noqa: S105 - the user name that GitHub expects beside a token
    ssh_key: Path | None = None
    signing_key: Path | None = None
    timeout: float = 60.0
    user_config: bool = False


@dataclass(frozen=True)
class RemoteUrl:
    """A remote's address without its credentials, which are kept apart and out of ``repr``."""

    address: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> RemoteUrl:
        """Split credentials off ``url``; a local path becomes absolute.

        Raises :class:`BadInput` for an empty address, one that git would read as an option, or a helper (``ext::``).
        """
        if not url or url.startswith("-") or re.match(r"^[a-z0-9]+::", url):
            raise BadInput(
                f"{redact(url)!r} is not the address of a Git remote", "use https://, ssh://, file:// or a path"
            )
        if "://" not in url:
            is_scp = re.match(r"^[^/]+:", url) is not None
            return cls(url if is_scp else str(Path(url).expanduser().resolve()))
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
            return cls(url)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]))
        return cls(bare, unquote(parts.username or ""), unquote(parts.password or ""))

    def __str__(self) -> str:
        return redact(self.address)


def redact(text: str, *secrets: str) -> str:
    """``text`` without the user info of URLs, without authorization headers, and without any of ``secrets``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _AUTHORIZATION.sub(r"\1***", _USERINFO.sub(r"\g<scheme>***@", text))


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
        keep_open: Sequence[int] = (),
        credentials: bool = False,
    ) -> bytes:
        """Run ``git args`` and return its standard output.

        ``keep_open`` are file descriptors (locks) that live as long as the child does; only with ``credentials`` is
        the child told them (and a function for fresh tokens called). Raises :class:`GitFailed` with redacted output
        for any exit status but zero and :class:`RemoteUnavailable` at the time limit.
        """
        secrets = self._secrets() if credentials else {}
        full_env = {**self._environment(secrets), **(env or {})}
        if repository is not None:
            full_env["GIT_DIR"] = str(repository)
        command = [self._program, *args]
        returncode, out, err = _communicate(command, stdin, full_env, self.options.timeout, keep_open)
        hide = [value for value in secrets.values() if value]
        if returncode is None:
            raise RemoteUnavailable(
                f"git {args[0]} on {self.remote} took over {self.options.timeout:g} s and was stopped",
                "check that the remote answers, or raise the git timeout; running again is safe",
            )
        if returncode != 0:
            stderr = redact(err.decode(errors="replace").strip(), *hide)
            stdout = redact(out.decode(errors="replace"), *hide)
            raise GitFailed(
                f"git {args[0]} exited {returncode}: {stderr[-2000:] or stdout[-2000:] or 'no message'}",
                stdout=stdout,
                stderr=stderr,
                returncode=returncode,
            )
        return out

    def network(self, args: Sequence[str], *, repository: Path | None = None, keep_open: Sequence[int] = ()) -> bytes:
        """Like :meth:`run` for a command that talks to the remote: its failures name the remote and the remedy."""
        try:
            return self.run(args, repository=repository, keep_open=keep_open, credentials=True)
        except GitFailed as failure:
            raise explain(failure, self.remote) from None

    def _secrets(self) -> dict[str, str]:
        token = self.options.token() if callable(self.options.token) else self.options.token
        if token:
            user, password = self.options.token_user, token
        else:
            user, password = self.remote.user or "", self.remote.password or ""
        if not (user or password):
            return {}
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        # the longest first, so that redacting one does not break another; a user name alone may itself be the token
        return {"basic": basic, "password": password, "user": "" if password else user}

    def _environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        env = {name: os.environ[name] for name in (*_INHERITED, *_INHERITED_TOO) if name in os.environ}
        env |= {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
        env |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_PAGER": "cat"}
        env["GIT_OPTIONAL_LOCKS"] = "0"
        if not self.options.user_config:
            env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        who = self.options.identity
        env |= {"GIT_AUTHOR_NAME": who.name, "GIT_AUTHOR_EMAIL": who.email}
        env |= {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}
        env.setdefault("GIT_SSH_COMMAND", self._ssh())
        settings = self._settings(secrets)
        env["GIT_CONFIG_COUNT"] = str(len(settings))
        for i, (key, value) in enumerate(settings):
            env[f"GIT_CONFIG_KEY_{i}"], env[f"GIT_CONFIG_VALUE_{i}"] = key, value
        return env

    def _ssh(self) -> str:
        base = "ssh -o BatchMode=yes -o ConnectTimeout=15"  # never a prompt: a service has nobody to answer it
        if self.options.ssh_key is None:
            return base
        quoted = "'" + str(self.options.ssh_key).replace("'", "'\\''") + "'"
        return f"{base} -o IdentitiesOnly=yes -i {quoted}"

    def _settings(self, secrets: Mapping[str, str]) -> list[tuple[str, str]]:
        settings = [
            ("core.hooksPath", os.devnull),
            ("core.autocrlf", "false"),
            ("core.quotePath", "false"),
            ("push.gpgSign", "false"),
            ("gc.autoDetach", "false"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "30"),
        ]
        if secrets or not self.options.user_config:
            settings.append(("credential.helper", ""))  # an empty value forgets the helpers named so far
        if secrets:
            parts = urlsplit(self.remote.address)
            scope = f"{parts.scheme}://{parts.netloc}/"
            settings.append((f"http.{scope}.extraHeader", f"Authorization: Basic {secrets['basic']}"))
        if self.options.signing_key is not None:
            settings += [("gpg.format", "ssh"), ("user.signingKey", str(self.options.signing_key))]
        return settings


def explain(failure: GitFailed, remote: RemoteUrl) -> RankopsError:
    """The error a person can act on for a failed fetch or push to ``remote``."""
    text = failure.stderr
    detail = "; ".join(line.strip() for line in text.splitlines() if line.strip())[-600:]
    if branch := _NO_SUCH_BRANCH.search(text):
        return BadInput(f"{remote} has no branch {branch[1]!r}", "create it, or correct the environment's branch")
    if "dubious ownership" in text:
        return RemoteUnavailable(
            f"{remote} belongs to another user of this machine: {detail}",
            "let its owner run rankops, or set safe.directory in git's configuration and the option user_config",
        )
    if _AUTH_REFUSED.search(text):
        return RemoteUnavailable(
            f"{remote} refused our credentials: {detail}",
            "check that the token or deploy key is set, has not expired and may write to this repository",
        )
    if _NOT_THERE.search(text):
        return RemoteUnavailable(
            f"there is no Git repository at {remote} (or we may not see it): {detail}",
            "check the remote's address and what the credentials may read; `make demo` creates its own remote",
        )
    if _UNREACHABLE.search(text):
        return RemoteUnavailable(
            f"{remote} cannot be reached: {detail}", "check the network, proxy and address; running again is safe"
        )
    return failure


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
