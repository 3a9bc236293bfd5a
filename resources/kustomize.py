"""Kustomize: render an overlay with the real binary, and judge what it rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource
from pydantic import Field

if TYPE_CHECKING:
    from rankops.overlays.kustomize import Rendered


class Kustomize(ConfigurableResource):
    """The program and the Kubernetes version whose schemas apply."""

    program: str = Field(default="", description="path; empty: .rankops/bin, then PATH (>= 5.7)")
    kubernetes: str = Field(default="1.34", description="version of the cluster that the overlays are checked for")
    timeout: float = Field(default=60.0, gt=0, description="seconds for one build")

    def render(self, folder: Path) -> Rendered:
        """``kustomize build``; raises InvalidOverlay or ToolMissing."""
        from rankops.overlays.kustomize import build, find_kustomize

        program = find_kustomize(Path(self.program) if self.program else None)
        return build(folder, kustomize=program, timeout=self.timeout)

    def validate_objects(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Schemas and our own rules; raises InvalidOverlay listing everything."""
        from rankops.overlays.validate import validate

        validate([dict(value) for value in objects], kubernetes=self.kubernetes)
