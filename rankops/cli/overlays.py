"""Commands about overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankops.cli.common import reported, say
from rankops.errors import BadInput, RankopsError


@reported
def check_overlays(
    path: Annotated[Path, typer.Argument(help="the overlays' root, or one overlay")] = Path("k8s-overlays"),
    kubernetes: Annotated[str | None, typer.Option(help="cluster version to check the schemas of")] = None,
) -> None:
    """Build every overlay with the real kustomize and check schemas and our rules."""
    from rankops.overlays.kustomize import find_kustomize
    from rankops.overlays.validate import KUBERNETES, build_and_validate

    program, broken = find_kustomize(), 0
    for folder in _overlays(path):
        try:
            rendered = build_and_validate(folder, kustomize=program, kubernetes=kubernetes or KUBERNETES)
        except RankopsError as error:
            broken += 1
            say(f"FAILED {folder}: {error.problem}" + (f"\n  remedy: {error.remedy}" if error.remedy else ""))
        else:
            say(f"ok     {folder}: {len(rendered.objects)} objects")
    if broken:
        raise typer.Exit(1)


def _overlays(path: Path) -> list[Path]:
    """``path`` itself when it is an overlay, else ``overlays/<environment>/<model>`` below it."""
    if (path / "kustomization.yaml").is_file():
        return [path]
    found = sorted(file.parent for file in path.glob("overlays/*/*/kustomization.yaml"))
    if not found:
        raise BadInput(f"{path} holds no overlay", "give a folder with overlays/<environment>/<model>, or one overlay")
    return found
