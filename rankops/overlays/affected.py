"""Which overlays a change can reach: those whose build reads a changed file.

Kustomize lets a folder read files of its own and refer to other folders (``resources``, ``components``, ``bases``). So
the search goes backwards: from the folders that hold a change to the folders that refer to those, until no more come.
YAML is parsed only where the text mentions such a folder: with a thousand overlays, parsing is all the work.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rankops.overlays.layout import OverlayLayout

_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_REFERENCES = ("resources", "components", "bases")
# `..` and the like name no folder; a sentence may end in a dot too, but after a word.
_TO_PARENT = re.compile(r"(?<![^\s\[,'\"/])\.\.?/?['\"]?[ \t]*(?:[,\]#]|$)", re.MULTILINE)


def affected(overlays: Iterable[str], changed: Iterable[str], root: Path, layout: OverlayLayout) -> list[str]:
    """Those of ``overlays`` (folders below the repository) whose build reads one of the ``changed`` files.

    ``root`` is the local copy of ``layout.root`` after the change. The trusted key concerns every overlay, because
    every release is verified with it.
    """
    paths = [below for path in changed if (below := below_root(path, layout)) is not None]
    if below_root(layout.trusted_key(), layout) in paths:
        return list(overlays)
    reached = _reached(dict(_kustomizations(root)), paths)
    return [overlay for overlay in overlays if below_root(overlay, layout) in reached]


def below_root(path: str, layout: OverlayLayout) -> str | None:
    """A path of the repository as it reads below the overlays' root; None for one outside it."""
    posix = PurePosixPath(path)
    return posix.relative_to(layout.root).as_posix() if posix.is_relative_to(layout.root) else None


def _reached(texts: Mapping[str, str], paths: Iterable[str]) -> set[str]:
    """The folders of ``texts`` (kustomizations by folder) that read one of ``paths``, directly or through others."""
    changed = {parent for path in paths for parent in _parents(path)}
    frontier = changed & texts.keys() | ({path.rpartition("/")[0] for path in paths} - {""})
    reached: set[str] = set()
    while frontier:
        reached |= frontier
        names = {posixpath.basename(folder) for folder in frontier}
        frontier = {
            folder
            for folder, text in texts.items()
            if folder not in reached and _mentions(text, names) and _refers(folder, text, frontier)
        }
    return reached


def _mentions(text: str, names: set[str]) -> bool:
    return any(name in text for name in names) or _TO_PARENT.search(text) is not None


def _refers(folder: str, text: str, to: set[str]) -> bool:
    """True where a kustomization refers to one of the folders ``to``, or cannot be read: then its build says why."""
    document = _load(text)
    if document is None:
        return True
    listed = (entry for key in _REFERENCES for entry in _texts(document.get(key)))
    return any(posixpath.normpath(f"{folder}/{entry}") in to for entry in listed)


def _kustomizations(root: Path) -> Iterator[tuple[str, str]]:
    for name in _NAMES:
        for file in root.rglob(name):
            yield file.parent.relative_to(root).as_posix(), file.read_text(errors="replace")


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _load(text: str) -> Mapping[str, Any] | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="base", pure=True).load(text)
    except YAMLError:
        return None
    return loaded if isinstance(loaded, dict) else None


def _texts(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
