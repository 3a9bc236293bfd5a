from __future__ import annotations

from pathlib import Path

import pytest

from rankops.errors import GateFailed, IntegrityError
from rankops.overlays.evidence import targets_served, verify_evidence
from rankops.overlays.quarantine import Quarantine, QuarantineEntry
from rankops.release.manifest import GateResult, ReleaseManifest
from tests.overlays_deploy.conftest import make_pin, write_release

FREE = Quarantine()


def test_a_signed_release_with_passed_gates_may_go(release, keys) -> None:
    folder, manifest = release
    found = verify_evidence(
        folder, public_key=keys[1], pin=make_pin(release=manifest.digest), quarantine=FREE, target="cpu-avx2"
    )
    assert found == manifest


def test_one_changed_byte_is_refused_by_file_name(release, keys) -> None:
    folder, manifest = release
    weights = folder / "encoder" / "model.onnx"
    weights.write_bytes(b"W" + weights.read_bytes()[1:])
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        verify_evidence(
            folder, public_key=keys[1], pin=make_pin(release=manifest.digest), quarantine=FREE, target="cpu-avx2"
        )


def test_the_key_of_somebody_else_is_refused(release, tmp_path: Path) -> None:
    from rankops.release.signing import create_key_pair

    folder, manifest = release
    _, other = create_key_pair(tmp_path / "other")
    with pytest.raises(IntegrityError):
        verify_evidence(
            folder, public_key=other, pin=make_pin(release=manifest.digest), quarantine=FREE, target="cpu-avx2"
        )


def test_everything_that_is_wrong_is_listed_at_once(tmp_path: Path, keys) -> None:
    gates = [
        GateResult(name="relevance", passed=False, explanation="nDCG@10 fell by 0.04"),
        GateResult(name="compression", passed=True, explanation="fine"),
    ]
    manifest = write_release(tmp_path / "r", keys[0], gates=gates)
    entry = QuarantineEntry(digest=manifest.digest, reason="crashed", since="2026-01-01")
    pin = make_pin(model="ranker", release=manifest.digest, dataset="0" * 64, checkpoint="1" * 64)
    with pytest.raises(GateFailed) as error:
        verify_evidence(
            tmp_path / "r",
            public_key=keys[1],
            pin=pin,
            quarantine=Quarantine(entries=(entry,)),
            target="cpu-avx512-vnni",
        )
    said = str(error.value)
    for part in ("model is retriever", "target is cpu-avx2", "dataset is", "checkpoint is", "fell by 0.04", "crashed"):
        assert part in said
    assert "compression" not in said


def test_a_release_without_any_gate_result_has_no_evidence(tmp_path: Path, keys) -> None:
    manifest: ReleaseManifest = write_release(tmp_path / "r", keys[0], gates=[])
    with pytest.raises(GateFailed, match="no gate results"):
        verify_evidence(
            tmp_path / "r",
            public_key=keys[1],
            pin=make_pin(release=manifest.digest),
            quarantine=FREE,
            target="cpu-avx2",
        )


@pytest.mark.parametrize(
    ("limits", "arch", "runs"),
    [
        ({"nvidia.com/gpu": "1", "memory": "1Gi"}, None, {"gpu-cuda"}),
        ({"memory": "1Gi"}, "amd64", {"cpu-avx2", "cpu-avx512-vnni"}),
        ({"memory": "1Gi"}, "arm64", {"cpu-arm64"}),
        ({}, None, {"cpu-avx2", "cpu-avx512-vnni", "cpu-arm64"}),
    ],
)
def test_an_overlay_says_what_it_can_serve_by_its_limits_and_its_nodes(limits, arch, runs) -> None:
    pod = {"containers": [{"name": "server", "resources": {"limits": limits}}]}
    pod |= {"nodeSelector": {"kubernetes.io/arch": arch}} if arch else {}
    other = {"kind": "Deployment", "metadata": {"name": "other"}, "spec": {"template": {"spec": {}}}}
    mine = {"kind": "Deployment", "metadata": {"name": "retriever"}, "spec": {"template": {"spec": pod}}}
    assert targets_served([other, mine], "retriever") == runs
