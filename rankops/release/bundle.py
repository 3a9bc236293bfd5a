"""Building a bundle: a task's files, golden answers and manifest, all or nothing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankops.errors import BadInput, RankopsError
from rankops.files import combine_digests, staged_directory, write_text
from rankops.release.golden import Golden
from rankops.release.manifest import MODEL_CARD, ReleaseFacts, ReleaseManifest, payload_digests
from rankops.text import normalize_query

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Content:
    """What a task put into a bundle: the digest of its model, its golden answers, one line for people, and how its
    product index came about."""

    model_digest: str
    golden: Golden
    summary: str
    index: dict[str, Any] | None = None


def assemble(
    out: Path, facts: ReleaseFacts, fill: Callable[[Path], Content], progress: Callable[[str], None] = lambda _: None
) -> ReleaseManifest:
    """Build an unsigned bundle in ``out`` (absent or an empty folder) and return its manifest.

    ``fill`` writes the task's files into the folder that it is given. The same files give the same release digest.
    On any failure nothing is left in ``out``. Raises :class:`BadInput` for an ``out`` that is not empty,
    :class:`RankopsError` when the disk is full, and what ``fill`` raises.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is not empty", "give a new folder: bundles are never changed")
    with _room_on_disk(out), staged_directory(out) as staged:
        content = fill(staged)
        content.golden.write(staged)
        if facts.model_card is not None:
            write_text(staged / MODEL_CARD, facts.model_card)
        files = payload_digests(staged)
        manifest = ReleaseManifest(
            **(facts.model_dump() | {"index": content.index}),
            files=files,
            encoder_digest=content.model_digest,
            digest=combine_digests(files),
        )
        manifest.write(staged)
    asked = len(content.golden.requests)
    progress(f"release {manifest.short}: {len(files)} files, {content.summary}, {asked} golden requests")
    return manifest


def distinct_queries(queries: Sequence[str]) -> list[str]:
    """In the given order, without repetitions. Raises :class:`BadInput` where none says anything."""
    kept = list(dict.fromkeys(query for query in queries if normalize_query(query)))
    if not kept:
        raise BadInput("a release needs at least one golden query", "give the held-out queries of the dataset")
    return kept


def copy_files(source: Path, names: Sequence[str], target: Path) -> None:
    """Copy an artifact's files into a new folder. Raises :class:`BadInput` naming the one that is missing."""
    target.mkdir()
    for name in names:
        if not (source / name).is_file():
            raise BadInput(f"{source / name} is missing", "rematerialize the quantized artifact")
        shutil.copyfile(source / name, target / name)


@contextmanager
def _room_on_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise RankopsError(
            f"the disk is full: {out} could not be written ({error.strerror}); nothing of it was left behind",
            f"free space on the file system of {out.parent}, then rematerialize the release",
        ) from error
