"""The object store of the managed mirror: read blobs and trees, write them, fetch what is missing, keep it tidy.

The mirror is a *blobless partial clone* where the server offers that: all commits and folders, and of the files only
those that were read. Of a mono-repository a deploy needs a few dozen small files, so its large ones, its history of
blobs and whatever else lies there never cross the network. A server that does not know the filter sends everything.
Git would fetch a missing blob by itself, one round trip each and without our credentials; so they are fetched here,
all at once. A server that filters but then gives no single blobs (protocol 0 without ``allowAnySHA1InWant``) is asked
for everything, once.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rankops.errors import OverlayConflict
from rankops.overlays.git import Git, GitFailed, explain
from rankops.overlays.trees import Tree, edit, folders_of, parse_tree

_FILTER, _NO_FILTER = "--filter=blob:none", "--no-filter"
TRACKING = "refs/rankops/remote/"
"""Where the mirror keeps the remote's branches."""
_NO_SINGLE_BLOBS = re.compile(r"unadvertised object|not our ref", re.IGNORECASE)
_MANY_PACKS = 200
_MANY_LOOSE = 27  # in one of 256 folders, git's own measure of some 6,700 loose objects
_ABANDONED = 3600.0
"""Seconds after which a temporary file that no lock guards belongs to nobody."""


