"""A dataset that comes as a folder (``rankops import``), taken into the store as if it had been assembled."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput
from rankops.files import combine_digests, digest_of, sha256_file

if TYPE_CHECKING:
    from rankops.dataset import Dataset
    from rankops.store import ArtifactStore

Progress = Callable[[str], None]

FILES = (*(f"{table}.parquet" for table in ("catalogue", "interactions", "queries", "judgements")), "dataset.json")


def adopt(store: ArtifactStore, folder: str, *, name: str, progress: Progress) -> tuple[StoredArtifact, bool]:
    """The dataset in ``folder`` (a path, or a URL of any fsspec scheme) as an artifact; ``reused``: it was known.

    A path may also be a folder of published files that :func:`rankops.data.registry.read_folder` knows.

    Where its test queries have no labels, others are held out in their place (:mod:`rankops.data.held_out`).
    Raises :class:`BadInput` where a file is missing or a table breaks a rule.
    """
    from rankops.data.held_out import with_held_out

    with tempfile.TemporaryDirectory(prefix="rankops-dataset-") as scratch:
        local = _local(folder, Path(scratch) / "dataset")
        names = FILES if _is_ours(local) else sorted(path.name for path in local.glob("*") if path.is_file())
        digests = {file: sha256_file(local / file) for file in names if (local / file).is_file()}
        key = digest_of({"imported": combine_digests(digests), "name": name, "code": 3})

        def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
            dataset = with_held_out(_checked(local, name))
            progress(f"dataset {name}: {dataset.catalogue.height:,} products, {dataset.queries.height:,} queries")
            dataset.save(out)
            return {"name": name, "input_key": key}, dataset.info

        return store.find_or_make("dataset", key, make)


def _checked(folder: Path, name: str) -> Dataset:
    """Read and check; queries are not held to the rules of search queries, because offer pairs repeat their texts."""
    from rankops.data.registry import read_folder
    from rankops.data.tables import check_table
    from rankops.dataset import load_dataset

    found = load_dataset(folder) if _is_ours(folder) else read_folder(folder)
    catalogue = check_table("catalogue", found.catalogue, f"{folder} (catalogue)")
    interactions = check_table("interactions", found.interactions, f"{folder} (interactions)", catalogue=catalogue)
    judgements = check_table("judgements", found.judgements, f"{folder} (judgements)", catalogue=catalogue)
    if found.queries.is_empty() and interactions.is_empty():
        raise BadInput(f"{folder} has neither queries nor interactions", "import it again")
    info = {**found.info, "name": name}
    if interactions.height:
        first, last = cast("Any", interactions["day"].min()), cast("Any", interactions["day"].max())
        info = {"first_day": first.isoformat(), "last_day": last.isoformat(), **info}
    return replace(found, catalogue=catalogue, interactions=interactions, judgements=judgements, info=info)


def _is_ours(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES)


def _local(folder: str, scratch: Path) -> Path:
    if "://" not in folder:
        return Path(folder)
    import fsspec

    scratch.mkdir()
    for name in FILES:
        try:
            with fsspec.open(f"{folder.rstrip('/')}/{name}", "rb") as handle:
                (scratch / name).write_bytes(handle.read())
        except (OSError, ImportError, ValueError) as error:
            raise BadInput(
                f"cannot read {folder}/{name}: {error}", "check the URL, the credentials and the scheme"
            ) from error
    return scratch
