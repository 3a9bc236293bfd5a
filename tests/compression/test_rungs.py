"""What is tried on which target."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from rankops.compression.quantize import quantization_config
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.sensitivity import matrices_after_gelu
from rankops.compression.targets import can_measure, detect_target
from rankops.errors import BadInput
from rankops.specs import Target


@pytest.mark.parametrize("target", get_args(Target))
@pytest.mark.parametrize("thorough", [False, True])
def test_every_ladder_ends_with_fp32_and_names_each_rung_once(target: Target, thorough: bool) -> None:
    rungs = rungs_for(target, thorough=thorough)
    assert rungs[-1] == Rung("fp32", "fp32", "plain")
    assert len({rung.name for rung in rungs}) == len(rungs)
    assert len({rung.what for rung in rungs}) == len(rungs)


def test_signed_weights_are_reduced_to_seven_bits_only_where_sums_would_overflow() -> None:
    for target in get_args(Target):
        for rung in rungs_for(target, thorough=True):
            if rung.precision == "int8" and rung.signed:
                assert quantization_config(rung, target).reduce_range is (target == "cpu-avx2"), (target, rung.name)


def test_a_gpu_ladder_believes_in_fp16_and_has_dynamic_int8_only_to_be_measured() -> None:
    names = [rung.name for rung in rungs_for("gpu-cuda")]
    assert names[0] == "fp16-fused"
    assert names.index("int8-fused") > names.index("fp32-fused")


def test_optimums_configuration_says_what_the_rung_says() -> None:
    from onnxruntime.quantization import QuantType

    for rung in rungs_for("cpu-avx2", thorough=True):
        if rung.precision == "int8":
            config = quantization_config(rung, "cpu-avx2")
            assert config.is_static is (rung.calibration is not None)
            assert config.per_channel is rung.per_channel
            assert config.weights_dtype is (QuantType.QInt8 if rung.signed else QuantType.QUInt8)
            assert "MatMul" in config.operators_to_quantize


def test_a_mixed_rung_leaves_the_matrices_behind_each_gelu_in_fp32(checkpoint: Path, tmp_path: Path) -> None:
    import onnx

    rungs = [Rung("all", "int8", "O3"), Rung("mixed", "int8", "O3", spared="after-gelu")]
    workshop = Workshop(checkpoint, tmp_path, "cpu-avx2")
    kinds = {
        rung.spared == "nothing": [node.op_type for node in onnx.load(str(workshop.build(rung))).graph.node]
        for rung in rungs
    }
    assert "MatMul" not in kinds[True]
    assert kinds[False].count("MatMul") == 2  # one in each layer of the tiny BERT
    with pytest.raises(BadInput, match="GELU"):
        matrices_after_gelu(workshop.exported / "model.onnx")  # not fused: its GELU is a dozen nodes


def test_the_matrices_behind_a_gelu_are_found_through_the_division_of_smoothing_too(
    checkpoint: Path, tmp_path: Path
) -> None:
    workshop = Workshop(checkpoint, tmp_path, "cpu-avx512-vnni", texts=["red shoe", "a green lamp for the desk"])
    assert len(matrices_after_gelu(workshop.smoothed("lean") / "model.onnx")) == 2
    workshop.build(Rung("mixed", "int8", smooth=True, spared="after-gelu", bits=8))
    assert len(workshop.spared["mixed"]) == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx avx2", "cpu-avx2"), ("fpu avx2 avx512f", "cpu-avx2"), ("avx2 avx512_vnni", "cpu-avx512-vnni")],
)
def test_the_target_follows_the_cpus_flags(tmp_path: Path, flags: str, expected: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {flags}\n")
    assert detect_target(cpuinfo, "x86_64") == expected


def test_arm_and_unknown_machines(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("flags\t: sse2\n")
    assert detect_target(tmp_path / "absent", "aarch64") == "cpu-arm64"
    assert detect_target(tmp_path / "absent", "AMD64") == "cpu-avx2"
    with pytest.raises(BadInput, match="AVX2"):
        detect_target(tmp_path / "old", "x86_64")
    with pytest.raises(BadInput, match="riscv64"):
        detect_target(tmp_path / "old", "riscv64")


def test_only_this_machines_target_can_be_measured() -> None:
    assert [t for t in get_args(Target) if t.startswith("cpu") and can_measure(t)] == [detect_target()]
