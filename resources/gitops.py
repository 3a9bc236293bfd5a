"""The GitOps remote: the only way in which a cluster is ever changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource
from pydantic import Field

from rankops.specs import ENVIRONMENTS, EnvironmentSpec, ModelSpec
from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.overlays.mirror import GitRemote
    from rankops.stages.evaluation import Champion


class GitOps(ConfigurableResource):
    """A repository of overlays, and how to speak to it. Tokens come from RANKOPS_GIT_TOKEN, never from here."""

    url: str = Field(default="", description="any Git URL; empty: $RANKOPS_GIT_URL, else the bare .rankops/gitops.git")
    ssh_key: str = Field(default="", description="path of a deploy key")
    signing_key: str = Field(default="", description="path of an SSH key that signs the commits")
    image: str = Field(default="", description="server image name@sha256:...; empty: this working copy's code")
    champion_environment: str = Field(default="staging", description="whose live release a challenger must match")

    def remote(self) -> GitRemote:
        """The managed bare mirror of the remote."""
        from rankops.overlays.git import GitOptions
        from rankops.overlays.mirror import GitRemote
        from rankops.stages.deploy import configured_token

        state = LocalState.current()
        options = GitOptions(
            token=configured_token(),
            ssh_key=Path(self.ssh_key) if self.ssh_key else None,
            signing_key=Path(self.signing_key) if self.signing_key else None,
        )
        return GitRemote(self.url or state.git_url, state.root / "mirrors", options)

    def environment(self, name: str) -> EnvironmentSpec:
        """One environment of the repository; raises :class:`BadInput` with the known names."""
        from rankops.errors import BadInput

        for environment in ENVIRONMENTS:
            if environment.name == name:
                return environment
        raise BadInput(f"there is no environment {name!r}", f"use one of {[e.name for e in ENVIRONMENTS]}")

    def champion(self, spec: ModelSpec) -> Champion | None:
        """The live release that a challenger is compared with, or None before the first deployment."""
        from rankops.stages.deploy import champion_of

        environment = self.environment(self.champion_environment)
        return champion_of(self.remote(), spec, environment, LocalState.current().public_key)
