"""Who we are to a forge: one source of tokens for its API and for Git over HTTPS, read from the environment only.

A token is never configuration that a UI would show. ``RANKOPS_GIT_TOKEN`` is a token as it is; on GitHub an App is
better (it belongs to no person, and what it hands out lives for an hour): ``RANKOPS_GITHUB_APP_ID``,
``RANKOPS_GITHUB_APP_INSTALLATION`` and ``RANKOPS_GITHUB_APP_KEY`` (the path of its private key).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from rankops.errors import BadInput, ToolMissing
from rankops.forge.server import refusal, server_address, silence

Token = str | Callable[[], str]
"""A token, or a function that returns a fresh one."""

APP_VARIABLES = ("RANKOPS_GITHUB_APP_ID", "RANKOPS_GITHUB_APP_INSTALLATION", "RANKOPS_GITHUB_APP_KEY")
MARGIN = timedelta(minutes=5)
"""A token is renewed this long before it expires: a push that has begun must end with the token that it began with."""
# The least that branches, merges and pull requests need.
_PERMISSIONS = {"contents": "write", "pull_requests": "write"}


class GitHubAppToken:
    """Call it for an installation token of a GitHub App that is valid for at least :data:`MARGIN`. Thread-safe.

    The private key (PEM, as GitHub handed it out) is read when a token is made, so that it can be rotated in place.
    Raises :class:`BadInput` for a key that cannot be read and for an app or installation that GitHub does not know,
    :class:`RemoteUnavailable` where GitHub does not answer or refuses.
    """

    def __init__(
        self,
        app_id: int,
        installation: int,
        private_key: Path,
        *,
        api_url: str,
        timeout: int = 30,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.app_id, self.installation, self.private_key = app_id, installation, private_key
        self.api_url, self._timeout, self._clock = server_address(api_url), timeout, clock
        self._lock = threading.Lock()
        self._token, self._expires = "", datetime.min.replace(tzinfo=UTC)

    def __repr__(self) -> str:
        return f"GitHubAppToken(app_id={self.app_id}, installation={self.installation}, api_url={self.api_url!r})"

    def __call__(self) -> str:
        """The token."""
        with self._lock:
            if self._clock() + MARGIN >= self._expires:
                self._token, self._expires = self._fresh()
            return self._token

    def forget(self) -> None:
        """Make the next call fetch a token: GitHub does not accept the last one, however long it should have lived."""
        with self._lock:
            self._expires = datetime.min.replace(tzinfo=UTC)

    def _fresh(self) -> tuple[str, datetime]:
        try:
            import requests
            from github import Auth, GithubException, GithubIntegration
        except ImportError as error:
            raise ToolMissing("PyGithub is not installed", "install PyGithub to speak as a GitHub App") from error
        from jwt.exceptions import PyJWTError

        key = _read_key(self.private_key)
        where, what = f"{self.api_url} app {self.app_id}", f"get a token of installation {self.installation}"
        try:
            app = GithubIntegration(
                auth=Auth.AppAuth(self.app_id, key), base_url=self.api_url, timeout=self._timeout, retry=None
            )
            made = app.get_access_token(self.installation, permissions=_PERMISSIONS)
            return made.token, made.expires_at
        except requests.RequestException as error:
            raise silence(where, what, error) from None
        except GithubException as error:
            said = str(error.data.get("message", "")) if isinstance(error.data, dict) else ""
            raise refusal(where, what, error.status, said) from None
        except (PyJWTError, ValueError, TypeError) as error:  # its message may quote the key
            raise BadInput(
                f"{self.private_key} is no private key of a GitHub App ({type(error).__name__})",
                "give the PEM file that GitHub handed out",
            ) from None


def configured_token(environment: Mapping[str, str] | None = None) -> Token | None:
    """What ``environment`` (by default this process's) says about us: an App's tokens, one token, or None.

    Raises :class:`BadInput` naming every variable of the App that is missing or no number.
    """
    env = os.environ if environment is None else environment
    given = {name: env.get(name, "").strip() for name in APP_VARIABLES}
    if not any(given.values()):
        return env.get("RANKOPS_GIT_TOKEN") or None
    app_id, installation, key = given.values()
    wrong = [f"{name} is not set" for name, value in given.items() if not value]
    wrong += [f"{name} is no number" for name in APP_VARIABLES[:2] if given[name] and not given[name].isdigit()]
    if wrong:
        raise BadInput(f"the GitHub App is not described: {', '.join(wrong)}", f"set {', '.join(APP_VARIABLES)}")
    from rankops.forge.github import API

    return _app(int(app_id), int(installation), Path(key).expanduser(), env.get("RANKOPS_FORGE_URL") or API)


@lru_cache(maxsize=8)
def _app(app_id: int, installation: int, key: Path, api_url: str) -> GitHubAppToken:
    """One object for each App, so that all of a process shares a token for as long as it lives."""
    return GitHubAppToken(app_id, installation, key, api_url=api_url)


def _read_key(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the private key of the GitHub App cannot be read: {path}: {type(error).__name__}",
            "point RANKOPS_GITHUB_APP_KEY to the PEM file that GitHub handed out",
        ) from error
