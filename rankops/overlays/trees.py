"""Trees of Git, edited level by level: only the folders on the way to a changed file are read and written.

An index would list every file of the repository; with a thousand overlays (or a mono-repository around them) that is
most of the work of a small commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

Tree = dict[bytes, tuple[bytes, bytes]]
"""Entries by name: ``(mode, binary object id)``."""
_FOLDER = b"40000"


def parse_tree(raw: bytes, id_length: int = 20) -> Tree:
    """A tree object's content, as ``git cat-file`` prints it."""
    entries: Tree = {}
    at = 0
    while at < len(raw):
        space, end = raw.index(b" ", at), raw.index(b"\0", at)
        entries[raw[space + 1 : end]] = (raw[at:space], raw[end + 1 : end + 1 + id_length])
        at = end + 1 + id_length
    return entries


def render_tree(tree: Tree) -> bytes:
    """The content of a tree object; Git sorts folders as if their names ended in a slash."""
    ordered = sorted(tree.items(), key=lambda item: item[0] + (b"/" if item[1][0] == _FOLDER else b""))
    return b"".join(mode + b" " + name + b"\0" + oid for name, (mode, oid) in ordered)


def folders_of(paths: Mapping[str, object]) -> list[str]:
    """Every folder on the way to ``paths``, the root (``""``) included, deepest first."""
    found = {"" if str(parent) == "." else str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return sorted(found, key=lambda folder: (-len(PurePosixPath(folder).parts), folder))


def edit(trees: Mapping[str, Tree], changes: Mapping[str, bytes | None], write: Callable[[bytes], bytes]) -> bytes:
    """Apply ``changes`` (path to blob id, or None to remove) and return the id of the new root tree.

    ``trees`` holds the present tree of every folder in :func:`folders_of`, empty for one that does not exist;
    ``write`` stores a tree's content and returns its id. Folders that end up empty vanish, as Git has them.
    """
    new = {folder: dict(tree) for folder, tree in trees.items()}
    for path, oid in changes.items():
        folder, name = _split(path)
        if oid is None:
            new[folder].pop(name, None)
        else:
            new[folder][name] = (b"100644", oid)
    root = b""
    for folder in folders_of(changes):
        if folder == "":
            root = write(render_tree(new[folder]))
            continue
        parent, name = _split(folder)
        if new[folder]:
            new[parent][name] = (_FOLDER, write(render_tree(new[folder])))
        else:
            new[parent].pop(name, None)
    return root


def _split(path: str) -> tuple[str, bytes]:
    folder, _, name = path.rpartition("/")
    return folder, name.encode()
