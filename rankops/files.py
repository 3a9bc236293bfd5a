"""Files that are either whole or absent, and digests of files and folders.

Everything that other processes read is written under a temporary name beside its final place and renamed:
a kill, a full disk or an exception leaves the old content (or nothing), never half of the new.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankops.pace import rest

_CHUNK = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
            rest()
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space: equal values give equal text (in the spirit of RFC 8785)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value's canonical form; the key under which work on that input is remembered."""
    return sha256_bytes(canonical_json(value).encode())


def file_digests(folder: Path, *, exclude: frozenset[str] = frozenset()) -> dict[str, str]:
    """``{relative posix path: hex SHA-256}`` of every file below ``folder``, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    named = ((p.relative_to(folder).as_posix(), p) for p in files)
    return {name: sha256_file(path) for name, path in named if name not in exclude}


def combine_digests(digests: Mapping[str, str]) -> str:
    """One hex SHA-256 over ``sha256  path`` lines sorted by path (the form that ``sha256sum`` prints)."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return sha256_bytes(lines.encode())


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` with ``text``, atomically and durably."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` with readable, sorted JSON, atomically and durably."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data``, atomically and durably (write beside, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``final``; on success it becomes ``final``, on any error it is removed.

    If ``final`` appears meanwhile (another process built the same content) the staged folder is dropped and the
    standing one is kept: content-addressed folders are interchangeable.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.", suffix=".tmp"))
    staged.chmod(0o755)
    try:
        yield staged
        try:
            os.rename(staged, final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
