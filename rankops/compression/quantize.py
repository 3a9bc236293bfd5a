"""An fp32 graph becomes an int8 one: Optimum's quantizer, and ONNX Runtime's for matrices in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankops.compression.calibration import activation_ranges
from rankops.compression.export import quiet, strip
from rankops.compression.matrices import NO_MATRIX, PRODUCTS, products
from rankops.compression.rungs import Rung
from rankops.compression.sensitivity import matrices_after_gelu, most_sensitive
from rankops.errors import BadInput
from rankops.specs import Target

_STATIC = ("MatMul",)
"""What static int8 treats. Embeddings stay in fp32: they are looked up, not multiplied."""


def quantize(base: Path, out: Path, rung: Rung, target: Target, texts: Sequence[Any] = ()) -> tuple[str, ...]:
    """Write ``out/model.onnx``, the int8 form of ``base/model.onnx`` that ``rung`` describes; the matrices it spared.

    ``texts``: real texts for calibration and the sensitivity scan. Raises :class:`BadInput` where a rung needs them and
    there are none, or where nothing of what it spares is in the graph.
    """
    from optimum.onnxruntime import ORTQuantizer

    spared = _spared(base, rung, texts)
    config = quantization_config(rung, target, spared)
    with quiet():
        quantizer = ORTQuantizer.from_pretrained(base, file_name="model.onnx")
        ranges = None if rung.calibration is None else activation_ranges(base, rung.calibration, _STATIC, texts)
        quantizer.quantize(quantization_config=config, save_dir=out, file_suffix="", calibration_tensors_range=ranges)
        if rung.bits:
            in_blocks(out / "model.onnx", rung.bits, rung.block)
    strip(out / "model.onnx")
    return () if rung.calibration else tuple(spared)


def quantization_config(rung: Rung, target: Target, excluded: list[str] | None = None) -> Any:
    """Optimum's ``QuantizationConfig`` for a rung on a target; ``excluded`` names nodes that stay in fp32."""
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    options: dict[str, Any] = {
        "is_static": rung.calibration is not None,
        "per_channel": rung.per_channel,
        "nodes_to_exclude": excluded or [],
    }
    if rung.words == "fp32":
        options["operators_to_quantize"] = list(PRODUCTS)
    if rung.calibration:
        options["operators_to_quantize"] = list(_STATIC)
    if target == "cpu-arm64":
        return AutoQuantizationConfig.arm64(**options)
    if target in ("cpu-avx512-vnni", "gpu-cuda"):
        return AutoQuantizationConfig.avx512_vnni(**options)
    if not rung.signed:
        return AutoQuantizationConfig.avx2(**options, reduce_range=rung.reduce_range)
    # Optimum's avx2 preset is u8u8 only; its avx512 preset is the u8s8 one for CPUs without VNNI.
    return AutoQuantizationConfig.avx512(**options, reduce_range=rung.reduce_range)


def in_blocks(path: Path, bits: int, block: int) -> None:
    """Rewrite the matrices of ``path`` that are still in fp32: ``bits`` a weight, one scale for ``block`` of them.

    Their inputs are quantized to 8 bits by the same blocks when they run (accuracy level 4), so that an outlier spoils
    a block and not the whole text.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        onnx.load(str(path)), bits=bits, block_size=block, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    onnx.save(quantizer.model.model, str(path))


def _spared(base: Path, rung: Rung, texts: Sequence[Any]) -> list[str]:
    """Names of the nodes that the quantizer must leave alone."""
    model = base / "model.onnx"
    if rung.calibration:
        return _products(
            model, constant=False
        )  # of queries with keys: no weights to shrink, and softmax hates rounding
    if rung.spared == "after-gelu":
        return matrices_after_gelu(model)
    if rung.spared == "sensitive":
        return most_sensitive(base, texts, per_channel=rung.per_channel)
    return _products(model, constant=True) if rung.bits else []


def _products(model: Path, *, constant: bool) -> list[str]:
    """The products whose right side is, or is not, a matrix of weights."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    names = [node.name for node in products(graph, ("MatMul",), constant=constant)]
    if constant and not names:
        raise BadInput(*NO_MATRIX)
    return names
