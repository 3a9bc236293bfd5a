"""A tiny, real cross-encoder artifact: a pair's logit is the sum of one number a token and one a token type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from rankops.files import sha256_file, write_json
from tests.support.tiny_artifact import SPECIAL, write_tokenizer

TYPES = (0.0, -0.1, 1.0, 1.0)
"""What a token adds by its type: shared words count for a match."""


def make_tiny_cross_encoder(
    folder: Path,
    vocabulary: Sequence[str],
    seed: int,
    *,
    threshold: float | None = None,
    both_orders: bool = False,
) -> Path:
    """Write ``model.onnx``, ``tokenizer.json``, ``cross_encoder.json``; with a threshold it is a matcher."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*SPECIAL, *dict.fromkeys(word.lower() for word in vocabulary)]
    _write_tokenizer(folder / "tokenizer.json", words)
    _write_model(folder / "model.onnx", len(words), seed)
    files = {name: sha256_file(folder / name) for name in ("model.onnx", "tokenizer.json")}
    description = {
        "max_pair_tokens": 32,
        "marked": True,
        "both_orders": both_orders,
        "blend": {"neural": 1.0, "lexical": 0.0, "bias": -0.5},
        "threshold": threshold,
        "files": files,
    }
    write_json(folder / "cross_encoder.json", description)
    return folder


def _write_tokenizer(path: Path, words: Sequence[str]) -> None:
    write_tokenizer(path, words)
    tokenizer = Tokenizer.from_file(str(path))
    ends = [(token, words.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer.save(str(path))


def _write_model(path: Path, words: int, seed: int) -> None:
    table = (np.random.default_rng(seed).standard_normal((words, 1)) * 0.1).astype(np.float32)
    types = np.array(TYPES, dtype=np.float32)[:, None]
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["by_word"]),
            helper.make_node("Gather", ["types", "token_type_ids"], ["by_type"]),
            helper.make_node("Add", ["by_word", "by_type"], ["sums"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
            helper.make_node("Mul", ["sums", "wide"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "second"], ["logits"], keepdims=0),
        ],
        "sum-of-tokens",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(types, "types"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "last"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "second"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
