"""The artifact store: immutable, content-addressed folders under one fsspec root.

Layout below the root (``file://``, ``s3://``, ``gs://``, ...)::

    <kind>/<digest>/...            the folder's files
    <kind>/<digest>/.complete      written last; a folder without it does not exist for readers
    memo/<kind>/<input key>.json   which folder the work on these inputs produced

Nothing is ever overwritten, so readers need no locks and a killed writer leaves only an incomplete folder that
the next writer completes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from rankops.artifacts import Kind, StoredArtifact
from rankops.errors import BadInput, IntegrityError, RemoteUnavailable
from rankops.files import combine_digests, file_digests, staged_directory, write_text

_MARKER = ".complete"


class ArtifactStore:
    """Publish and read immutable folders.

    ``root`` is any fsspec URL or local path; ``cache`` is where folders of a remote store are downloaded to.
    """

    def __init__(self, root: str, cache: Path | None = None) -> None:
        self.root = root if "://" in root else Path(root).resolve().as_uri()
        self._cache = cache or Path(tempfile.gettempdir()) / "rankops-cache"

    @property
    def is_local(self) -> bool:
        """True where folders of the store can be read in place."""
        return self.root.startswith("file://")

    def uri(self, kind: Kind, digest: str) -> str:
        """The URL of a folder, whether it exists or not."""
        return f"{self.root}/{kind}/{digest}"

    def publish(
        self,
        kind: Kind,
        folder: Path,
        *,
        lineage: dict[str, str] | None = None,
        facts: dict[str, Any] | None = None,
        input_key: str | None = None,
        digest: str | None = None,
    ) -> StoredArtifact:
        """Copy ``folder`` into the store and return its reference.

        ``digest`` overrides the default (a hash over all files) for kinds that define their own, such as releases.
        With ``input_key`` (a hex digest over everything the work read) :meth:`find` returns this reference later.
        Raises :class:`BadInput` for an empty folder.
        """
        digests = file_digests(folder)
        if not digests:
            raise BadInput(f"{folder} holds no file to publish", "rematerialize the asset that should have written it")
        own = digest or combine_digests(digests)
        reference = StoredArtifact(
            kind=kind, digest=own, uri=self.uri(kind, own), lineage=lineage or {}, facts=facts or {}
        )
        if not self._complete(reference.uri):
            self._upload(folder, reference.uri, sorted(digests))
        if input_key is not None:
            self.remember(reference, input_key)
        return reference

    def remember(self, reference: StoredArtifact, input_key: str) -> None:
        """Let :meth:`find` return ``reference`` for these inputs from now on."""
        self._write(f"{self.root}/memo/{reference.kind}/{input_key}.json", reference.model_dump_json(indent=2))

    def find(self, kind: Kind, input_key: str) -> StoredArtifact | None:
        """The reference that work on exactly these inputs produced, if its folder is still whole."""
        text = self._read(f"{self.root}/memo/{kind}/{input_key}.json")
        if text is None:
            return None
        reference = StoredArtifact.model_validate_json(text)
        return reference if self._complete(reference.uri) else None

    def find_or_make(
        self, kind: Kind, input_key: str, make: Callable[[Path], tuple[dict[str, str], dict[str, Any]]]
    ) -> tuple[StoredArtifact, bool]:
        """Return ``(reference, reused)``; ``make`` fills a scratch folder and returns ``(lineage, facts)``."""
        if (standing := self.find(kind, input_key)) is not None:
            return standing, True
        with tempfile.TemporaryDirectory(prefix=f"rankops-{kind}-") as scratch:
            lineage, facts = make(Path(scratch))
            made = self.publish(kind, Path(scratch), lineage=lineage, facts=facts, input_key=input_key)
        return made, False

    def local_path(self, artifact: StoredArtifact) -> Path:
        """A local folder with the artifact's files: in place for a ``file://`` store, else a download.

        Raises :class:`IntegrityError` when the folder is absent or incomplete. Bytes are not re-hashed here;
        releases are verified by signature where they are used.
        """
        return fetch_folder(artifact.uri, self._cache / artifact.kind / artifact.digest)

    def _upload(self, folder: Path, uri: str, names: list[str]) -> None:
        if self.is_local:
            target = _as_path(uri)
            if target.exists():  # an older writer was killed before the marker: its bytes are not trusted
                shutil.rmtree(target)
            with staged_directory(target) as staged:
                shutil.copytree(folder, staged, dirs_exist_ok=True)
                (staged / _MARKER).write_text("\n".join(names) + "\n")
            return
        filesystem, base = url_to_fs(uri)
        for name in names:
            filesystem.makedirs(f"{base}/{name}".rsplit("/", 1)[0], exist_ok=True)
            filesystem.put_file(str(folder / name), f"{base}/{name}")
        filesystem.pipe_file(f"{base}/{_MARKER}", ("\n".join(names) + "\n").encode())

    @staticmethod
    def _complete(uri: str) -> bool:
        filesystem, base = url_to_fs(uri)
        return bool(filesystem.exists(f"{base}/{_MARKER}"))

    def _write(self, uri: str, text: str) -> None:
        if uri.startswith("file://"):
            write_text(_as_path(uri), text)
            return
        with fsspec.open(uri, "w") as handle:
            handle.write(text)

    @staticmethod
    def _read(uri: str) -> str | None:
        try:
            with fsspec.open(uri, "r") as handle:
                return str(handle.read())
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> Any | None:
        """A small mutable JSON record under the root (e.g. ``decisions/...``), or None."""
        text = self._read(f"{self.root}/{name}")
        return None if text is None else json.loads(text)

    def names(self, folder: str) -> list[str]:
        """Names of the JSON records directly below a folder such as ``decisions/retriever``, sorted."""
        filesystem, base = url_to_fs(f"{self.root}/{folder}")
        try:
            found = [str(path) for path in filesystem.ls(base, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{path.rsplit('/', 1)[1]}" for path in found if path.endswith(".json"))

    def write_json(self, name: str, value: Any) -> str:
        """Write a small JSON record under the root and return its URL."""
        uri = f"{self.root}/{name}"
        self._write(uri, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
        return uri


def fetch_folder(uri: str, cache: Path) -> Path:
    """A complete local copy of the store folder at ``uri``: in place for ``file://``, else downloaded to ``cache``.

    Raises :class:`IntegrityError` for a folder that is absent or was never completed, and
    :class:`RemoteUnavailable` when the store does not answer.
    """
    filesystem, base = url_to_fs(uri)
    try:
        if not filesystem.exists(f"{base}/{_MARKER}"):
            raise IntegrityError(f"{uri} is absent or incomplete", "rematerialize the asset that publishes it")
        if uri.startswith("file://"):
            return _as_path(uri)
        if cache.is_dir():
            return cache
        with staged_directory(cache) as staged:
            for name in _inside(filesystem.cat_file(f"{base}/{_MARKER}").decode().split("\n"), uri):
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(f"{base}/{name}", str(staged / name))
    except OSError as error:
        raise RemoteUnavailable(f"cannot read {uri}: {error}", "check the store's URL and credentials") from error
    return cache


def _inside(names: list[str], uri: str) -> list[str]:
    """The names of a marker; it may come from a stranger's store, and must not write outside the copy."""
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise IntegrityError(f"{uri} lists {name!r}, which lies outside of it", "publish it again")
    return [name for name in names if name]


def _as_path(uri: str) -> Path:
    from urllib.parse import unquote, urlparse

    return Path(unquote(urlparse(uri).path))
