"""What one overlay's build reads: its own folder, and the folders that kustomizations refer to from there.

With a thousand models ``base/`` has a thousand folders, of which an overlay needs two. References are found as text
(any word with ``../`` in it, but on a line of comment): that may name too much, and needs no knowledge of the fields.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from rankops.overlays.mirror import Entry, GitRemote

_REFERENCE = re.compile(r"[\w./@+~-]*\.\./[\w./@+~-]*|[\w./@+~-]*\.\.(?=[\s'\",\]]|$)")
_FILES = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})


def paths_read(remote: GitRemote, commit: str, overlay: str, within: Sequence[str]) -> list[str]:
    """Folders and files that ``kustomize build overlay`` reads at ``commit``, as far as they lie in ``within``."""
    entries = remote.entries(commit, within)
    wanted: set[str] = set()
    new = {overlay}
    while new:
        wanted |= new
        files = [path for path in entries if _is_kustomization(path) and _below(path, new)]
        found = {target for path, text in remote.texts(entries, files).items() for target in _targets(path, text)}
        new = {target for target in found if not _below(target, wanted) and _exists(target, entries, within)}
    return sorted(path for path in wanted if not _below(path, wanted - {path}))


def _targets(path: str, text: str) -> set[str]:
    folder = posixpath.dirname(path)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = [word for line in lines for word in _REFERENCE.findall(line)]
    return {posixpath.normpath(posixpath.join(folder, word)) for word in words}


def _exists(target: str, entries: Mapping[str, Entry], within: Sequence[str]) -> bool:
    """A file or a folder of the tree, and none that holds all of what may be read."""
    if any(_below(path, {target}) and path != target for path in within) or target in {".", ""}:
        return False
    return target in entries or any(path.startswith(f"{target}/") for path in entries)


def _below(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _is_kustomization(path: str) -> bool:
    return posixpath.basename(path) in _FILES
