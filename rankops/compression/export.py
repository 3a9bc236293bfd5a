"""Checkpoint → ONNX → fused ONNX, through Optimum, with the same bytes for the same checkpoint."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rankops.encoding import Pooling
from rankops.errors import BadInput

ExportTask = Literal["feature-extraction", "text-classification"]
_RETRAIN = "rematerialize the checkpoint"


def check_checkpoint(checkpoint: Path) -> None:
    """Raise :class:`BadInput` naming what a checkpoint folder lacks; weights in pickles are refused."""
    for name in ("config.json", "tokenizer.json"):
        if not (checkpoint / name).is_file():
            raise BadInput(f"{checkpoint / name} is missing", _RETRAIN)
    if not any(checkpoint.glob("*.safetensors")):
        pickles = sorted(p.name for p in checkpoint.glob("*.bin"))
        found = f"only {', '.join(pickles)} (a pickle can run code when it is read)" if pickles else "none"
        raise BadInput(f"{checkpoint} must hold its weights as safetensors; found {found}", _RETRAIN)


def read_pooling(checkpoint: Path) -> Pooling:
    """How token vectors become one vector, from sentence-transformers' ``modules.json`` (mean where absent).

    Raises :class:`BadInput` for modules that :class:`rankops.encoding.OnnxEncoder` cannot do.
    """
    modules_file = checkpoint / "modules.json"
    if not modules_file.is_file():
        return "mean"
    modules = json.loads(modules_file.read_text())
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if unknown := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
        raise BadInput(
            f"{modules_file}: cannot export modules {unknown}", "use a Transformer, Pooling, Normalize model"
        )
    for module, kind in zip(modules, kinds, strict=True):
        if kind == "Pooling":
            return _pooling_mode(checkpoint / module["path"] / "config.json")
    return "mean"


def _pooling_mode(path: Path) -> Pooling:
    config = json.loads(path.read_text())
    if isinstance(mode := config.get("pooling_mode"), str):  # sentence-transformers from 5.5 on
        modes = [mode]
    else:
        modes = [k.removeprefix("pooling_mode_") for k, on in config.items() if k.startswith("pooling_mode_") and on]
    names: dict[str, Pooling] = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
    if len(modes) != 1 or modes[0] not in names:
        raise BadInput(f"{path}: pooling {modes or 'nothing'} is not supported", "use mean or cls pooling")
    return names[modes[0]]


def export_onnx(checkpoint: Path, out: Path, task: ExportTask = "feature-extraction") -> Path:
    """Write ``out/model.onnx`` (fp32; token ids and mask in) and return its path.

    What comes out is ``last_hidden_state``, or with ``text-classification`` the ``logits`` of its head.

    The bytes depend on the weights and the library versions only. Raises :class:`BadInput` for a folder that is
    not a checkpoint.
    """
    check_checkpoint(checkpoint)
    from optimum.exporters.onnx import main_export

    with quiet():
        main_export(
            str(checkpoint),
            output=out,
            task=task,
            library_name="transformers",  # without pooling: ORT's fusions match this graph best
            local_files_only=True,
            do_validation=False,  # parity.py compares with the checkpoint, on real texts
        )
    shutil.copyfile(checkpoint / "tokenizer.json", out / "tokenizer.json")
    strip(out / "model.onnx")
    return out / "model.onnx"


Level = Literal["O1", "O2", "O3", "lean", "apart"]
"""Optimum's levels; ``lean``: O3 without what ONNX Runtime runs slower fused than apart on a CPU; ``apart``: the same
with the matrices of attention outside of it, which static quantization needs."""


def fuse(exported: Path, out: Path, level: Level, *, fp16: bool = False) -> Path:
    """Optimize ``exported/model.onnx`` with Optimum (attention and GELU become one node each; fp16 makes O3 an O4).

    Shapes are inferred and stored afterwards: without them the quantizer cannot type the outputs of fused nodes.
    """
    import onnx
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference
    from optimum.onnxruntime import ORTOptimizer

    with quiet():
        ORTOptimizer.from_pretrained(exported, file_names=["model.onnx"]).optimize(
            optimization_config=_optimization(level, fp16), save_dir=out, file_suffix=""
        )
    path = out / "model.onnx"
    onnx.save(SymbolicShapeInference.infer_shapes(onnx.load(str(path)), auto_merge=True), str(path))
    strip(path)
    return path


def _optimization(level: Level, fp16: bool) -> Any:
    """Optimum's configuration.

    ``lean`` leaves residual sums and layer norms apart: ONNX Runtime's CPU kernel for the fused pair divides once an
    element (6.5 us for four tokens of 384, the two nodes take 1.5). It leaves the bias of a GELU apart too, which
    lets it join the int8 product before. Level 1 because ONNX Runtime's level 2 would fuse both again.
    """
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    if level not in ("lean", "apart"):
        return getattr(AutoOptimizationConfig, level)(fp16=fp16)
    config = AutoOptimizationConfig.O3(
        fp16=fp16,
        disable_skip_layer_norm_fusion=True,
        disable_bias_skip_layer_norm_fusion=True,
        disable_bias_gelu_fusion=True,
    )
    config.optimization_level = 1
    config.use_multi_head_attention = level == "apart"
    return config


def strip(path: Path) -> None:
    """Remove what does not change the result but can change the bytes or name this machine: doc strings, metadata."""
    import onnx

    model = onnx.load(str(path))
    model.ClearField("doc_string")
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    model.ClearField("metadata_props")
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep tracer and deprecation notes of the exporters out of our logs; errors are raised, not logged."""
    import logging

    loggers: list[Any] = [logging.getLogger(name) for name in ("transformers", "optimum", "onnxruntime")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
