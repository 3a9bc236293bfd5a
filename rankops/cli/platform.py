"""Commands about what a platform engineer applies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankops.cli.common import progress, reported, say
from rankops.errors import InvalidOverlay

if TYPE_CHECKING:
    from rankops.overlays.objects import Violation


@reported
def check_platform(
    path: Annotated[Path, typer.Argument(help="folder that holds clusters/ and platform/")] = Path("k8s-overlays"),
    kubernetes: Annotated[str, typer.Option(help="cluster version to check the schemas of")] = "",
    filled_in: Annotated[
        bool, typer.Option("--filled-in/--as-forked", help="are places that only a fork can fill in an error?")
    ] = True,
) -> None:
    """Check clusters/ and platform/ before they are applied, and list what a fork still has to fill in.

    Exit code 1 where an object is not what Kubernetes, Flux or Argo CD know, or where a place is still open.
    """
    from rankops.overlays.controller_schemas import check, open_places
    from rankops.overlays.kustomize import build, find_kustomize
    from rankops.overlays.validate import KUBERNETES

    program = find_kustomize()
    wrong: list[Violation] = []
    open_: list[Violation] = []
    with progress() as tell:
        for folder in applied_folders(path):
            tell(f"rendering {folder.relative_to(path)}")
            objects = build(folder, kustomize=program).objects
            wrong += check(objects, kubernetes or KUBERNETES)
            open_ += open_places(objects)
    for violation in (*wrong, *open_):
        say(str(violation))
    say(f"{len(wrong)} mistakes, {len(open_)} places to fill in")
    if wrong or (open_ and filled_in):
        raise typer.Exit(1)


def applied_folders(path: Path) -> list[Path]:
    """Every folder below ``clusters/`` and ``platform/`` that renders by itself (not the components).

    Raises :class:`InvalidOverlay` where there is none.
    """
    files = sorted(file for name in ("clusters", "platform") for file in (path / name).rglob("kustomization.yaml"))
    folders = [file.parent for file in files if "kind: Component" not in file.read_text()]
    if not folders:
        raise InvalidOverlay(f"{path} holds no clusters/ and no platform/", "give the k8s-overlays folder")
    return folders
