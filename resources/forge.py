"""Where pull requests live: a folder on this machine, GitHub, or GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dagster import ConfigurableResource
from pydantic import Field

from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.forge.protocol import Forge as ForgeProtocol
    from rankops.overlays.mirror import GitRemote


class Forge(ConfigurableResource):
    """The forge that environments with the policy ``pull-request`` use; what is empty comes from the environment.

    Tokens come from RANKOPS_GIT_TOKEN or from a GitHub App (RANKOPS_GITHUB_APP_ID, ...), never from here.
    """

    kind: Literal["", "local", "github", "gitlab"] = Field(default="", description="empty: $RANKOPS_FORGE, else local")
    repository: str = Field(default="", description="owner/name; empty: $RANKOPS_FORGE_REPOSITORY")
    url: str = Field(
        default="",
        description="API of GitHub Enterprise, or a self-managed GitLab; empty: $RANKOPS_FORGE_URL",
    )

    def open(self, remote: GitRemote) -> ForgeProtocol:
        """The library's forge over this configuration."""
        from rankops.forge.config import ForgeConfig
        from rankops.forge.credentials import configured_token

        config = ForgeConfig.configured(self.kind, self.repository, self.url)
        return config.connect(token=configured_token(), branches=remote, folder=LocalState.current().root / "forge")
