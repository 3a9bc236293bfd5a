"""Queues that are computed, not run."""

from __future__ import annotations

import numpy as np

from rankops.load.arrivals import arrivals
from rankops.load.capacity import Measure
from rankops.load.result import StageResult


def waits(times: np.ndarray, service: float) -> np.ndarray:
    """Seconds that each arrival waits for one server with a fixed service time (Lindley's recursion)."""
    waiting = np.zeros(len(times))
    for i in range(1, len(times)):
        waiting[i] = max(0.0, waiting[i - 1] + service - (times[i] - times[i - 1]))
    return waiting


def m_d_1(service: float, seconds: float = 20.0) -> Measure:
    """Stages of a server that needs ``service`` seconds a request, one at a time."""

    def measure(rate: float, seed: int) -> StageResult:
        result = StageResult(rate, seconds=seconds)
        for wait in waits(arrivals("poisson", rate, seconds, seed), service):
            result.latency.record(wait + service)
            result.sent += 1
        return result

    return measure
