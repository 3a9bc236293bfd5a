"""Which forge is meant: the same few words for the Dagster resource, the command line and CI.

``RANKOPS_FORGE`` is its kind (``local``, ``github`` or ``gitlab``), ``RANKOPS_FORGE_REPOSITORY`` the repository there,
``RANKOPS_FORGE_URL`` the address of a server of one's own (GitHub Enterprise: its API; GitLab: what people open).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from rankops.errors import BadInput
from rankops.forge.credentials import Token
from rankops.forge.protocol import Branches, Forge

Kind = Literal["local", "github", "gitlab"]


@dataclass(frozen=True)
class ForgeConfig:
    """A forge, described. ``url`` is empty for the public server of its kind."""

    kind: Kind = "local"
    repository: str = ""
    url: str = ""

    @classmethod
    def configured(
        cls, kind: str = "", repository: str = "", url: str = "", *, environment: Mapping[str, str] | None = None
    ) -> ForgeConfig:
        """The given values, and where they are empty those of the environment.

        Raises :class:`BadInput` for an unknown kind, and for a server without a repository.
        """
        env = os.environ if environment is None else environment
        kind = kind or env.get("RANKOPS_FORGE", "") or "local"
        if kind not in get_args(Kind):
            raise BadInput(f"{kind!r} is no kind of forge", f"set RANKOPS_FORGE to one of {', '.join(get_args(Kind))}")
        repository = repository or env.get("RANKOPS_FORGE_REPOSITORY", "")
        if kind != "local" and not repository:
            raise BadInput(
                f"the forge is {kind}, but no repository is named",
                "set RANKOPS_FORGE_REPOSITORY to owner/name (on GitLab group/name) as the forge spells it",
            )
        return cls(cast("Kind", kind), repository, url or env.get("RANKOPS_FORGE_URL", ""))

    def connect(self, *, token: Token | None, branches: Branches, folder: Path) -> Forge:
        """The forge. ``branches`` and ``folder`` are where a local one merges and keeps its records.

        A missing token is an error (:class:`BadInput`) once a server is spoken to: pushing needs no forge.
        """
        if self.kind == "local":
            from rankops.forge.local import LocalForge

            return LocalForge(folder, branches)
        token = token or self._no_token
        if self.kind == "github":
            from rankops.forge.github import API, GitHubForge

            return GitHubForge(self.repository, token, api_url=self.url or API)
        from rankops.forge.gitlab import SERVER, GitLabForge

        return GitLabForge(self.repository, token, url=self.url or SERVER)

    def _no_token(self) -> str:
        raise BadInput(
            f"there is no token for {self.kind} {self.repository}",
            "set RANKOPS_GIT_TOKEN (or, on GitHub, the RANKOPS_GITHUB_APP_* of an App)",
        )
