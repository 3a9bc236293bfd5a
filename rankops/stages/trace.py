"""The lineage of what runs, from a live pod to the hash of the data, from Git and the artifact store alone.

Every digest on the way is recomputed from bytes, every record is held against the signed one, and what cannot be
proved here says so. No Dagster instance, tracking server or cluster is asked.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.errors import BadInput, RankopsError
from rankops.files import combine_digests
from rankops.overlays.component import ReleasePin
from rankops.overlays.git import Git, GitFailed, GitOptions, RemoteUrl
from rankops.overlays.history import PinnedAt, earlier_pins, last_commit_for, merged_by
from rankops.overlays.layout import OverlayLayout
from rankops.overlays.mirror import GitRemote
from rankops.overlays.trailers import CommitRecord
from rankops.overlays.transaction import Standing, read_standing
from rankops.stages.trace_hops import Hop, compared
from rankops.stages.trace_store import StoreView, artifact_hop, checkpoint_hop, dataset_hop
from rankops.stages.trace_subject import Claims, resolve
from rankops.state import REPOSITORY

if TYPE_CHECKING:
    from rankops.release.manifest import ReleaseManifest

Progress = Callable[[str], None]

_INDEX = "index/index.json"
_CHAIN = 10  # earlier releases that are listed


@dataclass(frozen=True)
class _Place:
    """Where a trace looks."""

    remote: GitRemote
    head: str
    branch: str
    store: StoreView
    scratch: Path
    progress: Progress


def trace(
    remote: GitRemote,
    subject: str,
    *,
    branch: str = "main",
    layout: OverlayLayout | None = None,
    store: str | None = None,
    progress: Progress = lambda _: None,
) -> list[Hop]:
    """One lineage for each overlay that ``subject`` leads to; see :func:`rankops.stages.trace_subject.resolve`.

    ``store`` is the root of the artifact store where it is not the one that the release lies in. A failed check is a
    hop with status ``failed``, not an error. Raises :class:`BadInput` where ``subject`` means nothing.
    """
    layout = layout or OverlayLayout()
    progress(f"fetching {branch} of {remote.url}")
    found = resolve(remote, subject, branch=branch, layout=layout)
    head = remote.head(branch)
    lineages = []
    with tempfile.TemporaryDirectory(prefix="rankops-trace-") as scratch:
        for number, at in enumerate(found.pinned):
            root = store or _root_of(at.pin)
            view = StoreView(root.rstrip("/") if root else None, Path(scratch) / str(number), progress)
            place = _Place(remote, head, branch, view, Path(scratch), progress)
            lineages.append(_deployment(place, at, found.claims))
    return lineages


def _deployment(place: _Place, at: PinnedAt, claims: Claims | None) -> Hop:
    """Environment and model: what is live there, what this commit pinned, what stood before."""
    name = f"{at.target.environment}/{at.target.model}"
    live = read_standing(place.remote, place.head, at.target)
    record = last_commit_for(place.remote, at.commit, at.target)
    if record is None:  # resolve() found the component in this commit
        raise BadInput(f"no commit up to {at.commit[:12]} wrote {at.target.component}")
    children = [*([_pod(claims, at.pin)] if claims else []), _commit(place, at, record)]
    children += [_quarantine(live, at.pin), *_superseded(place, at, live)]
    if live.pin is not None and live.pin.release == at.pin.release:
        detail = f"this is what {place.branch} pins now"
    else:
        detail = f"{place.branch} pins {live.pin.release[:12] if live.pin else 'nothing'} now"
    return Hop("overlay", name, "note", detail, tuple(children))


def _pod(claims: Claims, pin: ReleasePin) -> Hop:
    """A live pod against the pin: annotations, images and variables must be what deploy wrote."""
    wanted = {key.split("/", 1)[1]: value for key, value in pin.annotations.items()}
    wrong = [
        f"annotation {key} is {claims.annotations.get(key, 'absent')[:24]}"
        for key, value in wanted.items()
        if claims.annotations.get(key) != value
    ]
    image = f"{pin.image}@{pin.image_digest}"
    wrong += [f"{name} runs {have}, not {image}" for name, have in _ours(claims) if have != image]
    wrong += [
        f"{name}: {key} is {have[key]}"
        for name, have in claims.variables.items()
        for key, value in pin.environment_variables.items()
        if key in have and have[key] != value
    ]
    detail = "; ".join(wrong) or "its annotations, images and variables are what the commit says"
    return Hop("pod", claims.name, "failed" if wrong else "ok", detail)


def _ours(claims: Claims) -> Iterator[tuple[str, str]]:
    """The containers that deploy writes the image of; a mesh may have added others."""
    return ((name, image) for name, image in claims.images.items() if name in ("server", "fetch-release"))


def _commit(place: _Place, at: PinnedAt, record: CommitRecord) -> Hop:
    """Who pinned it, when, how it was merged, and that message and component agree."""
    info = record.commit
    if record.problem is not None:
        trailers = Hop("trailers", "", "failed", record.problem)
    elif record.source == "component":
        trailers = Hop("trailers", "", "note", "the merge lost them; rebuilt from the sealed component")
    else:
        trailers = Hop("trailers", "", "ok", "they say what the component says")
    seal = Hop("release component", at.target.component, "ok", "its seal is intact")
    children = (trailers, seal, _merge(place, info.sha, info.request), _release(place, at))
    kind = "rollback" if record.is_rollback else "deploy"
    detail = f"{kind} by {info.author} <{info.email}> on {info.when:%Y-%m-%d %H:%M} UTC: {info.subject}"
    return Hop("commit", info.sha, "ok", detail, children)


def _merge(place: _Place, commit: str, request: str | None) -> Hop:
    try:
        merge = merged_by(place.remote, commit, place.head)
    except BadInput:
        return Hop("merge", "", "note", f"not part of {place.branch} (yet)")
    if merge is None:
        said = f"squashed or rebased from {request}" if request else f"pushed to {place.branch} itself"
        return Hop("merge", request or "", "note", said)
    return Hop("merge", merge.request or merge.sha[:12], "note", f"merged by {merge}")


def _release(place: _Place, at: PinnedAt) -> Hop:
    """The bundle: signature, every file, its digest, and all that it was made of."""
    from rankops.release.manifest import payload_digests, read_manifest

    pin = at.pin
    folder = place.store.folder("release", pin.release, pin.uri)
    if isinstance(folder, Hop):
        return Hop("release", pin.release, "absent", folder.detail, tuple(_made_of(place, pin, None, {})))
    place.progress(f"hashing release {pin.release[:12]}")
    files = payload_digests(folder)
    signature = _signature(place, at, folder)
    manifest = None
    try:
        manifest = read_manifest(folder)
        agreed = [*_files(manifest, files), _agreement(pin, manifest)]
    except RankopsError as error:
        agreed = [Hop("release.json", "", "failed", error.problem)]
    children = (signature, *agreed, *_made_of(place, pin, manifest, files))
    return compared(
        "release", pin.release, combine_digests(files), by=f"the {len(files)} files at {pin.uri}", children=children
    )


def _signature(place: _Place, at: PinnedAt, folder: Path) -> Hop:
    """By the key that the overlays trusted at that commit."""
    from rankops.release.signing import verify

    path = at.target.layout.trusted_key()
    (pem,) = place.remote.read(at.commit, path)
    if pem is None:
        return Hop("signature", "", "failed", f"commit {at.commit[:12]} has no {path}: nothing says whom to trust")
    key = place.scratch / f"{at.commit}.pub"
    key.write_text(pem)
    shown = _fingerprint(pem)
    try:
        verify(folder, key, at.pin.release)
    except RankopsError as error:
        return Hop("signature", shown, "failed", error.problem.replace(str(key), f"{path} of that commit"))
    return Hop("signature", shown, "ok", f"by the key in {path} of that commit")


def _fingerprint(pem: str) -> str:
    """``sha256:`` of the key's DER form, as ``openssl pkey -pubin -outform der | sha256sum`` prints it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "unreadable key"
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _files(manifest: ReleaseManifest, found: dict[str, str]) -> list[Hop]:
    """Every file, re-hashed, and what is there too much."""
    hops = [
        Hop("file", name, "ok", f"sha256 {digest}")
        if found.get(name) == digest
        else Hop("file", name, "failed", f"the manifest says {digest}, the bytes {found.get(name, 'are missing')}")
        for name, digest in sorted(manifest.files.items())
    ]
    added = sorted(found.keys() - manifest.files.keys())
    return hops + [Hop("file", name, "failed", "the manifest does not know it") for name in added]


