"""The GitOps remote: the only way in which a cluster is ever changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dagster import ConfigurableResource
from pydantic import Field

from rankops.specs import ENVIRONMENTS, EnvironmentSpec, ModelSpec
from rankops.state import LocalState

if TYPE_CHECKING:
    from rankops.overlays.mirror import GitRemote
    from rankops.stages.evaluation import Champion


class GitOps(ConfigurableResource):
    """A repository of overlays, and how to speak to it. Tokens come from the environment, never from here."""

    url: str = Field(default="", description="any Git URL; empty: $RANKOPS_GIT_URL, else the bare .rankops/gitops.git")
    ssh_key: str = Field(default="", description="path of a deploy key")
    known_hosts: str = Field(default="", description="path of the only host keys to trust; empty: the user's")
    signing_key: str = Field(default="", description="signs every commit: path of an SSH key, or an OpenPGP key's id")
    signing_format: Literal["ssh", "openpgp"] = Field(
        default="ssh", description="Argo CD, and Flux before it learnt SSH, verify only openpgp"
    )
    image: str = Field(default="", description="server image name@sha256:...; empty: this working copy's code")
    champion_environment: str = Field(default="staging", description="whose live release a challenger must match")

    def remote(self) -> GitRemote:
        """The managed bare mirror of the remote."""
        from rankops.forge.credentials import configured_token
        from rankops.overlays.git import GitOptions
        from rankops.overlays.mirror import GitRemote

        state = LocalState.current()
        options = GitOptions(
            token=configured_token(),
            ssh_key=Path(self.ssh_key) if self.ssh_key else None,
            known_hosts=Path(self.known_hosts) if self.known_hosts else None,
            signing_key=(Path(self.signing_key) if self.signing_format == "ssh" else self.signing_key)
            if self.signing_key
            else None,
            signing_format=self.signing_format,
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
