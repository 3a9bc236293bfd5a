"""What the BentoML and LitServe peers share: the same ONNX model by ONNX Runtime, and faiss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class OnnxSearch:
    """Batches of queries to products. ``encoder`` holds model.onnx and tokenizer.json of the release."""

    def __init__(self, encoder: Path, data: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(encoder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        self.tokenizer.enable_truncation(64)
        self.tokenizer.enable_padding()
        self.products = [json.loads(line) for line in (data / "products.jsonl").open(encoding="utf-8")]
        vectors = np.load(data / "vectors.npy")
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        faiss.omp_set_num_threads(threads)

    def search(self, queries: list[str], k: int = 10) -> list[dict[str, Any]]:
        """The answers of a batch."""
        encoded = self.tokenizer.encode_batch(queries)
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self.session.run(None, {name: feeds[name] for name in self.inputs})[0]
        if hidden.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            hidden = (hidden * weights).sum(1) / weights.sum(1)
        vectors = np.ascontiguousarray(hidden / np.linalg.norm(hidden, axis=1, keepdims=True), dtype=np.float32)
        scores, rows = self.index.search(vectors, k)
        return [
            {
                "query": query,
                "results": [
                    {**self.products[row], "score": float(score)}
                    for row, score in zip(rows[i], scores[i], strict=True)
                    if row >= 0
                ],
            }
            for i, query in enumerate(queries)
        ]
