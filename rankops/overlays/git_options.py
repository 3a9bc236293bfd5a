"""How to talk to one remote: its address, who we are to it, and the git settings that follow from both.

What belongs here: values, and the environment variables that carry them to a child process. No process is started.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from rankops.errors import BadInput

_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@'\"]+@")
_AUTHORIZATION = re.compile(r"(?i)(authorization:\s*\S+\s+)\S+")
# What a child may inherit: finding programs, the SSH and GPG agents, proxies and certificate bundles. No other GIT_*
# variable: GIT_DIR or GIT_INDEX_FILE, set by git around its hooks, would point our plumbing at the user's checkout;
# GIT_TRACE_CURL would print credentials.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK", "GNUPGHOME", "GIT_EXEC_PATH")
_INHERITED_TOO = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True)
class Identity:
    """Who the commits are by."""

    name: str = "rankops deploy"
    email: str = "rankops-deploy@localhost"


@dataclass(frozen=True)
class GitOptions:
    """How to talk to a remote.

    ``token`` (or a function that returns a fresh one, for tokens that expire such as a GitHub App's) is sent as HTTP
    basic authentication of ``token_user``. A function that remembers tokens may have a method ``forget``, which is
    called where the remote does not accept the last one.
    ``ssh_key`` is a deploy key; ``known_hosts`` a file with the host keys that are trusted, and then no other (without
    it, the user's). ``signing_key`` signs every commit: the path of an SSH key, or with ``signing_format="openpgp"``
    the id of a key in the GnuPG keyring.
    ``timeout`` is in seconds for one git command, ``clone_timeout`` for the first fetch of a repository.
    ``user_config`` lets the user's and the machine's git configuration in (credential helpers, ``insteadOf``); hooks,
    signing and line-ending settings stay ours even then.
    """

    identity: Identity = Identity()
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    token_user: str = "x-access-token"  # noqa: S105 - the user name that GitHub expects beside a token
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    signing_key: Path | str | None = None
    signing_format: Literal["ssh", "openpgp"] = "ssh"
    timeout: float = 60.0
    clone_timeout: float = 1800.0
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


def environment(options: GitOptions, remote: RemoteUrl, basic: str = "") -> dict[str, str]:
    """The whole environment of a git process; ``basic`` is the content of a basic authorization header."""
    env = {name: os.environ[name] for name in (*_INHERITED, *_INHERITED_TOO) if name in os.environ}
    env |= {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    env |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_PAGER": "cat"}
    env["GIT_OPTIONAL_LOCKS"] = "0"
    if not options.user_config:
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = options.identity
    env |= {"GIT_AUTHOR_NAME": who.name, "GIT_AUTHOR_EMAIL": who.email}
    env |= {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}
    env["GIT_SSH_COMMAND"] = _ssh(options)
    settings = _settings(options, remote, basic)
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for i, (key, value) in enumerate(settings):
        env[f"GIT_CONFIG_KEY_{i}"], env[f"GIT_CONFIG_VALUE_{i}"] = key, value
    return env


def _ssh(options: GitOptions) -> str:
    """The machine's own GIT_SSH_COMMAND stands only where no option of ours would be lost by it."""
    if options.ssh_key is None and options.known_hosts is None and "GIT_SSH_COMMAND" in os.environ:
        return os.environ["GIT_SSH_COMMAND"]
    words = ["ssh", "-o", "BatchMode=yes"]  # never a prompt: a service has nobody to answer it
    words += ["-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=2"]
    if options.known_hosts is not None:
        words += ["-o", "StrictHostKeyChecking=yes", "-o", f'UserKnownHostsFile="{options.known_hosts.resolve()}"']
        words += ["-o", f"GlobalKnownHostsFile={os.devnull}"]
    if options.ssh_key is not None:
        words += ["-o", "IdentitiesOnly=yes", "-i", str(options.ssh_key.resolve())]
    return shlex.join(words)


def _settings(options: GitOptions, remote: RemoteUrl, basic: str) -> list[tuple[str, str]]:
    settings = [
        ("core.hooksPath", os.devnull),
        ("core.autocrlf", "false"),
        ("core.quotePath", "false"),
        ("push.gpgSign", "false"),
        # Never a repacking in the middle of a deploy: the mirror is tidied at a moment and within a time of our own.
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "30"),
    ]
    if basic or not options.user_config:
        settings.append(("credential.helper", ""))  # an empty value forgets the helpers named so far
    if basic:
        parts = urlsplit(remote.address)
        scope = f"{parts.scheme}://{parts.netloc}/"
        settings.append((f"http.{scope}.extraHeader", f"Authorization: Basic {basic}"))
        settings.append(("http.followRedirects", "false"))  # git would repeat the header to wherever it is sent
    if options.signing_key is not None:
        key = options.signing_key
        named = str(key.resolve()) if isinstance(key, Path) else key
        settings += [("gpg.format", options.signing_format), ("user.signingKey", named)]
    return settings


def secrets_of(options: GitOptions, remote: RemoteUrl) -> Mapping[str, str]:
    """``user`` and ``password`` of the HTTP authentication; empty where there is none. Asks for a fresh token."""
    token = options.token() if callable(options.token) else options.token
    if token:
        return {"user": options.token_user, "password": token}
    if remote.user or remote.password:
        return {"user": remote.user or "", "password": remote.password or ""}
    return {}