def _agreement(pin: ReleasePin, manifest: ReleaseManifest) -> Hop:
    """The component's lineage against the signed one."""
    pairs = {
        "model": (pin.model, manifest.model),
        "release": (pin.release, manifest.digest),
        "dataset": (pin.dataset, manifest.dataset.digest),
        "checkpoint": (pin.checkpoint, manifest.checkpoint),
        "MLflow run": (pin.mlflow_run or "none", manifest.mlflow_run or "none"),
    }
    wrong = [f"{key}: Git says {a[:16]}, release.json {b[:16]}" for key, (a, b) in pairs.items() if a != b]
    detail = "; ".join(wrong) or "Git and release.json name the same model, dataset, checkpoint and MLflow run"
    return Hop("release.json", manifest.created_at, "failed" if wrong else "ok", detail)


def _made_of(place: _Place, pin: ReleasePin, manifest: ReleaseManifest | None, files: dict[str, str]) -> Iterator[Hop]:
    """Encoder, artifact, checkpoint, dataset, base model, runs and code; without a manifest what Git knows."""
    encoder = _model_files(files, manifest.encoder_digest if manifest else None)
    if manifest is not None:
        yield _encoder(place, pin, manifest, encoder)
    name, days = (None, (None, None)) if manifest is None else _described(manifest)
    dataset = dataset_hop(place.store, pin.dataset, name=name, days=days)
    base = manifest.base_model if manifest else None
    learned: tuple[Hop, ...] = (dataset,)
    if base is not None:
        detail = f"revision {base.revision}, weights {base.digest or 'not hashed'}; signed, not hashed here"
        learned = (Hop("base model", base.name, "note", detail), dataset)
    checkpoint = checkpoint_hop(
        place.store, pin.checkpoint, dataset=pin.dataset, base=base.digest if base else None, children=learned
    )
    yield artifact_hop(place.store, pin, encoder, checkpoint)
    yield Hop("Dagster run", pin.dagster_run or "none", "note", "that deployed it")
    if manifest is not None:
        yield Hop("Dagster run", manifest.dagster_run or "none", "note", "that built it")
    yield Hop("MLflow run", pin.mlflow_run or "none", "note", "that trained it")
    if manifest is not None:
        yield _code(place, manifest.code_commit)


