"""What git says when it fails, turned into errors that name the remote and the remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rankops.errors import BadInput, RankopsError, RemoteUnavailable

if TYPE_CHECKING:
    from rankops.overlays.git_options import RemoteUrl

_LOGIN_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|terminal prompts disabled|returned error: 401",
    re.IGNORECASE,
)
_AUTH_REFUSED = re.compile(
    rf"{_LOGIN_REFUSED.pattern}|permission denied|access denied|invalid credentials|returned error: 403"
    r"|publickey|not allowed to|service not enabled|marked as read.only|write access",
    re.IGNORECASE,
)
_HOST_KEY = re.compile(r"host key verification failed|host identification has changed|no .* host key is known", re.I)
_OPEN_KEY = re.compile(r"unprotected private key file|bad permissions", re.IGNORECASE)
_MOVED = re.compile(r"returned error: 30\d|unable to update url base from redirection", re.IGNORECASE)
_NO_KEY = re.compile(r"identity file (\S+) not accessible", re.IGNORECASE)
_NOT_THERE = re.compile(
    r"does not appear to be a git repository|repository .*not found|returned error: 404|does not exist|no such path",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"could not resolve|couldn't connect|connection (refused|reset|timed out|closed)|timed out|unable to access"
    r"|network is unreachable|no route to host|failed to connect|early eof|hung up unexpectedly|unable to connect"
    r"|returned error: 5\d\d|could not read from remote repository|operation too slow|rpc failed"
    r"|unexpected disconnect|empty reply",
    re.IGNORECASE,
)
_NO_SUCH_BRANCH = re.compile(r"couldn't find remote ref (?:refs/heads/)?(\S+)")


class GitFailed(RankopsError):
    """A git command failed for a reason that is neither the network nor a refused push."""

    def __init__(self, problem: str, *, stdout: str = "", stderr: str = "", returncode: int = 1) -> None:
        self.stdout, self.stderr, self.returncode = stdout, stderr, returncode
        super().__init__(problem, "read git's message above; removing the managed mirror is always safe")

    @property
    def login_refused(self) -> bool:
        """True where the remote does not accept the credentials themselves (expired, revoked, mistyped)."""
        return _LOGIN_REFUSED.search(self.stderr) is not None


class LostRace(RankopsError):
    """Somebody pushed first. The one rejection that building again on the new head can cure."""


class PushRefused(RankopsError):
    """The remote refused the push by a rule (protected branch, hook, read-only); trying again cannot help."""


def explain(failure: GitFailed, remote: RemoteUrl) -> RankopsError:
    """The error a person can act on for a failed fetch or push to ``remote``."""
    text = failure.stderr
    lines = [line.strip() for line in text.splitlines() if line.strip(" @\t")]  # SSH frames its warnings with @
    detail = "; ".join(lines)[-600:]
    if branch := _NO_SUCH_BRANCH.search(text):
        return BadInput(f"{remote} has no branch {branch[1]!r}", "create it, or correct the environment's branch")
    if _MOVED.search(text):
        return BadInput(
            f"{remote} redirects to another address: {detail}",
            "configure the repository's present address (with .git at its end); credentials are not sent elsewhere",
        )
    return _explain_ssh(text, remote, detail) or _explain_refusal(text, remote, detail) or failure


def _explain_ssh(text: str, remote: RemoteUrl, detail: str) -> RankopsError | None:
    if _HOST_KEY.search(text):
        return RemoteUnavailable(
            f"{remote}: the host key is not one that we trust: {detail}",
            "compare the server's fingerprint with what its operator publishes, then add its line to known_hosts",
        )
    if _OPEN_KEY.search(text):
        return BadInput(f"the deploy key for {remote} can be read by others, so ssh ignores it", "chmod 600 the key")
    if missing := _NO_KEY.search(text):
        return BadInput(f"the deploy key {missing[1]} for {remote} is missing or unreadable", "correct its path")
    return None


def _explain_refusal(text: str, remote: RemoteUrl, detail: str) -> RankopsError | None:
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
    return None
