"""The sequential part of a next-item model as ONNX: as it was fitted, and with its matrices in int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.compression.export import quiet, strip
from rankops.errors import BadInput
from rankops.sequence import GRAPH, OnnxSequence, SequenceConfig, load_sequence
from rankops.specs import Target

if TYPE_CHECKING:
    from rankops.torch_sequence import TorchSequence

FLOAT32, INT8 = "float32", "int8"
FORMS = (FLOAT32, INT8)


def export_forms(sequence: TorchSequence, products: int, target: Target, scratch: Path) -> dict[str, OnnxSequence]:
    """Every form of :data:`FORMS` for a target; ``scratch`` is an existing folder for their files. The same network
    gives the same bytes."""
    exported = scratch / FLOAT32
    exported.mkdir()
    sequence.export(exported)
    strip(exported / GRAPH)
    _quantize(exported, scratch / INT8, replace(sequence.config, storage=INT8), target)
    return {form: _loaded(scratch / form, products) for form in FORMS}


def _quantize(exported: Path, out: Path, config: SequenceConfig, target: Target) -> None:
    """Weights in int8, one scale a column; what flows between them is quantized as it comes (dynamically)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out.mkdir()
    with quiet():
        quantize_dynamic(
            exported / GRAPH,
            out / GRAPH,
            op_types_to_quantize=["MatMul", "Gemm"],  # the table that is looked up stays
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=target == "cpu-avx2",  # its sums of 16 bits would saturate; see rankops.compression.rungs
            extra_options={"MatMulConstBOnly": True},
        )
    strip(out / GRAPH)
    config.save(out)


def _loaded(folder: Path, products: int) -> OnnxSequence:
    if (found := load_sequence(folder, products)) is None:
        raise BadInput(f"{folder} holds no {GRAPH} after its export", "look at the exporter's version")
    return found
