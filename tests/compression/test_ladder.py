"""The whole ladder on a tiny transformer: what wins, what loses and why, and what must never pass."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rankops.compression import plots, render
from rankops.compression.ladder import compress
from rankops.compression.report import CompressionReport
from rankops.compression.rungs import rungs_for
from rankops.compression.targets import detect_target
from rankops.dataset import Dataset
from rankops.encoding import OnnxEncoder
from rankops.errors import BadInput, GateFailed
from rankops.specs import ModelSpec
from tests.compression.conftest import WORDS, save_checkpoint


@pytest.fixture(scope="module")
def climbed(checkpoint: Path, dataset: Dataset, spec: ModelSpec, reciprocal_rank, tmp_path_factory):
    out = tmp_path_factory.mktemp("artifact")
    lines: list[str] = []
    report = compress(checkpoint, dataset, spec, detect_target(), out, score=reciprocal_rank, progress=lines.append)
    return out, report, lines


def test_the_artifact_loads_and_answers_like_the_checkpoint(climbed, dataset: Dataset, reciprocal_rank) -> None:
    out, report, _ = climbed
    assert sorted(p.name for p in out.iterdir()) == ["compression.json", "encoder.json", "model.onnx", "tokenizer.json"]
    encoder = OnnxEncoder(out)
    assert encoder.config.facts["rung"] == report.winner
    assert encoder.dimension == 32
    assert reciprocal_rank(encoder).mean() == pytest.approx(report.won.relevance)


def test_every_rung_is_built_measured_and_has_a_reason(climbed) -> None:
    _, report, _ = climbed
    assert [rung.name for rung in report.rungs] == [rung.name for rung in rungs_for(detect_target())]
    assert [rung.verdict for rung in report.rungs].count("won") == 1
    for rung in report.rungs:
        assert rung.reason and "could not be built" not in rung.reason, rung
        assert rung.p50_ms > 0 and rung.p95_ms >= rung.p50_ms and rung.size_mb > 0
    plain = report.rungs[-1]
    assert plain.cosine_worst > 0.99999
    assert report.rungs[-2].cosine_worst > 0.999  # the fused graph approximates GELU


def test_the_winner_is_inside_the_budget_and_the_report_survives_a_round_trip(climbed, spec: ModelSpec) -> None:
    out, report, lines = climbed
    assert report.won.loss_share <= spec.compression.quality_budget
    assert report.won.interval[0] <= report.won.difference <= report.won.interval[1]
    assert CompressionReport.model_validate_json((out / "compression.json").read_text()) == report
    assert all(isinstance(value, float | str | bool) for value in report.facts().values())
    assert any(report.winner in line for line in lines)


def test_the_ladder_is_shown_with_what_was_not_measured_as_a_dash(climbed) -> None:
    _, report, _ = climbed
    rows = render.ladder_table(report).split("\n")
    assert len(rows) == 2 + 1 + len(report.rungs)
    assert len({row.count("|") for row in rows}) == 1
    assert f"**{report.winner}**" in render.page(report)
    unscored = report.rungs[0].model_copy(update={"relevance": None, "interval": None, "loss_share": None})
    assert "| - | - |" in render.ladder_table(report.model_copy(update={"rungs": [unscored]}))
    for picture in (plots.before_after(report), plots.relevance_against_latency(report)):
        assert picture.startswith(b"\x89PNG")


def test_no_rung_within_the_budget_is_an_error_with_every_reason(checkpoint, dataset, spec, tmp_path: Path) -> None:
    def only_pytorch_is_good(encoder) -> np.ndarray:
        return np.full(64, 0.1 if isinstance(encoder, OnnxEncoder) else 0.9)

    with pytest.raises(GateFailed) as failure:
        compress(checkpoint, dataset, spec, detect_target(), tmp_path / "out", score=only_pytorch_is_good)
    for rung in rungs_for(detect_target()):
        assert f"{rung.name}: loses 88.89%" in str(failure.value)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_not_here_is_chosen_by_declared_order_and_says_so(
    checkpoint, dataset, spec, reciprocal_rank, tmp_path: Path
) -> None:
    report = compress(checkpoint, dataset, spec, "gpu-cuda", tmp_path / "out", score=reciprocal_rank)
    if report.measured_here:
        pytest.skip("this machine has a GPU that onnxruntime can use")
    assert report.winner == "fp16-fused"
    assert "no gpu-cuda here" in report.won.reason
    assert "not measured on gpu-cuda" in render.page(report)
    assert report.rungs[1].relevance is None
    assert plots.before_after(report).startswith(b"\x89PNG")


def test_rungs_that_cannot_be_built_lose_with_a_reason_and_the_others_go_on(
    dataset, spec, reciprocal_rank, tmp_path: Path
) -> None:
    import torch
    from transformers import RoFormerConfig, RoFormerModel

    torch.manual_seed(0)
    config = RoFormerConfig(  # Optimum exports RoFormer but has no fusions for it
        vocab_size=len(WORDS), hidden_size=32, embedding_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    folder = save_checkpoint(tmp_path / "roformer", RoFormerModel(config).eval())
    report = compress(folder, dataset, spec, detect_target(), tmp_path / "out", score=reciprocal_rank)
    for rung, result in zip(rungs_for(detect_target()), report.rungs, strict=True):
        assert ("could not be built" in result.reason) is (rung.graph != "plain"), result
    assert report.winner in ("int8-per-channel", "int8-per-tensor", "fp32")
    assert OnnxEncoder(tmp_path / "out").encode(["red shoe"], role="query").shape == (1, 32)


def test_a_checkpoint_that_finds_nothing_and_a_score_that_is_not_one_are_refused(
    checkpoint, dataset, spec, tmp_path: Path
) -> None:
    for wrong, message in ((np.zeros(64), "nothing relevant"), (np.full(64, np.nan), "one finite number")):
        with pytest.raises(BadInput, match=message):
            compress(checkpoint, dataset, spec, detect_target(), tmp_path / "out", score=lambda _, w=wrong: w)


def test_a_folder_without_weights_is_refused_before_any_work(checkpoint, dataset, spec, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "empty")
    (copy / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="safetensors"):
        compress(copy, dataset, spec, detect_target(), tmp_path / "out", score=lambda _: np.ones(1))


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, rankops.compression.ladder, rankops.compression.render, rankops.compression.plots;"
        "print([m for m in ('torch', 'transformers', 'optimum', 'matplotlib', 'onnx') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
