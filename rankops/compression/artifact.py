"""The artifact folder: ``model.onnx``, ``tokenizer.json`` and ``encoder.json`` that names both by digest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rankops.encoding import Pooling
from rankops.files import sha256_file, write_json
from rankops.specs import ModelSpec, Target


def write_artifact(
    folder: Path,
    *,
    model: Path,
    tokenizer: Path,
    spec: ModelSpec,
    target: Target,
    rung: str,
    dimension: int,
    pooling: Pooling,
) -> Path:
    """Fill ``folder`` with an artifact that :class:`rankops.encoding.OnnxEncoder` loads, and return it.

    Only what changes vectors is written: the folder's digest names an encoder, not a measurement.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, folder / "model.onnx")
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    description: dict[str, Any] = {
        "pooling": pooling,
        "normalize": True,
        "dimension": dimension,
        "max_query_tokens": spec.training.max_query_tokens,
        "max_product_tokens": spec.training.max_product_tokens,
        "model": spec.name,
        "target": target,
        "rung": rung,
        "files": {name: sha256_file(folder / name) for name in ("model.onnx", "tokenizer.json")},
    }
    write_json(folder / "encoder.json", description)
    return folder
