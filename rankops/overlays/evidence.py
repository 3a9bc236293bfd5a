"""May this release go there? Deploy asks here itself, whichever way it was started.

A blocking asset check stops only its own run; so deploy re-reads the signed bundle and believes nothing that it was
told about it. Every failure is listed, not only the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rankops.errors import GateFailed, IntegrityError, RankopsError
from rankops.overlays.component import ReleasePin
from rankops.overlays.objects import dig, items, mapping
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
    if wrong := objections(manifest, pin, quarantine, {target}):
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


def objections(
    manifest: ReleaseManifest, pin: ReleasePin, quarantine: Quarantine, targets: Collection[str]
) -> list[str]:
    """Everything that speaks against ``pin`` in a manifest whose bytes were verified; empty where it may go.

    ``targets`` are the serving targets that the environment can run.
    """
    pairs = {
        "model": (manifest.model, {pin.model}),
        "target": (manifest.target, targets),
        "dataset": (manifest.dataset.digest, {pin.dataset}),
        "checkpoint": (manifest.checkpoint, {pin.checkpoint}),
    }
    wrong = [
        f"its {name} is {found[:16]}, expected {' or '.join(sorted(value[:16] for value in want))}"
        for name, (found, want) in pairs.items()
        if found not in want
    ]
    refused = quarantine.problem(pin.release)
    return [*wrong, *_gate_failures(manifest), *([refused] if refused is not None else [])]


def targets_served(objects: Sequence[Mapping[str, Any]], model: str) -> frozenset[str]:
    """The serving targets that a rendered overlay can run: by its GPU limit and the architecture of its nodes."""
    deployments = [o for o in objects if o.get("kind") == "Deployment" and dig(o, "metadata", "name") == model]
    pods = [mapping(deployment, "spec", "template", "spec") for deployment in deployments]
    limits = [key for pod in pods for c in items(pod, "containers") for key in mapping(c, "resources", "limits")]
    if "nvidia.com/gpu" in limits:
        return frozenset({"gpu-cuda"})
    arch = {dig(pod, "nodeSelector", "kubernetes.io/arch") for pod in pods}
    if arch == {"amd64"}:
        return _X86
    return _ARM if arch == {"arm64"} else _X86 | _ARM


_X86, _ARM = frozenset({"cpu-avx2", "cpu-avx512-vnni"}), frozenset({"cpu-arm64"})


def _gate_failures(manifest: ReleaseManifest) -> list[str]:
    if not manifest.gates:
        return ["it carries no gate results, and no evidence is not good evidence"]
    return [f"gate {gate.name} failed: {gate.explanation}" for gate in manifest.gates if not gate.passed]
