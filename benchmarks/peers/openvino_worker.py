"""OpenVINO int8 (nncf) as a process of its own: quantizes an ONNX model, then encodes queries one at a time, timed.

``python openvino_worker.py MODEL.onnx TOKENIZER.json CALIBRATION.json``: reads one JSON list of queries a line from
stdin and answers with one JSON object a line: ``ms`` (milliseconds of each query, tokens included) and ``vectors``.
The first line that it writes says that it is ready. Static int8 by ``nncf.quantize`` with its preset for transformers,
one inference thread, one stream, latency as the hint: what OpenVINO's own guide says for this use.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from tokenizers import Tokenizer

MAX_TOKENS = 24


def main(model_file: str, tokenizer_file: str, calibration_file: str) -> None:
    """Quantize, say so, then answer line by line until stdin ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # nncf talks on stdout
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    calibration = json.loads(Path(calibration_file).read_text(encoding="utf-8"))
    core = ov.Core()
    model = core.read_model(model_file)
    names = [port.get_any_name() for port in model.inputs]

    def feed(text: str) -> dict[str, np.ndarray]:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {name: values[name] for name in names}

    quantized = nncf.quantize(
        model,
        nncf.Dataset(calibration, feed),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
    )
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(quantized, "CPU", options).create_infer_request()

    def encode(text: str) -> np.ndarray:
        hidden = request.infer(feed(text), share_inputs=True, share_outputs=True)[0]
        vector = hidden[0].mean(axis=0)
        return vector / np.linalg.norm(vector)

    print(json.dumps({"ready": ov.__version__, "nncf": nncf.__version__}), file=out, flush=True)
    for line in sys.stdin:
        texts = json.loads(line)
        for text in texts[:3]:
            encode(text)
        taken, vectors = [], []
        for text in texts:
            start = time.perf_counter()
            vector = encode(text)
            taken.append((time.perf_counter() - start) * 1e3)
            vectors.append([float(number) for number in vector])
        print(json.dumps({"ms": taken, "vectors": vectors}), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
