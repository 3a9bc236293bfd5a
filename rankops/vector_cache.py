"""Vectors that were made once: by encoder, then by text, in segments of an fsspec folder.

Layout below the root (by default ``vectors/`` of the artifact store)::

    <encoder key>/<segment>.vec     magic, count, dimension, text keys, float32 vectors, SHA-256 of all before
    <encoder key>/used              touched when it is opened: what was not used longest goes first

A segment is written whole or not at all and never changed, so a killed writer leaves what it had finished: the next
one goes on from there. Several writers may add at once; a text in two segments has the same vector in both. A segment
that is damaged is passed over, and its texts are embedded again.
"""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import fsspec
import numpy as np
from numpy.typing import NDArray

from rankops.errors import BadInput
from rankops.files import digest_of, write_bytes

MAX_BYTES = 4 << 30
"""Default bound of a whole cache: two million vectors of 384 numbers take 3 GB."""
_MAGIC = b"RVEC0001"
_HEADER = struct.Struct("<8sqq")
_KEY = 16
_MANY = 16  # segments of an encoder beyond which they are merged
_SEGMENT_BYTES = 64 << 20
_SUFFIX, _USED = ".vec", "used"

Floats = NDArray[np.float32]


@dataclass
class VectorCache:
    """All encoders' vectors below ``root`` (a folder or any fsspec URL), ``max_bytes`` at most after :meth:`trim`."""

    root: str
    max_bytes: int = MAX_BYTES

    def of(self, encoder: Mapping[str, Any], dimension: int) -> CachedVectors:
        """The vectors of one encoder. ``encoder`` is all that decides a vector's bits, the text apart."""
        return CachedVectors(_Folder(f"{self.root.rstrip('/')}/{digest_of(dict(encoder))[:32]}"), dimension)

    def trim(self, *, keep: CachedVectors | None = None) -> int:
        """Remove the encoders that were not used longest until the bound holds; returns the bytes removed."""
        everything = _Folder(self.root)
        encoders = [_Folder(f"{self.root.rstrip('/')}/{name}") for name in everything.folders()]
        sizes = {encoder.url: sum(encoder.sizes().values()) for encoder in encoders}
        removed, total = 0, sum(sizes.values())
        for encoder in sorted(encoders, key=_Folder.used):
            if total - removed <= self.max_bytes:
                break
            if keep is None or encoder.url != keep.folder.url:
                encoder.remove()
                removed += sizes[encoder.url]
        return removed


