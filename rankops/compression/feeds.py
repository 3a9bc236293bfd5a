"""What a graph is fed with for a text: the inputs that it has, for one text at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 64


def feeds(base: Path, texts: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """The inputs of ``base/model.onnx``, int64 ``(1, tokens)``, for each text (a string or a pair), alone."""
    import onnx

    from rankops.onnx_session import read_tokenizer

    tokenizer = read_tokenizer(base / "tokenizer.json", MAX_TOKENS)
    encoded = [tokenizer.encode(*((text,) if isinstance(text, str) else text)) for text in texts]
    accepted = {tensor.name for tensor in onnx.load(str(base / "model.onnx"), load_external_data=False).graph.input}
    found = []
    for one in encoded:
        columns = {"input_ids": one.ids, "attention_mask": one.attention_mask, "token_type_ids": one.type_ids}
        found.append({name: np.array([ids], dtype=np.int64) for name, ids in columns.items() if name in accepted})
    return found
