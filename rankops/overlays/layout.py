"""Where things lie in a repository of overlays; the only module that spells these paths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OverlayLayout:
    """Paths below the root of the repository.

    ``root`` is the folder of the overlays (in a mono-repository any depth), ``shared`` the folders beside
    ``overlays/`` that an overlay may refer to and that a build therefore needs.
    """

    root: str = "k8s-overlays"
    shared: tuple[str, ...] = ("base", "components")

    def overlay(self, environment: str, model: str) -> str:
        """The overlay's folder; its ``kustomization.yaml`` belongs to people."""
        return f"{self.root}/overlays/{environment}/{model}"

    def component(self, environment: str, model: str) -> str:
        """The one file that only ``deploy`` writes."""
        return f"{self.overlay(environment, model)}/release/kustomization.yaml"

    def quarantine(self, environment: str, model: str) -> str:
        """The digests that must not be deployed there again."""
        return f"{self.overlay(environment, model)}/quarantine.yaml"

    def trusted_key(self) -> str:
        """The public key that the pods verify releases with."""
        return f"{self.root}/components/trust/release-signing.pub"

    def build_paths(self, environment: str, model: str) -> list[str]:
        """What ``kustomize build`` of one overlay reads: never the other overlays, however many there are."""
        return [*(f"{self.root}/{name}" for name in self.shared), self.overlay(environment, model)]


def branch_prefix(environment: str, model: str) -> str:
    """Branches that propose a change to this environment and model start with this."""
    return f"rankops/{environment}/{model}/"
