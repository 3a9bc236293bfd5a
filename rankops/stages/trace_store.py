"""What an artifact store can prove: the digest of every folder, recomputed from its bytes, and its own records."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rankops.artifacts import Kind, StoredArtifact
from rankops.errors import IntegrityError, RemoteUnavailable
from rankops.files import combine_digests, file_digests
from rankops.overlays.component import ReleasePin
from rankops.release.manifest import STORE_MARKER
from rankops.stages.trace_hops import Hop, compared
from rankops.store import fetch_folder

_NO_RECORD = "the store keeps no record of it"


class StoreView:
    """One store, read afresh: nothing that was downloaded earlier is believed.

    ``root`` is None where it is unknown; ``scratch`` takes downloads.
    """

    def __init__(self, root: str | None, scratch: Path, progress: Callable[[str], None]) -> None:
        self.root, self._scratch, self._progress = root, scratch, progress
        self._records: dict[str, list[StoredArtifact]] = {}

    def folder(self, kind: Kind, digest: str, uri: str | None = None) -> Path | Hop:
        """The folder of an artifact, or the hop that says why there is none."""
        address = uri or (f"{self.root}/{kind}/{digest}" if self.root else None)
        if address is None:
            return Hop(kind, digest, "absent", "not in a store that we know (the release lies in no standard place)")
        self._progress(f"reading {kind} {digest[:12]}")
        try:
            return fetch_folder(address, self._scratch / kind / digest)
        except IntegrityError:
            return Hop(kind, digest, "absent", f"not in the store: {address}")
        except RemoteUnavailable as error:
            return Hop(kind, digest, "absent", error.problem)
        except Exception as error:  # noqa: BLE001 - each fsspec backend has its own errors for "no credentials"
            return Hop(kind, digest, "absent", f"cannot read {address}: {type(error).__name__}: {str(error)[:200]}")

    def hop(self, kind: Kind, digest: str, children: tuple[Hop, ...] = ()) -> Hop:
        """An artifact with its digest recomputed from the bytes in the store."""
        found = self.folder(kind, digest)
        if isinstance(found, Hop):
            return Hop(kind, digest, "absent", found.detail, children)
        files = file_digests(found, exclude=frozenset({STORE_MARKER}))
        return compared(
            kind, digest, combine_digests(files), by=f"its {len(files)} files in the store", children=children
        )

    def record(self, kind: Kind, digest: str, **lineage: str) -> StoredArtifact | None:
        """What the store remembers of an artifact that was made from ``lineage``; None without such a record."""
        for reference in self._remembered(kind):
            if reference.digest == digest and lineage.items() <= reference.lineage.items():
                return reference
        return None

    def _remembered(self, kind: Kind) -> list[StoredArtifact]:
        if kind not in self._records:
            self._records[kind] = self._read_records(kind)
        return self._records[kind]

    def _read_records(self, kind: Kind) -> list[StoredArtifact]:
        from fsspec.core import url_to_fs

        if self.root is None:
            return []
        try:
            filesystem, base = url_to_fs(f"{self.root}/memo/{kind}")
            texts: Mapping[str, Any] = filesystem.cat(found) if (found := filesystem.glob(f"{base}/*.json")) else {}
        except Exception:  # noqa: BLE001 - the folders say the same: a store that does not answer
            return []
        records = []
        for text in texts.values():
            try:
                records.append(StoredArtifact.model_validate(json.loads(text)))
            except (ValueError, ValidationError):
                continue  # a record is a shortcut: a damaged one is as good as none
        return records


def artifact_hop(store: StoreView, pin: ReleasePin, encoder: Mapping[str, str], checkpoint: Hop) -> Hop:
    """The quantized artifact of a release, that the release ships its very encoder, and the checkpoint it came from.

    ``encoder`` are the digests of the release's encoder files by name. Which artifact it was, the store's record of
    the release says.
    """
    made_from = {"dataset": pin.dataset, "checkpoint": pin.checkpoint}
    record = store.record("release", pin.release, **made_from)
    digest = record.lineage.get("artifact") if record else None
    if digest is None:
        return Hop("artifact", "unknown", "absent", _NO_RECORD, (checkpoint,))
    folder = store.folder("artifact", digest)
    children: list[Hop] = []
    if isinstance(folder, Path) and encoder:
        shipped = file_digests(folder)
        wrong = sorted(name for name, have in encoder.items() if shipped.get(name) != have)
        detail = f"{', '.join(wrong)} differ" if wrong else "the release ships the artifact's own files"
        children.append(Hop("encoder files", f"{len(encoder)} files", "failed" if wrong else "ok", detail))
    made = store.record("artifact", digest, **made_from)
    lineage = made.lineage if made else {}
    if (judged := lineage.get("judged")) is not None:
        children.append(replace(store.hop("artifact", judged), what="judged artifact"))
    if (evaluation := lineage.get("evaluation")) is not None:
        children.append(store.hop("evaluation", evaluation))
    return store.hop("artifact", digest, (*children, checkpoint))


def checkpoint_hop(
    store: StoreView, checkpoint: str, *, dataset: str, base: str | None, children: tuple[Hop, ...]
) -> Hop:
    """The checkpoint, and that the store's record of its training names this dataset and these base weights."""
    record = store.record("checkpoint", checkpoint)
    if record is None:
        return store.hop("checkpoint", checkpoint, (Hop("training", "unknown", "absent", _NO_RECORD), *children))
    wrong = [
        f"its record names {key} {(have or 'nothing')[:16]}, the release {want[:16]}"
        for key, want in {"dataset": dataset, **({"base_model": base} if base else {})}.items()
        if (have := record.lineage.get(key)) != want
    ]
    start = record.lineage.get("started_from", "")
    warm = start not in ("", record.lineage.get("base_model"))
    detail = "; ".join(wrong) or (f"started from checkpoint {start[:12]}" if warm else "started from the base model")
    training = Hop("training", record.lineage.get("model", "unknown"), "failed" if wrong else "ok", detail)
    return store.hop("checkpoint", checkpoint, (training, *children))