class ObjectStore:
    """The objects of one bare repository. ``address`` is where missing ones are fetched."""

    def __init__(self, git: Git, repository: Path, address: str) -> None:
        self._git, self.repository, self._address = git, repository, address
        self._whole = repository / "rankops-whole"
        self._present: set[str] = set()  # what was seen here once stays: nothing is pruned

    @property
    def filter(self) -> str:
        """The option of ``git fetch`` that says which blobs come along."""
        return _NO_FILTER if self._whole.exists() else _FILTER

    def run(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run git in this repository, without credentials."""
        return self._git.run(args, repository=self.repository, stdin=stdin, env=env)

    # --- reading -------------------------------------------------------------------------------------------------

    def blobs(self, oids: Sequence[str]) -> dict[str, bytes]:
        """The contents of blobs by id, fetched where they are not here yet."""
        if not oids:
            return {}
        self.ensure(oids)
        out = self.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in oids).encode())
        found, at = {}, 0
        for oid in oids:
            newline = out.index(b"\n", at)
            size = int(out[at:newline].split()[2])
            found[oid] = out[newline + 1 : newline + 1 + size]
            at = newline + 1 + size + 1
        return found

    def folders(self, commit: str, folders: Sequence[str]) -> dict[str, Tree]:
        """The tree of each folder in ``commit``; empty for one that does not exist."""
        out = self.run("cat-file", "--batch", stdin="".join(f"{commit}:{folder}\n" for folder in folders).encode())
        found: dict[str, Tree] = {}
        at = 0
        for folder in folders:
            newline = out.index(b"\n", at)
            header = out[at:newline].split(b" ")
            at = newline + 1
            if header[-1] == b"missing":
                found[folder] = {}
                continue
            oid, kind, size = header
            if kind != b"tree":
                raise OverlayConflict(f"{folder} is a file in {commit[:12]}, not a folder", "remove or rename it")
            found[folder] = parse_tree(out[at : at + int(size)], len(oid) // 2)
            at += int(size) + 1
        return found

    def ensure(self, oids: Iterable[str]) -> None:
        """Fetch those of ``oids`` that are not here, in one round trip."""
        wanted = set(oids) - self._present
        if not wanted or not self._is_partial():
            return
        lines = "".join(f"{oid}\n" for oid in sorted(wanted)).encode()
        # `--missing` keeps git from fetching what it merely looks for; `--ignore-missing` leaves that out of the list.
        look = ["rev-list", "--no-walk", "--objects", "--no-object-names", "--ignore-missing", "--missing=print"]
        missing = wanted - set(self.run(*look, "--stdin", stdin=lines).decode().split())
        if missing:
            self._fetch_blobs(missing)
        self._present |= wanted

    def ensure_changed(self, before: str, after: str) -> None:
        """Fetch both sides of every file that differs between two commits."""
        if not self._is_partial():
            return
        out = self.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", before, after, "--")
        pairs = [record.split(b" ")[:4] for record in out.split(b"\0") if record.startswith(b":")]
        sides = [(mode, oid) for old, new, was, now in pairs for mode, oid in ((old.lstrip(b":"), was), (new, now))]
        self.ensure(oid.decode() for mode, oid in sides if mode not in {b"000000", b"160000"})

    def _is_partial(self) -> bool:
        partial = next(self.repository.glob("objects/pack/*.promisor"), None) is not None
        return partial and not self._whole.exists()

    def _fetch_blobs(self, oids: Iterable[str]) -> None:
        lines = "".join(f"{oid}\n" for oid in sorted(oids)).encode()
        command = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", _FILTER]
        try:  # without negotiation: what the server has of ours says nothing about these
            args = ["-c", "fetch.negotiationAlgorithm=noop", *command, "--stdin", "--", self._address]
            self._git.talk(args, repository=self.repository, stdin=lines)
        except GitFailed as failure:
            if not _NO_SINGLE_BLOBS.search(failure.stderr):
                raise explain(failure, self._git.remote) from None
            self._fetch_everything()

    def _fetch_everything(self) -> None:
        refs = self.run("for-each-ref", "--format=%(refname)", "--", TRACKING).decode().split()
        specs = [f"refs/heads/{ref.removeprefix(TRACKING)}" for ref in refs]  # objects only: refs need the lock
        command = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refetch", _NO_FILTER]
        limit = self._git.options.clone_timeout
        self._git.network([*command, "--", self._address, *specs], repository=self.repository, timeout=limit)
        self._whole.touch()

    # --- writing -------------------------------------------------------------------------------------------------

    def edit(self, parent: str, changes: Mapping[str, str | None]) -> str:
        """Write the files of ``changes`` (None removes one) over the tree of ``parent``; returns the new tree's id.

        Two processes however many files and folders: ids are computed here, and git must arrive at the same.
        """
        texts = {path: text.encode() for path, text in changes.items() if text is not None}
        blobs: dict[str, bytes | None] = dict.fromkeys(changes)
        blobs |= dict(zip(texts, self._store("blob", list(texts.values()), parent), strict=True))
        trees: list[bytes] = []

        def collect(content: bytes) -> bytes:
            trees.append(content)
            return _id_of("tree", content, parent)

        root = edit(self.folders(parent, folders_of(changes)), blobs, collect)
        self._store("tree", trees, parent)
        return root.hex()

    def _store(self, kind: str, contents: Sequence[bytes], like: str) -> list[bytes]:
        """Write objects and return their binary ids."""
        if not contents:
            return []
        with tempfile.TemporaryDirectory(prefix="rankops-objects-") as scratch:
            files = [Path(scratch) / str(number) for number in range(len(contents))]
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(content)
            lines = "".join(f"{file}\n" for file in files).encode()
            out = self.run("hash-object", "-t", kind, "-w", "--no-filters", "--stdin-paths", stdin=lines)
        stored = [bytes.fromhex(line) for line in out.decode().split()]
        if stored != [_id_of(kind, content, like) for content in contents]:
            raise AssertionError("git and rankops disagree on the id of an object")
        return stored

    # --- housekeeping, only while the mirror's lock is held ----------------------------------------------------------

    def remove_leftovers(self) -> None:
        """Lock files and half-received packs of a git that was killed; whoever holds the mirror's lock owns them."""
        patterns = ("refs/rankops/**/*.lock", "*.lock", "objects/info/**/*.lock", "gc.pid")
        for pattern in patterns:
            for stale in self.repository.glob(pattern):
                stale.unlink(missing_ok=True)
        # Blobs are fetched without the lock, by several processes at once: what they write now is not abandoned.
        for stale in self.repository.glob("objects/pack/tmp_*"):
            with suppress(FileNotFoundError):  # received and renamed since it was listed
                if time.time() - stale.stat().st_mtime > _ABANDONED:
                    stale.unlink()

    def tidy(self) -> bool:
        """Pack what many small fetches and commits left behind, where there is much of it; True where it did.

        Readers may go on meanwhile. Nothing is ever pruned: another process may be about to push it.
        """
        packs = sum(1 for _ in self.repository.glob("objects/pack/*.pack"))
        loose = sum(1 for _ in self.repository.glob("objects/17/*"))
        if packs < _MANY_PACKS and loose < _MANY_LOOSE:
            return False
        command = ["repack", "-A", "-d", "--quiet"]
        self._git.run(command, repository=self.repository, timeout=self._git.options.clone_timeout)
        return True


def _id_of(kind: str, content: bytes, like: str) -> bytes:
    """The id of an object in a repository whose ids look like ``like``."""
    algorithm = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return algorithm(f"{kind} {len(content)}\0".encode() + content).digest()
