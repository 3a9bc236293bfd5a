"""The generator: one thread, kept connections, and a clock that no answer can hold back."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import numpy as np

from rankops.errors import BadInput
from rankops.load.connections import Connections
from rankops.load.http import Target
from rankops.load.result import StageResult
from rankops.load.sources import Source, closed_loop, open_loop
from rankops.load.stage import DEFAULT, Options, Stage, Tick

__all__ = ["Generator", "Options", "Tick"]

_HEAD_START = 0.01  # seconds to make ready before the first request is due


class Generator:
    """Sends ``requests`` over and over, in order, to one server. One stage at a time; connections are kept between."""

    def __init__(self, target: Target, requests: Sequence[bytes], options: Options = DEFAULT) -> None:
        if not requests:
            raise BadInput("there is no request to send", "give at least one query")
        self._requests, self._options = cycle(list(requests)), options
        self._connections = Connections(target, options.connections)

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_loop(
        self, offsets: np.ndarray, *, rate: float | None = None, warm_up: float = 0.0, tick: Tick | None = None
    ) -> StageResult:
        """Send a request at each of ``offsets`` (seconds from now, rising), whatever the answers do.

        What is due in the first ``warm_up`` seconds is sent but not counted. ``tick`` is called about four times a
        second with the seconds since the start; it must be short.
        """
        return self._run(open_loop(offsets), StageResult(rate), warm_up, tick)

    def closed_loop(
        self, clients: int, seconds: float, *, warm_up: float = 0.0, tick: Tick | None = None
    ) -> StageResult:
        """``clients`` that each wait for their answer before they ask again: for latency without a queue, and for the
        throughput that an open loop cannot exceed."""
        return self._run(closed_loop(clients, warm_up + seconds), StageResult(None), warm_up, tick)

    def _run(
        self, source: Callable[[float], Source], result: StageResult, warm_up: float, tick: Tick | None
    ) -> StageResult:
        with _undisturbed():
            used, begun = time.thread_time(), time.perf_counter()
            start = begun + _HEAD_START
            counted = start + warm_up
            stage = Stage(self._connections, self._requests, self._options, source(start), result, counted)
            stage.run(start, tick)
            result.generator_cpu_seconds = time.thread_time() - used
        result.seconds = max(time.perf_counter() - begun, 1e-9)
        result.answered_seconds = max(stage.last_answer - start - warm_up, 0.0)
        return result


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No collection of garbage while a stage runs: its pauses would be told as the server's."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
