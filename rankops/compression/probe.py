"""One artifact in a process of its own: load time, memory, and latency over batch sizes and text lengths.

``python -m rankops.compression.probe MODEL.onnx PLAN`` (JSON) prints one JSON object, a :class:`Profile`. It imports
what a server imports and nothing that trains, so that its memory is the server's. Token ids are random: a transformer
takes as long for one word as for another.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict

from rankops.onnx_session import open_session

_KB = 1e3
_WARM_UP = 2
_LEAST = 3


class Plan(BaseModel):
    """What is measured: ``batches`` x ``lengths``, each for ``seconds`` or ``runs``, whichever ends first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batches: tuple[int, ...] = (1, 8, 32)
    lengths: tuple[int, ...] = (4, 16, 32)
    seconds: float = 0.25
    runs: int = 400
    providers: tuple[str, ...] = ("CPUExecutionProvider",)


class Point(BaseModel):
    """Milliseconds of one run of ``batch`` texts of ``tokens`` each; percentiles over ``runs``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int
    tokens: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    runs: int


class Profile(BaseModel):
    """What one process saw. ``peak_mb``: the process's largest resident memory, Python and runtime included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_ms: float
    peak_mb: float
    points: tuple[Point, ...]

    def at(self, batch: int, tokens: int) -> Point | None:
        """The point that was measured there."""
        return next((point for point in self.points if (point.batch, point.tokens) == (batch, tokens)), None)


def profile(model: Path, plan: Plan) -> Profile:
    """Load and measure ``model`` in this process."""
    start = time.perf_counter()
    session = open_session(model, plan.providers)
    load_ms = (time.perf_counter() - start) * 1e3
    points = tuple(_point(session, batch, tokens, plan) for tokens in plan.lengths for batch in plan.batches)
    return Profile(load_ms=load_ms, peak_mb=_peak_mb(), points=points)


def _peak_mb(status: Path = Path("/proc/self/status")) -> float:
    """Largest resident memory of this process. Linux's ``ru_maxrss`` would be the parent's where that was larger."""
    if status.is_file():
        line = next(line for line in status.read_text().split("\n") if line.startswith("VmHWM"))
        return float(line.split()[1]) / _KB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else _KB)


def _point(session: ort.InferenceSession, batch: int, tokens: int, plan: Plan) -> Point:
    ids = np.random.default_rng(tokens).integers(1, 5, (batch, tokens))
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feed = {tensor.name: values[tensor.name] for tensor in session.get_inputs()}
    outputs = [session.get_outputs()[0].name]
    for _ in range(_WARM_UP):
        session.run(outputs, feed)
    taken: list[float] = []
    end = time.perf_counter() + plan.seconds
    while len(taken) < plan.runs and (len(taken) < _LEAST or time.perf_counter() < end):
        start = time.perf_counter()
        session.run(outputs, feed)
        taken.append((time.perf_counter() - start) * 1e3)
    p50, p95, p99 = (float(value) for value in np.percentile(taken, [50, 95, 99]))
    return Point(batch=batch, tokens=tokens, p50_ms=p50, p95_ms=p95, p99_ms=p99, runs=len(taken))


if __name__ == "__main__":
    found = profile(Path(sys.argv[1]), Plan.model_validate_json(sys.argv[2]))
    sys.stdout.write(found.model_dump_json() + "\n")
