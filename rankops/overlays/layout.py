"""Where things lie in a repository of overlays; the only module that spells these paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from rankops.errors import BadInput


@dataclass(frozen=True)
class OverlayLayout:
    """Paths below the root of the repository.

    ``root`` is the folder of the overlays (in a mono-repository any depth, ``.`` where the repository is nothing
    else), ``shared`` the folders beside ``overlays/`` that an overlay may refer to and that a build therefore needs.
    Raises :class:`BadInput` for a root outside the repository.
    """

    root: str = "k8s-overlays"
    shared: tuple[str, ...] = ("base", "components")

    def __post_init__(self) -> None:
        path = PurePosixPath(self.root)
        if path.is_absolute() or ".." in path.parts:
            raise BadInput(f"the overlays' root {self.root!r} is outside the repository", "give a path relative to it")

    def at(self, *parts: str) -> str:
        """A path below the root."""
        return PurePosixPath(self.root, *parts).as_posix()

    def overlay(self, environment: str, model: str) -> str:
        """The overlay's folder; its ``kustomization.yaml`` belongs to people."""
        return self.at("overlays", environment, model)

    def component(self, environment: str, model: str) -> str:
        """The one file that only ``deploy`` writes."""
        return f"{self.overlay(environment, model)}/release/kustomization.yaml"

    def quarantine(self, environment: str, model: str) -> str:
        """The digests that must not be deployed there again."""
        return f"{self.overlay(environment, model)}/quarantine.yaml"

    def trusted_key(self) -> str:
        """The public key that the pods verify releases with."""
        return self.at("components", "trust", "release-signing.pub")

    def build_paths(self, environment: str, model: str) -> list[str]:
        """What ``kustomize build`` of one overlay reads: never the other overlays, however many there are."""
        return [*(self.at(name) for name in self.shared), self.overlay(environment, model)]


def branch_prefix(environment: str, model: str) -> str:
    """Branches that propose a change to this environment and model start with this."""
    return f"rankops/{environment}/{model}/"
