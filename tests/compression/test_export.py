"""Checkpoint to ONNX: what is refused, and that the same checkpoint gives the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rankops.compression.export import check_checkpoint, export_onnx, fuse, read_pooling
from rankops.errors import BadInput
from rankops.files import sha256_file


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "checkpoint")
    for name, source in (("a", checkpoint), ("b", copy)):
        export_onnx(source, tmp_path / name)
        fuse(tmp_path / name, tmp_path / f"{name}-fused", "O3")
    assert sha256_file(tmp_path / "a/model.onnx") == sha256_file(tmp_path / "b/model.onnx")
    assert sha256_file(tmp_path / "a-fused/model.onnx") == sha256_file(tmp_path / "b-fused/model.onnx")
    for path in (tmp_path / "a/model.onnx", tmp_path / "a-fused/model.onnx"):
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_fusing_really_fuses(checkpoint: Path, tmp_path: Path) -> None:
    import onnx

    export_onnx(checkpoint, tmp_path / "plain")
    kinds = [node.op_type for node in onnx.load(str(fuse(tmp_path / "plain", tmp_path / "fused", "O3"))).graph.node]
    assert kinds.count("Attention") == 2
    assert "SkipLayerNormalization" in kinds


def test_weights_in_a_pickle_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "pickled")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"safetensors; found only pytorch_model\.bin"):
        export_onnx(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(checkpoint: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "lacking")
    (copy / name).unlink()
    with pytest.raises(BadInput, match=name):
        check_checkpoint(copy)


def _with_modules(folder: Path, kinds: list[str], pooling: dict) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    modules = [{"idx": i, "path": "1_Pooling" if k == "Pooling" else "", "type": f"x.{k}"} for i, k in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_pooling_is_read_from_either_form(tmp_path: Path, pooling: dict, expected: str) -> None:
    assert read_pooling(_with_modules(tmp_path, ["Transformer", "Pooling"], pooling)) == expected


def test_without_modules_pooling_is_the_mean(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) == "mean"


def test_modules_and_poolings_that_cannot_be_exported_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Dense"):
        read_pooling(_with_modules(tmp_path / "a", ["Transformer", "Pooling", "Dense"], {}))
    with pytest.raises(BadInput, match="max"):
        read_pooling(_with_modules(tmp_path / "b", ["Transformer", "Pooling"], {"pooling_mode_max_tokens": True}))
