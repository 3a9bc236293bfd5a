"""A pod's volumes as folders of this machine, for the runners of a plan (``local_pod.py``, ``docker_pod.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from rankops.errors import InvalidOverlay
from rankops.overlays.pod_plan import PodPlan


def volume_folder(root: Path, name: str) -> Path:
    """The folder that stands for a volume of the pod below ``root``."""
    return root / "volumes" / name


def make_volumes(plan: PodPlan, root: Path) -> None:
    """Fresh folders, as a new pod would see them: empty ones empty, config maps with exactly their files.

    Raises :class:`InvalidOverlay` for a config map whose file would lie outside its volume.
    """
    for name, files in plan.volumes.items():
        folder = volume_folder(root, name)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for file, content in files.items():
            if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                raise InvalidOverlay(f"volume {name!r} has a file outside itself: {file!r}", "use a relative path")
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
    for container in (*plan.init, plan.server):
        for mount in container.mounts:
            if mount.sub_path and not plan.volumes.get(mount.volume):
                (volume_folder(root, mount.volume) / mount.sub_path).mkdir(parents=True, exist_ok=True)
