"""The rungs of each target's ladder: what is tried, and how each is built.

A rung is a declaration; :class:`Workshop` builds it and shares the exported and the fused graph between rungs.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rankops.compression.export import ExportTask, export_onnx, fuse
from rankops.errors import BadInput
from rankops.specs import Target

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Rung:
    """One candidate artifact.

    ``fused`` starts from the optimized graph (Optimum O3). The other switches are for int8 only: one scale per
    output channel or per tensor; signed weights (u8s8) or unsigned (u8u8); 7-bit weights (``reduce_range``) where
    the CPU's 16-bit sums would overflow; ``after_gelu`` False leaves the matrices that read a GELU in fp32: their
    inputs have outliers, one scale serves them badly, and these are the last step before giving int8 up.
    """

    name: str
    precision: Precision
    fused: bool
    per_channel: bool = True
    signed: bool = True
    reduce_range: bool = False
    after_gelu: bool = True

    @property
    def what(self) -> str:
        """One line for people."""
        graph = "fused graph" if self.fused else "plain graph"
        if self.precision != "int8":
            return f"{self.precision}, {graph}"
        parts = [
            f"dynamic int8, {graph}",
            "per channel" if self.per_channel else "per tensor",
            ("s8" if self.signed else "u8") + (" weights in 7 bits" if self.reduce_range else " weights"),
        ]
        return ", ".join(parts if self.after_gelu else [*parts, "fp32 after GELU"])


_FP32 = (Rung("fp32-fused", "fp32", fused=True), Rung("fp32", "fp32", fused=False))

_RUNGS: dict[Target, tuple[Rung, ...]] = {
    "cpu-avx2": (
        Rung("int8-fused", "int8", fused=True, reduce_range=True),
        Rung("int8-fused-u8u8", "int8", fused=True, signed=False),
        Rung("int8-fused-mixed", "int8", fused=True, reduce_range=True, after_gelu=False),
        Rung("int8-per-channel", "int8", fused=False, reduce_range=True),
        Rung("int8-per-tensor", "int8", fused=False, per_channel=False, signed=False),
        *_FP32,
    ),
    "cpu-avx512-vnni": (
        Rung("int8-fused", "int8", fused=True),
        Rung("int8-fused-mixed", "int8", fused=True, after_gelu=False),
        Rung("int8-per-channel", "int8", fused=False),
        Rung("int8-per-tensor", "int8", fused=False, per_channel=False),
        *_FP32,
    ),
    "cpu-arm64": (
        Rung("int8-fused", "int8", fused=True),
        Rung("int8-fused-mixed", "int8", fused=True, after_gelu=False),
        Rung("int8-per-channel", "int8", fused=False),
        Rung("int8-per-tensor", "int8", fused=False, per_channel=False),
        *_FP32,
    ),
    # Dynamic int8 is often slower than fp32 on a GPU: the ladder there is fp16.
    "gpu-cuda": (Rung("fp16-fused", "fp16", fused=True), *_FP32),
}


def rungs_for(target: Target) -> tuple[Rung, ...]:
    """The rungs of ``target``, in the order in which we would believe in them without measuring."""
    return _RUNGS[target]


class Workshop:
    """Builds rungs of one checkpoint in ``scratch``; shared graphs are made once."""

    def __init__(
        self, checkpoint: Path, scratch: Path, target: Target, task: ExportTask = "feature-extraction"
    ) -> None:
        self._checkpoint = checkpoint
        self._scratch = scratch
        self._target = target
        self._task: ExportTask = task
        self.exported = scratch / "exported"

    def export(self) -> Path:
        """The plain fp32 graph; raises when the checkpoint cannot be exported at all."""
        if not (self.exported / "model.onnx").is_file():
            export_onnx(self._checkpoint, self.exported, self._task)
        return self.exported

    def build(self, rung: Rung) -> Path:
        """The rung's ``model.onnx``. Raises whatever Optimum or ONNX Runtime raises for graphs they cannot treat."""
        base = self._fused(rung.precision == "fp16") if rung.fused else self.export()
        folder = self._scratch / rung.name
        folder.mkdir()
        if rung.precision == "int8":
            quantize(base, folder, rung, self._target)
        else:
            shutil.copyfile(base / "model.onnx", folder / "model.onnx")
        return folder / "model.onnx"

    def _fused(self, fp16: bool) -> Path:
        folder = self._scratch / ("graph-fp16" if fp16 else "graph-fused")
        if not (folder / "model.onnx").is_file():
            fuse(self.export(), folder, "O3", fp16=fp16)
        return folder


def quantize(base: Path, out: Path, rung: Rung, target: Target) -> Path:
    """Dynamic int8 of ``base/model.onnx`` with Optimum's quantizer and its configuration for ``target``."""
    from optimum.onnxruntime import ORTQuantizer

    from rankops.compression.export import quiet, strip

    excluded = [] if rung.after_gelu else matrices_after_gelu(base / "model.onnx")
    config = quantization_config(rung, target, excluded)
    with quiet():
        quantizer = ORTQuantizer.from_pretrained(base, file_name="model.onnx")
        quantizer.quantize(quantization_config=config, save_dir=out, file_suffix="")
    strip(out / "model.onnx")
    return out / "model.onnx"


def quantization_config(rung: Rung, target: Target, excluded: list[str] | None = None) -> Any:
    """Optimum's ``QuantizationConfig`` for a rung on a target; ``excluded`` names nodes that stay in fp32."""
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    options: dict[str, Any] = {"is_static": False, "per_channel": rung.per_channel, "nodes_to_exclude": excluded or []}
    if target == "cpu-arm64":
        return AutoQuantizationConfig.arm64(**options)
    if target == "cpu-avx512-vnni":
        return AutoQuantizationConfig.avx512_vnni(**options)
    if not rung.signed:
        return AutoQuantizationConfig.avx2(**options, reduce_range=rung.reduce_range)
    # Optimum's avx2 preset is u8u8 only; its avx512 preset is the u8s8 one for CPUs without VNNI.
    return AutoQuantizationConfig.avx512(**options, reduce_range=rung.reduce_range)


def matrices_after_gelu(model: Path) -> list[str]:
    """Names of the MatMul nodes of a fused graph that read the output of a GELU node.

    Raises :class:`BadInput` where there is none: the rung would be the same as the one without exclusions.
    """
    import onnx

    nodes = onnx.load(str(model), load_external_data=False).graph.node
    activated = {output for node in nodes if node.op_type.endswith("Gelu") for output in node.output}
    names = [node.name for node in nodes if node.op_type == "MatMul" and activated & set(node.input)]
    if not names:
        raise BadInput("the graph has no matrix behind a GELU", "nothing to do: this rung is only for such models")
    return names
