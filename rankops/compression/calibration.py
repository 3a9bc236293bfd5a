"""Ranges of activations on real texts, for static int8, through Optimum's calibrators (MinMax, entropy, percentile)."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.compression.feeds import feeds
from rankops.errors import BadInput

if TYPE_CHECKING:
    from rankops.compression.rungs import Calibration

PERCENTILE = 99.99


def activation_ranges(base: Path, method: Calibration, operators: Sequence[str], texts: Sequence[Any]) -> Any:
    """Ranges of ``base/model.onnx``'s tensors over ``texts``, as ``ORTQuantizer.quantize`` takes them.

    One text is one sample. Raises :class:`BadInput` without texts: a range that no real text set is a guess.
    """
    if not texts:
        raise BadInput("static int8 needs texts to calibrate on", "give the workshop real queries and product texts")
    from datasets import Dataset
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoCalibrationConfig

    quantizer = ORTQuantizer.from_pretrained(base, file_name="model.onnx")
    makers = {
        "minmax": AutoCalibrationConfig.minmax,
        "entropy": AutoCalibrationConfig.entropy,
        "percentile": partial(AutoCalibrationConfig.percentiles, percentile=PERCENTILE),
    }
    with tempfile.TemporaryDirectory(prefix="rankops-calibration-") as scratch, redirect_stdout(io.StringIO()):
        for samples in _by_length(_inputs(base, texts)):
            data = Dataset.from_dict(samples)
            config = makers[method](data)
            if quantizer._calibrator is not None:  # histograms take one shape at a time
                config.method = None
            quantizer.partial_fit(
                data,
                config,
                onnx_augmented_model_name=str(Path(scratch) / "augmented.onnx"),
                operators_to_quantize=list(operators),
            )
        return quantizer.compute_ranges()


def _by_length(columns: dict[str, list[list[int]]]) -> list[dict[str, list[list[int]]]]:
    """The samples in groups of equally many tokens, in order of length."""
    lengths = [len(ids) for ids in columns["input_ids"]]
    return [
        {
            name: [row for row, own in zip(column, lengths, strict=True) if own == length]
            for name, column in columns.items()
        }
        for length in sorted(set(lengths))
    ]


def _inputs(base: Path, texts: Sequence[Any]) -> dict[str, list[list[int]]]:
    """The graph's own inputs for each text (a string, or a pair of them), by their names."""
    samples = feeds(base, texts)
    return {name: [sample[name][0].tolist() for sample in samples] for name in samples[0]}