def dataset_hop(store: StoreView, digest: str, *, name: str | None, days: tuple[str | None, str | None]) -> Hop:
    """The dataset with its days and tables. ``days`` are what the release says; the dataset must say the same."""
    folder = store.folder("dataset", digest)
    if isinstance(folder, Hop):
        said = (Hop("days", _days(days), "note", "as the release says"),) if any(days) else ()
        return Hop("dataset", digest, "absent", folder.detail, said)
    children = [_tables(folder)]
    info = _json(folder / "dataset.json")
    have = (info.get("first_day"), info.get("last_day"))
    if any(days):
        wrong = any(have) and tuple(map(str, have)) != tuple(map(str, days))
        detail = f"the dataset says {_days(have)}" if wrong else "release and dataset agree"
        children.insert(0, Hop("days", _days(days), "failed" if wrong else "ok" if any(have) else "note", detail))
    if name is not None and info.get("name") not in (None, name):
        children.insert(0, Hop("name", name, "failed", f"the dataset calls itself {info['name']}"))
    return store.hop("dataset", digest, tuple(children))


def _tables(folder: Path) -> Hop:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for file in sorted(folder.glob("*.parquet")):
        try:
            rows.append(f"{file.stem} {pq.read_metadata(file).num_rows:,}")
        except (pa.ArrowException, OSError) as error:
            return Hop("tables", file.name, "failed", f"cannot be read: {error}")
    return Hop("tables", ", ".join(rows) or "none", "note", "rows of each table")


def _days(days: tuple[Any, Any]) -> str:
    return f"{days[0] or '?'} to {days[1] or '?'}"


def _json(path: Path) -> Mapping[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
