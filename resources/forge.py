"""Where pull requests live: a folder on this machine, or GitHub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dagster import ConfigurableResource
from pydantic import Field

from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.forge.protocol import Forge as ForgeProtocol
    from rankops.overlays.mirror import GitRemote


class Forge(ConfigurableResource):
    """The forge that environments with the policy ``pull-request`` use. The token comes from RANKOPS_GIT_TOKEN."""

    kind: Literal["local", "github"] = "local"
    repository: str = Field(default="", description="owner/name on GitHub")
    api_url: str = Field(default="https://api.github.com", description="API of GitHub Enterprise, where it is one")

    def open(self, remote: GitRemote) -> ForgeProtocol:
        """The library's forge over this configuration."""
        if self.kind == "github":
            from rankops.forge.github import GitHubForge
            from rankops.stages.deploy import configured_token

            return GitHubForge(self.repository, token=configured_token() or "", api_url=self.api_url)
        from rankops.forge.local import LocalForge

        return LocalForge(LocalState.current().root / "forge", remote)
