"""Measuring where the hardware is: what a probe sees, what a ladder accepts of it, and what is never released."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankops.cli import app
from rankops.compression import measurement
from rankops.compression.ladder import compress
from rankops.compression.measurement import CANDIDATES, Measured, Measurement
from rankops.compression.probe import Plan, Point, Profile
from rankops.compression.report import CompressionReport, RungResult
from rankops.compression.targets import can_measure, detect_target
from rankops.errors import BadInput, IntegrityError
from rankops.files import sha256_file, write_json
from rankops.specs import ModelSpec
from rankops.stages.quantized import measured_check
from tests.support.tiny_artifact import make_tiny_artifact

PLAN = Plan(batches=(1, 2), lengths=(3, 8), seconds=0.01, runs=20)


def report(target: str, winner: str = "int8-lean", **changes: object) -> CompressionReport:
    row = RungResult(name=winner, what="", verdict="won", reason="")
    facts = {
        "model": "tiny", "target": target, "winner": winner, "quality_budget": 0.005, "reference": row, "rungs": [row],
        "dev_queries": 1, "measured_here": False, "machine": "here", "seconds": 1.0, "versions": {}, "query_tokens": 3,
    }  # fmt: skip
    return CompressionReport(**(facts | changes))


def artifact(folder: Path, target: str, candidates: tuple[str, ...] = ()) -> Path:
    """A tiny artifact folder with its report and as many candidates."""
    made = make_tiny_artifact(folder, ["red", "shoe"], seed=1)
    write_json(made / "compression.json", report(target).model_dump(mode="json"))
    for name in candidates:
        (made / CANDIDATES / name).mkdir(parents=True)
        shutil.copyfile(made / "model.onnx", made / CANDIDATES / name / "model.onnx")
    return made


def measured(target: str, times: dict[str, tuple[str, float]], tokens: int = 3) -> Measurement:
    """A measurement as a machine of the target would have written it: ``{rung: (digest, ms)}``."""
    rungs = {
        name: Measured(
            digest=digest,
            profile=Profile(
                load_ms=1.0,
                peak_mb=1.0,
                points=(Point(batch=1, tokens=tokens, p50_ms=ms, p95_ms=ms, p99_ms=ms, runs=9),),
            ),
        )
        for name, (digest, ms) in times.items()
    }
    return Measurement(
        model="tiny", target=target, machine="NVIDIA X", providers=("CUDAExecutionProvider",),
        created_at="2026-01-01T00:00:00+00:00", versions={}, query_tokens=tokens, rungs=rungs,
    )  # fmt: skip


def test_a_probe_reports_load_time_memory_and_every_point(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a", detect_target())
    found = measurement.probe(folder / "model.onnx", PLAN)
    assert found.load_ms > 0
    assert 20 < found.peak_mb < 2000
    assert {(point.batch, point.tokens) for point in found.points} == {(1, 3), (2, 3), (1, 8), (2, 8)}
    assert all(0 < point.p50_ms <= point.p95_ms <= point.p99_ms and point.runs >= 3 for point in found.points)
    assert found.at(1, 8) is not None and found.at(9, 9) is None


def test_a_model_that_does_not_load_is_named_with_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(IntegrityError, match=r"model\.onnx could not be measured"):
        measurement.probe(tmp_path / "model.onnx", PLAN)


def test_of_several_rounds_the_best_counts_and_the_most_memory() -> None:
    slow, fast = (
        Profile(load_ms=ms, peak_mb=mb, points=(Point(batch=1, tokens=3, p50_ms=ms, p95_ms=9, p99_ms=9, runs=5),))
        for ms, mb in ((2.0, 10.0), (1.0, 20.0))
    )
    found = measurement.best([slow, fast])
    assert (found.load_ms, found.peak_mb, found.points[0].p50_ms) == (1.0, 20.0, 1.0)


def test_measure_writes_every_candidate_with_its_digest_and_machine(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "a", detect_target(), ("int8-lean", "fp32"))
    lines: list[str] = []
    found = measurement.measure(folder, plan=PLAN, rounds=1, progress=lines.append)
    assert set(found.rungs) == {"int8-lean", "fp32"}
    assert found.rungs["fp32"].digest == sha256_file(folder / "model.onnx")
    assert found.target == detect_target() and "cores" in found.machine
    assert Measurement.read(measurement.write(found, tmp_path / "m.json")) == found
    assert any("fp32" in line for line in lines)


def test_measure_refuses_a_machine_that_is_not_of_the_target(tmp_path: Path) -> None:
    if can_measure("gpu-cuda"):
        pytest.skip("this machine has a GPU that onnxruntime can use")
    folder = artifact(tmp_path / "a", "gpu-cuda")
    answer = CliRunner().invoke(app, ["measure", str(folder), "--out", str(tmp_path / "m.json")])
    assert answer.exit_code == 1
    assert "gpu-cuda" in answer.output
    assert not (tmp_path / "m.json").exists()


def test_measure_refuses_a_folder_that_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"compression\.json is missing"):
        measurement.measure(tmp_path, progress=print)


def test_a_measurement_of_other_bytes_or_another_model_is_refused_naming_them() -> None:
    found = measured("gpu-cuda", {"fp16": ("a", 1.0), "fp32": ("b", 2.0)})
    assert found.costs("tiny", "gpu-cuda", {"fp16": "a", "fp32": "b"}) == {"fp16": 1.0, "fp32": 2.0}
    with pytest.raises(BadInput, match="other artifacts than these: fp32, int8"):
        found.costs("tiny", "gpu-cuda", {"fp16": "a", "fp32": "c", "int8": "d"})
    with pytest.raises(BadInput, match="not of other on gpu-cuda"):
        found.costs("other", "gpu-cuda", {"fp16": "a"})


@pytest.mark.parametrize("text", ["{", '{"model": "tiny"}'])
def test_a_file_that_is_no_measurement_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(BadInput, match=r"m\.json is not a measurement"):
        Measurement.read(tmp_path / "m.json")
    with pytest.raises(BadInput, match="does not exist") as missing:
        Measurement.read(tmp_path / "absent.json")
    assert "rankops measure" in str(missing.value.remedy)


def test_dynamic_int8_that_is_slower_on_the_gpu_loses_by_the_measurement(
    checkpoint: Path, dataset, spec: ModelSpec, reciprocal_rank, tmp_path: Path
) -> None:
    if can_measure("gpu-cuda"):
        pytest.skip("this machine has a GPU that onnxruntime can use")
    first = compress(checkpoint, dataset, spec, "gpu-cuda", tmp_path / "first", score=reciprocal_rank)
    closed = measured_check(first, tmp_path / "first")
    assert not closed.passed and not first.measured
    assert f"rankops measure {tmp_path / 'first'}" in closed.explanation

    digests = {path.parent.name: sha256_file(path) for path in (tmp_path / "first" / CANDIDATES).glob("*/model.onnx")}
    assert set(digests) == {"fp16-fused", "fp32-fused", "int8-fused", "fp32"}
    times = {"int8-fused": 9.0, "fp16-fused": 3.0, "fp32-fused": 2.0, "fp32": 4.0}
    found = measured("gpu-cuda", {name: (digests[name], times[name]) for name in digests}, first.query_tokens)
    path = measurement.write(found, tmp_path / "gpu.json")
    told = spec.model_copy(update={"compression": spec.compression.model_copy(update={"measurement": str(path)})})
    second = compress(checkpoint, dataset, told, "gpu-cuda", tmp_path / "second", score=reciprocal_rank)
    assert second.winner == "fp32-fused"
    assert "NVIDIA X" in second.won.reason
    lost = next(rung for rung in second.rungs if rung.name == "int8-fused")
    assert "slower than fp32 (9.00 against 2.00 ms)" in lost.reason
    assert not (tmp_path / "second" / CANDIDATES).exists()
    opened = measured_check(second, tmp_path / "second")
    assert opened.passed and "NVIDIA X" in opened.explanation


def test_the_probe_imports_nothing_that_trains() -> None:
    code = (
        "import sys, rankops.compression.probe;"
        "print([m for m in ('torch', 'transformers', 'optimum', 'polars', 'pandas') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
