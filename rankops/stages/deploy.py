"""Deploy: from a release in the store to a commit (or a pull request) that pins it in an environment."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.artifacts import StoredArtifact
from rankops.errors import BadInput
from rankops.files import combine_digests, sha256_file
from rankops.overlays.component import ReleasePin
from rankops.overlays.deploy import DeployOutcome, DeployRequest, deploy
from rankops.overlays.evidence import evidence_verifier
from rankops.overlays.history import current_pin
from rankops.overlays.mirror import GitRemote
from rankops.overlays.transaction import Render, Target, Validate
from rankops.specs import EnvironmentSpec, ModelSpec
from rankops.stages.evaluation import Champion
from rankops.stages.fetched import fetched
from rankops.stages.pull_request import Evidence
from rankops.stages.quantized import serving_target
from rankops.state import REPOSITORY, LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.forge.protocol import Forge

Progress = Callable[[str], None]

_SERVER_CODE = (
    "serving", "release",
    "artifacts.py", "cpu.py", "cross_encoding.py", "encoding.py", "errors.py", "files.py", "fusion.py", "lexical.py",
    "next_item.py", "onnx_session.py", "pace.py", "pair_features.py", "pair_parts.py", "pair_tokens.py",
    "pair_trees.py", "pair_words.py", "pii", "retrain_spec.py", "search_spec.py", "sequence.py", "specs.py",
    "store.py", "text.py", "vector_cache.py", "weighted_words.py",
)  # fmt: skip
"""What the server imports; a test compares it with the imports and with the image's Dockerfile."""


@dataclasses.dataclass(frozen=True)
class Delivery:
    """How a change reaches the remote, all of it configuration."""

    remote: GitRemote
    render: Render
    validate: Validate
    forge: Forge | None
    image: tuple[str, str]


def server_image(configured: str) -> tuple[str, str]:
    """``(name, sha256:digest)`` of the server image that a deploy pins.

    ``configured`` is ``name@sha256:...`` as a registry knows it. Empty means the working copy: on a machine that is
    its own cluster the "image" is this code, and its digest is a hash over the server's sources, so that the pin says
    truly what ran. Raises :class:`BadInput` for an image that is not pinned by digest.
    """
    if configured:
        name, _, digest = configured.partition("@")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise BadInput(f"image {configured!r} is not pinned by digest", "give name@sha256:<64 hex digits>")
        return name, digest
    package = REPOSITORY / "rankops"
    files = [path for part in _SERVER_CODE for path in _sources(package / part)]
    digests = {path.relative_to(package).as_posix(): sha256_file(path) for path in files}
    return "rankops-server", f"sha256:{combine_digests(digests)}"


def champion_of(remote: GitRemote, spec: ModelSpec, environment: EnvironmentSpec, public_key: Path) -> Champion | None:
    """The release that the environment's branch pins, with its verified bundle; None before the first one."""
    from rankops.release.signing import verify

    pin = current_pin(remote, Target(environment.name, spec.name, environment.branch))
    if pin is None:
        return None
    folder = fetched(pin.uri, "release", pin.release)
    manifest = verify(folder, public_key, pin.release)
    return Champion(release=pin.release, checkpoint=pin.checkpoint, folder=folder, judged=manifest.judged)


def deploy_release(
    store: ArtifactStore,
    spec: ModelSpec,
    environment: EnvironmentSpec,
    release: StoredArtifact,
    delivery: Delivery,
    *,
    dagster_run: str,
    why: Sequence[str],
    progress: Progress,
) -> tuple[DeployOutcome, Evidence]:
    """Verify the evidence again and pin ``release``; see :func:`rankops.overlays.deploy.deploy` for the errors.

    Returns what became of it, and what is known about the release.
    """
    from rankops.release.manifest import read_manifest

    state = LocalState.current()
    folder = store.local_path(release)
    manifest = read_manifest(folder)
    name, digest = delivery.image
    pin = ReleasePin(
        model=spec.name,
        environment=environment.name,
        release=release.digest,
        uri=release.uri,
        image=name,
        image_digest=digest,
        dataset=manifest.dataset.digest,
        checkpoint=manifest.checkpoint,
        dagster_run=dagster_run,
        mlflow_run=manifest.mlflow_run,
    )
    evidence = Evidence(store, spec, release, manifest, delivery.remote, delivery.render, why)
    outcome = deploy(
        DeployRequest(
            pin=pin,
            policy=environment.policy,
            branch=environment.branch,
            why="\n".join(why),
            trusted_key=state.public_key.read_text(),
        ),
        delivery.remote,
        render=delivery.render,
        validate=delivery.validate,
        verify=evidence_verifier(folder, public_key=state.public_key, target=serving_target(spec)),
        forge=delivery.forge,
        describe=evidence.describe,
        progress=progress,
    )
    return outcome, evidence


def _sources(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def remember_release(spec: ModelSpec, pin: ReleasePin) -> None:
    """Tell the command line (``rankops predict --model NAME``) which release was deployed last."""
    from rankops.files import write_json

    record = {"uri": pin.uri, "digest": pin.release, "environment": pin.environment}
    write_json(LocalState.current().root / "releases" / f"{spec.name}.json", record)
