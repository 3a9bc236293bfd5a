"""A tiny, real artifact folder (bag of words in ONNX), so that tests need neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from rankops.files import write_json

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def make_tiny_artifact(folder: Path, vocabulary: Sequence[str], seed: int, *, dimension: int = 32) -> Path:
    """Write ``model.onnx``, ``tokenizer.json``, ``encoder.json``: each word has a random vector, a text their mean."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*SPECIAL, *dict.fromkeys(word.lower() for word in vocabulary)]
    write_tokenizer(folder / "tokenizer.json", words)
    _write_model(folder / "model.onnx", len(words), dimension, seed)
    description = {
        "pooling": "mean",
        "normalize": True,
        "dimension": dimension,
        "max_query_tokens": 24,
        "max_product_tokens": 48,
        "target": "cpu-avx2",
        "rung": "tiny",
    }
    write_json(folder / "encoder.json", description)
    return folder


def write_tokenizer(path: Path, words: Sequence[str]) -> None:
    """A word-level tokenizer; a word's id is its place in ``words``, which must hold the special tokens.

    Like many published files it fixes padding and truncation at 128, which an encoder has to reset.
    """
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    ends = [(token, words.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.enable_padding(length=128, pad_id=words.index("[PAD]"), pad_token="[PAD]")
    tokenizer.enable_truncation(max_length=128)
    tokenizer.save(str(path))


def _write_model(path: Path, words: int, dimension: int, seed: int) -> None:
    table = np.random.default_rng(seed).standard_normal((words, dimension)).astype(np.float32)
    table[: len(SPECIAL)] *= 0.05  # a text is its words
    axes = ["batch", "tokens"]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        "bag-of-words",
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*axes, dimension])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
