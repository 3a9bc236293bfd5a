"""Bringing a release to where it is served: download, verify, then move into place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from rankops.errors import BadInput, IntegrityError, RankopsError, ToolMissing
from rankops.release.manifest import STORE_MARKER
from rankops.release.signing import verify
from rankops.store import fetch_folder


def fetch(uri: str, to: Path, *, digest: str, public_key: Path) -> Literal["fetched", "already there"]:
    """Make ``to`` a verified copy of the release at ``uri``.

    Nothing unverified is ever seen under ``to``: the copy is made and verified beside it, then renamed. When ``to``
    already holds this release and it verifies, nothing is touched. Raises as :func:`rankops.release.signing.verify`
    and :func:`rankops.store.fetch_folder`, and :class:`ToolMissing` when the URL needs a package that is absent.
    """
    if _stands(to, digest, public_key):
        return "already there"
    to.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.", suffix=".tmp"))
    try:
        source = _source(uri, scratch / "download")
        copy = scratch / "release"
        if source.is_relative_to(scratch):
            source.rename(copy)
        else:
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(STORE_MARKER), symlinks=True)
        verify(copy, public_key, digest)
        copy.chmod(0o755)
        _replace(copy, to, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return "fetched"


def _stands(to: Path, digest: str, public_key: Path) -> bool:
    if not to.is_dir():
        return False
    try:
        verify(to, public_key, digest)
    except (BadInput, IntegrityError):
        return False  # another release, or a damaged one: it is replaced by a verified copy
    return True


def _source(uri: str, download: Path) -> Path:
    url = uri if "://" in uri else Path(uri).resolve().as_uri()
    try:
        return fetch_folder(url, download)
    except ImportError as error:
        raise ToolMissing(f"{uri} needs a package: {error}", "install it in the server image (s3fs, gcsfs)") from error
    except ValueError as error:
        raise BadInput(f"{uri} is no URL of a store: {error}", "use file://, s3:// or gs://") from error


def _replace(copy: Path, to: Path, scratch: Path) -> None:
    replaced = scratch / "replaced"
    try:
        if to.exists():
            to.rename(replaced)
        copy.rename(to)
    except OSError as error:
        if replaced.exists() and not to.exists():
            replaced.rename(to)
        raise RankopsError(
            f"cannot put the release at {to}: {error}", f"mount the volume at {to.parent}, not at {to} itself"
        ) from error
