"""May this release go there? Deploy asks here itself, whichever way it was started.

A blocking asset check stops only its own run; so deploy re-reads the signed bundle and believes nothing that it was
told about it. Every failure is listed, not only the first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rankops.errors import GateFailed, IntegrityError, RankopsError
from rankops.overlays.component import ReleasePin
from rankops.overlays.quarantine import Quarantine
from rankops.release.manifest import ReleaseManifest
from rankops.release.signing import verify

Verifier = Callable[[ReleasePin, Quarantine], None]
"""What deploy calls: raises where the evidence for a pin does not hold."""


def verify_evidence(
    release_folder: Path, *, public_key: Path, pin: ReleasePin, quarantine: Quarantine, target: str
) -> ReleaseManifest:
    """Check the whole evidence for deploying ``pin`` and return the release's manifest.

    Signature and every byte; release digest; model, dataset and checkpoint as the pin says; built for ``target``;
    at least one gate and none failed; not quarantined. Raises :class:`IntegrityError` where the bytes are wrong
    (then nothing that the manifest says counts), else :class:`GateFailed`, each listing all that is wrong.
    """
    refused = quarantine.problem(pin.release)
    try:
        manifest = verify(release_folder, public_key, pin.release)
    except RankopsError as error:
        if refused is None:
            raise
        raise IntegrityError(f"{error.problem}; and {refused}", error.remedy) from error
    wrong = _mismatches(manifest, pin, target) + _gate_failures(manifest)
    if refused is not None:
        wrong.append(refused)
    if wrong:
        raise GateFailed(
            f"release {pin.release[:12]} must not be deployed to {pin.environment}: " + "; ".join(wrong),
            "rematerialize the release from a checkpoint that passes its gates, or choose another release",
        )
    return manifest


def evidence_verifier(release_folder: Path, *, public_key: Path, target: str) -> Verifier:
    """:func:`verify_evidence` with everything bound that deploy does not know."""

    def check(pin: ReleasePin, quarantine: Quarantine) -> None:
        verify_evidence(release_folder, public_key=public_key, pin=pin, quarantine=quarantine, target=target)

    return check


def _mismatches(manifest: ReleaseManifest, pin: ReleasePin, target: str) -> list[str]:
    pairs = {
        "model": (manifest.model, pin.model),
        "target": (manifest.target, target),
        "dataset": (manifest.dataset.digest, pin.dataset),
        "checkpoint": (manifest.checkpoint, pin.checkpoint),
    }
    return [
        f"its {name} is {found[:16]}, expected {want[:16]}" for name, (found, want) in pairs.items() if found != want
    ]


def _gate_failures(manifest: ReleaseManifest) -> list[str]:
    if not manifest.gates:
        return ["it carries no gate results, and no evidence is not good evidence"]
    return [f"gate {gate.name} failed: {gate.explanation}" for gate in manifest.gates if not gate.passed]