@dataclass
class CachedVectors:
    """Vectors of one encoder by text. One instance is used by one thread."""

    folder: _Folder
    dimension: int
    _segments: dict[str, tuple[NDArray[Any], Floats]] = field(default_factory=dict)
    _places: dict[bytes, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.touch()
        self.refresh()

    def __contains__(self, text: str) -> bool:
        return text_key(text) in self._places

    def refresh(self) -> None:
        """See what other writers have added."""
        for name in sorted(self.folder.sizes()):
            if name not in self._segments and (read := self._read(name)) is not None:
                self._segments[name] = read
                self._places.update((bytes(key), (name, row)) for row, key in enumerate(read[0]))

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Those of ``texts`` that have no vector yet, each once, in order of their first appearance."""
        return [text for text in dict.fromkeys(texts) if text not in self]

    def put(self, texts: Sequence[str], vectors: Floats) -> None:
        """Add the vectors (n, d) of some texts as one segment. Raises :class:`BadInput` for vectors of another form."""
        if vectors.shape != (len(texts), self.dimension) or vectors.dtype != np.float32:
            raise BadInput(f"{vectors.dtype} {vectors.shape} are not the vectors of {len(texts)} texts")
        keys = np.frombuffer(b"".join(map(text_key, texts)), np.uint8).reshape(-1, _KEY)
        self._write(keys, vectors)

    def get(self, texts: Sequence[str]) -> Floats:
        """float32 ``(len(texts), d)``. Raises ``KeyError`` for a text that has no vector."""
        found = np.empty((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            name, place = self._places[text_key(text)]
            found[row] = self._segments[name][1][place]
        return found

    def compact(self) -> None:
        """Merge small segments where there are many. Readers that have them open keep what they see."""
        small = [name for name, size in self.folder.sizes().items() if size < _SEGMENT_BYTES // 2]
        small = [name for name in sorted(small) if name in self._segments]
        if len(small) <= _MANY:
            return
        a_row = 4 * self.dimension + _KEY
        while small:
            batch = [small.pop(0)]
            rows = len(self._segments[batch[0]][0])
            while small and (rows + len(self._segments[small[0]][0])) * a_row <= _SEGMENT_BYTES:
                batch.append(small.pop(0))
                rows += len(self._segments[batch[-1]][0])
            if len(batch) > 1:
                parts = [self._segments[name] for name in batch]
                keys, vectors = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
                self._write(keys, vectors)
                for name in batch:
                    del self._segments[name]
                    self.folder.delete(name)

    def _write(self, keys: NDArray[Any], vectors: Floats) -> None:
        header = _HEADER.pack(_MAGIC, len(keys), self.dimension)
        content = b"".join([header, keys.tobytes(), np.ascontiguousarray(vectors, "<f4").tobytes()])
        digest = sha256(content)
        name = digest.hexdigest()[:32] + _SUFFIX
        self.folder.write(name, content + digest.digest())
        read = self._read(name)
        if read is None:
            raise OSError(f"{self.folder.url}/{name} cannot be read back")
        self._segments[name] = read
        self._places.update((bytes(key), (name, row)) for row, key in enumerate(read[0]))

    def _read(self, name: str) -> tuple[NDArray[Any], Floats] | None:
        """``(keys, vectors)`` as maps of a local file; None where the segment is damaged or gone."""
        path = self.folder.local(name)
        if path is None or path.stat().st_size < _HEADER.size + 32:
            return None
        content = np.memmap(path, np.uint8, mode="r")
        magic, count, dimension = _HEADER.unpack(content[: _HEADER.size].tobytes())
        middle = _HEADER.size + count * _KEY
        end = middle + count * dimension * 4
        if magic != _MAGIC or dimension != self.dimension or count < 0 or end + 32 != len(content):
            return None
        if sha256(content[:end].data).digest() != content[end:].tobytes():
            return None
        keys = np.asarray(content[_HEADER.size : middle]).reshape(count, _KEY)
        # Keys may end at any multiple of 8, which is aligned for float32.
        return keys, np.asarray(content[middle:end]).view("<f4").reshape(count, dimension)


def text_key(text: str) -> bytes:
    """The 16 bytes by which a text is known (of its SHA-256)."""
    return sha256(text.encode()).digest()[:_KEY]


class _Folder:
    """One folder of segments, local or remote. A remote one is copied as needed into a temporary folder."""

    def __init__(self, url: str) -> None:
        self.url = url if "://" in url else Path(url).resolve().as_uri()
        self._local = Path(unquote(urlparse(self.url).path)) if self.url.startswith("file://") else None
        self._copies: tempfile.TemporaryDirectory[str] | None = None

    def sizes(self) -> dict[str, int]:
        """Bytes of each segment by name."""
        return {Path(str(entry["name"])).name: int(entry["size"]) for entry in self._list() if _is_segment(entry)}

    def folders(self) -> list[str]:
        """Names of the folders in it."""
        return [Path(str(entry["name"])).name for entry in self._list() if entry["type"] == "directory"]

    def local(self, name: str) -> Path | None:
        """A local file with the segment; None where it is gone."""
        if self._local is not None:
            return self._local / name if (self._local / name).is_file() else None
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="rankops-vectors-")
        path = Path(self._copies.name) / name
        if not path.is_file():
            filesystem, base = fsspec.core.url_to_fs(self.url)
            try:
                filesystem.get_file(f"{base}/{name}", str(path))
            except FileNotFoundError:
                return None
        return path

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all: a local one is renamed into place, an object appears at its end."""
        if self._local is not None:
            write_bytes(self._local / name, content)
        else:
            filesystem, base = fsspec.core.url_to_fs(self.url)
            filesystem.pipe_file(f"{base}/{name}", content)

    def delete(self, name: str) -> None:
        """Remove a segment; another process may have done so."""
        filesystem, base = fsspec.core.url_to_fs(self.url)
        try:
            filesystem.rm_file(f"{base}/{name}")
        except FileNotFoundError:
            return

    def touch(self) -> None:
        """Note that it is used now."""
        if self._local is None:
            self.write(_USED, str(time.time_ns()).encode())
            return
        self._local.mkdir(parents=True, exist_ok=True)
        (self._local / _USED).write_text(str(time.time_ns()))

    def used(self) -> int:
        """When it was used last, in nanoseconds; 0 where nobody knows."""
        filesystem, base = fsspec.core.url_to_fs(self.url)
        try:
            return int(filesystem.cat_file(f"{base}/{_USED}").decode() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def remove(self) -> None:
        """Remove it with all that it holds."""
        filesystem, base = fsspec.core.url_to_fs(self.url)
        filesystem.rm(base, recursive=True)

    def _list(self) -> list[dict[str, Any]]:
        filesystem, base = fsspec.core.url_to_fs(self.url)
        try:
            found: list[dict[str, Any]] = filesystem.ls(base, detail=True)
        except FileNotFoundError:
            return []
        return found


def _is_segment(entry: Mapping[str, Any]) -> bool:
    return str(entry["name"]).endswith(_SUFFIX) and not Path(str(entry["name"])).name.startswith(".")
