"""Which release predictions are made with: a folder, a URL, or what staging pins for a model; always verified."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rankops.errors import BadInput
from rankops.specs import Task
from rankops.state import LocalState


@dataclass(frozen=True)
class Resolved:
    """A release on this machine whose signature and digest hold."""

    folder: Path
    model: str
    digest: str
    task: Task = "retrieval"


def resolve_release(model: str, public_key: Path, state: LocalState) -> Resolved:
    """Find the release that ``model`` means and verify it completely.

    ``model`` is a release's folder or URL, or the name of a model: then the release that ``releases/<model>.json`` in
    the state folder names, which is the one that staging pins, or that ``rankops fit`` made. Raises
    :class:`BadInput` for neither, and :class:`rankops.errors.IntegrityError` when a byte, the signature or the digest
    is wrong.
    """
    from rankops.release.signing import verify

    pinned = state.root / "releases" / f"{model}.json"
    uri: str = model
    digest: str | None = None
    if "/" not in model and pinned.is_file():
        uri, digest = _read_pin(pinned)
    elif "://" not in model and not Path(model).is_dir():
        raise BadInput(
            f"{model!r} is neither a release (folder or URL) nor a model with a release ({pinned} is missing)",
            f"run `rankops fit DATASET_DIR --model {model}`, materialize {model}/deploy for staging, or give the "
            "release's URL",
        )
    folder = _local(uri, state)
    manifest = verify(folder, public_key, digest)
    return Resolved(folder, manifest.model, manifest.digest, manifest.task)


def _read_pin(path: Path) -> tuple[str, str]:
    try:
        record = json.loads(path.read_text())
        return str(record["uri"]), str(record["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged: {error}", "materialize the model's deploy for staging again") from error


def _local(uri: str, state: LocalState) -> Path:
    if "://" not in uri:
        return Path(uri)
    from rankops.store import fetch_folder

    return fetch_folder(uri.rstrip("/"), state.root / "cache" / "releases" / uri.rstrip("/").rsplit("/", 1)[-1])