def _described(manifest: ReleaseManifest) -> tuple[str, tuple[str | None, str | None]]:
    return manifest.dataset.name, (manifest.dataset.first_day, manifest.dataset.last_day)


def _model_files(files: dict[str, str], digest: str | None) -> dict[str, str]:
    """The digests of the files of the shipped model, by name: the folder that makes ``digest``, else ``encoder/``."""
    folders: dict[str, dict[str, str]] = {}
    for name, found in files.items():
        folder, slash, rest = name.partition("/")
        if slash:
            folders.setdefault(folder, {})[rest] = found
    return next((f for f in folders.values() if combine_digests(f) == digest), folders.get("encoder", {}))


def _encoder(place: _Place, pin: ReleasePin, manifest: ReleaseManifest, encoder: dict[str, str]) -> Hop:
    """The encoder that the index was built with is the one that answers queries."""
    folder = place.store.folder("release", pin.release, pin.uri)
    by = "its files"
    if isinstance(folder, Path) and _INDEX in manifest.files:
        try:
            built_with = json.loads((folder / _INDEX).read_text())["encoder_digest"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Hop("encoder", manifest.encoder_digest, "failed", f"{_INDEX} cannot be read: {error}")
        if built_with != manifest.encoder_digest:
            return Hop("encoder", manifest.encoder_digest, "failed", f"the index was built with {built_with}")
        by = "its files, which the index was built with,"
    if not encoder:
        return Hop("encoder", manifest.encoder_digest, "absent", "this release ships no folder with a model")
    return compared("encoder", manifest.encoder_digest, combine_digests(encoder), by=by)


def _code(place: _Place, commit: str) -> Hop:
    """The commit of the code that built it: in this clone, or in the overlays' own repository."""
    sha = commit.removesuffix("-dirty")
    dirty = " with uncommitted changes" if sha != commit else ""
    if sha == "unknown":
        return Hop("code", commit, "absent", "it was built outside a clone")
    try:
        git = Git(RemoteUrl.parse(str(REPOSITORY)), GitOptions(user_config=True))
        git.run(["-C", str(REPOSITORY), "cat-file", "-e", f"{sha}^{{commit}}"])
    except GitFailed:
        try:
            place.remote.info(sha)
        except BadInput:
            return Hop("code", commit, "absent", f"not in this clone{dirty}")
        return Hop("code", commit, "failed" if dirty else "ok", f"in {place.remote.url}{dirty}")
    return Hop("code", commit, "note" if dirty else "ok", f"in this clone{dirty}")


def _quarantine(live: Standing, pin: ReleasePin) -> Hop:
    entry = live.quarantine.find(pin.release)
    if entry is None:
        return Hop("quarantine", "", "note", "this release is not quarantined there")
    running = live.pin is not None and live.pin.release == pin.release
    detail = f"since {entry.since}: {entry.reason}{'; and yet it is pinned' if running else ''}"
    return Hop("quarantine", pin.release, "failed" if running else "note", detail)


def _superseded(place: _Place, at: PinnedAt, live: Standing) -> list[Hop]:
    """The releases that stood there before, newest first, each once."""
    seen = {at.pin.release}
    hops = []
    for info, pin in earlier_pins(place.remote, at.commit, at.target):
        if pin.release in seen:
            continue
        seen.add(pin.release)
        refused = "; quarantined" if live.quarantine.find(pin.release) else ""
        hops.append(Hop("superseded", pin.release, "note", f"pinned by {info}{refused}"))
        if len(hops) == _CHAIN:
            break
    if at.pin.supersedes is not None and (not hops or at.pin.supersedes != hops[0].value):
        said = f"the component says that {at.pin.supersedes[:12]} stood before it, the history says otherwise"
        hops.insert(0, Hop("supersedes", at.pin.supersedes, "note", said))
    return hops


def _root_of(pin: ReleasePin) -> str | None:
    """The store that a release lies in, by its URI."""
    ending = f"/release/{pin.release}"
    return pin.uri.removesuffix(ending) if pin.uri.endswith(ending) else None
