"""Signing and verifying bundles with OpenSSF model signing (key method, EC P-256, works offline).

The signature covers every file of the bundle but itself; a file that is changed, missing or added is refused by
name. Only the store's ``.complete`` marker may come and go.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput, IntegrityError
from rankops.files import combine_digests, file_digests, write_bytes
from rankops.pace import is_paced
from rankops.release.manifest import (
    MANIFEST,
    SIGNATURE,
    STORE_MARKER,
    ReleaseManifest,
    payload_digests,
    read_manifest,
)

if TYPE_CHECKING:
    from model_signing.hashing import Config as HashingConfig

PRIVATE_KEY, PUBLIC_KEY = "release-signing.key", "release-signing.pub"
_REFUSED = "do not serve it: fetch the release again, or roll back to the last one that verified"


def create_key_pair(folder: Path) -> tuple[Path, Path]:
    """Write an unencrypted EC P-256 pair into ``folder``: ``release-signing.key`` (mode 0600) and ``.pub``.

    Raises :class:`BadInput` when either exists: replacing a key silently would orphan every signed release.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private_path, public_path = folder / PRIVATE_KEY, folder / PUBLIC_KEY
    for path in (private_path, public_path):
        if path.exists():
            raise BadInput(f"{path} exists already", "use it, or move it away first; its releases need its public key")
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(private_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(pem)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_bytes(public_path, public)
    return private_path, public_path


def public_half(private_key: Path, folder: Path) -> Path:
    """Write the public key of an EC P-256 private key into ``folder`` and return its path.

    Raises :class:`BadInput` when the key is missing or unusable.
    """
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{private_key}: {error}", "give an unencrypted EC P-256 key in PEM form") from error
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_bytes(folder / PUBLIC_KEY, key.public_key().public_bytes(*form))
    return folder / PUBLIC_KEY


def sign(folder: Path, private_key: Path) -> Path:
    """Sign the bundle in ``folder`` and return the path of its ``release.sig`` (replaced as a whole).

    Raises :class:`BadInput` when the key or the manifest is missing or unusable.
    """
    from model_signing import signing

    read_manifest(folder)
    signature = folder / SIGNATURE
    # Outside the signed folder until it is whole: model signing writes in place.
    unfinished = folder.parent / f".{folder.name}.{os.getpid()}.sig.tmp"
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.set_hashing_config(_hashing()).sign(folder, unfinished)
        write_bytes(signature, unfinished.read_bytes())
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise BadInput(
            f"cannot sign {folder} with {private_key}: {error}", "give an unencrypted EC P-256 key in PEM form"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return signature


def verify(folder: Path, public_key: Path, expected_digest: str | None) -> ReleaseManifest:
    """Check a bundle completely and return its manifest; anything wrong raises.

    In this order: the signature and with it every byte of every file, the manifest's table of files, the release
    digest, and (unless None) that it is ``expected_digest``. Raises :class:`BadInput` when bundle, signature or key
    is missing, and :class:`IntegrityError` naming each file that was changed, is missing, or was added.
    """
    _require(folder, public_key)
    _verify_signature(folder, public_key)
    manifest = read_manifest(folder)
    found = payload_digests(folder)
    if wrong := _differences(manifest.files, found):
        raise IntegrityError(f"{folder}: {MANIFEST} does not describe its files: {'; '.join(wrong)}", _REFUSED)
    if (digest := combine_digests(found)) != manifest.digest:
        raise IntegrityError(f"{folder}: {MANIFEST} says {manifest.digest}, its files make {digest}", _REFUSED)
    if expected_digest is not None and digest != expected_digest:
        raise IntegrityError(
            f"{folder} is release {digest}, expected {expected_digest}",
            "fetch the release that the overlay pins, or correct the digest",
        )
    return manifest


def _require(folder: Path, public_key: Path) -> None:
    for path, remedy in (
        (folder / MANIFEST, "give the folder of a release"),
        (folder / SIGNATURE, "sign it with rankops.release.signing.sign; an unsigned release is never served"),
        (public_key, "mount the public key of the release signer"),
    ):
        if not path.is_file():
            raise BadInput(f"{path} is missing", remedy)


def _verify_signature(folder: Path, public_key: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{public_key} is no EC public key in PEM form: {error}", "give release-signing.pub") from error
    try:
        verifier.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE)
    except InvalidSignature as error:
        raise IntegrityError(f"{folder / SIGNATURE} is not a signature by {public_key}", _REFUSED) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # the signature file is JSON that anybody may have written: any shape of it must end in a refusal
        raise IntegrityError(f"{folder} does not match {SIGNATURE}: {_explain(error, folder)}", _REFUSED) from error


def _hashing() -> HashingConfig:
    from model_signing import hashing

    # Git's files are signed like any other: by default model signing would ignore a planted .gitattributes.
    config: Any = hashing.Config().use_file_serialization(max_workers=1 if is_paced() else 2)
    return config.set_ignored_paths(paths=[SIGNATURE, STORE_MARKER], ignore_git_paths=False)


def _explain(error: Exception, folder: Path) -> str:
    """Which files differ, when the signature itself held (only then does the library speak of a mismatch)."""
    if not str(error).startswith("Signature mismatch"):
        return f"{type(error).__name__}: {error}"
    envelope = json.loads((folder / SIGNATURE).read_text())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    signed = {item["name"]: item["digest"] for item in statement["predicate"]["resources"]}
    return "; ".join(_differences(signed, file_digests(folder, exclude=frozenset({SIGNATURE, STORE_MARKER}))))


def _differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    changed = [
        f"{name} was changed" for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]
    ]
    missing = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    return changed + missing + [f"{name} was added" for name in sorted(found.keys() - expected.keys())]
