"""How many pods, of which size, and when the autoscaler adds one: from a measured capacity and the traffic at its peak.

Headroom: a server's queue grows as 1 / (1 - load) (M/M/c and M/D/1 alike; Kleinrock, Queueing Systems I, 1975), so no
pod is planned with more than 70 % of the rate that it was measured to carry. N + 1: without one pod, the others still
carry the peak. Autoscaler: Kubernetes keeps ``current pods x (CPU used / CPU requested) / target`` pods
(https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/), so the target is the CPU that a
pod uses at its planned rate, as a share of what it requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from rankops.errors import BadInput
from rankops.release.capacity import ReleaseCapacity

HEADROOM = 0.7
"""Share of a pod's capacity that is planned with."""
LEAST_PODS = 2
"""One pod is none while its node is drained."""
_MEMORY_SPARE, _MEMORY_STEP = 1.25, 64
_MIB = 2**20 / 1e6
PEAK_HOUR_SHARE = 0.10
"""Share of a day's searches in its busiest hour, where only days are known (an even day would have 0.042)."""
BURST = 2.0
"""How much the busiest minutes lie above their hour's mean."""


@dataclass(frozen=True)
class Peak:
    """Expected traffic, requests a second, and where the figure comes from."""

    rate: float
    source: str


@dataclass(frozen=True)
class Sizing:
    """Advice. CPU in cores, memory in MiB, the target in percent of the CPU request."""

    peak: Peak
    pod_rate: float
    replicas: int
    most_replicas: int
    cpu: int
    memory_mib: int
    cpu_target_percent: int
    spare: float

    def rows(self) -> list[dict[str, Any]]:
        """What to set, to what, and how that was computed."""
        return [
            {"what": "expected peak (requests/s)", "value": round(self.peak.rate, 2), "why": self.peak.source},
            {
                "what": "planned rate of a pod (requests/s)",
                "value": round(self.pod_rate, 1),
                "why": f"{HEADROOM:.0%} of its measured capacity, as queues grow with 1 / (1 - load)",
            },
            {
                "what": "replicas",
                "value": self.replicas,
                "why": f"carries {_times(self.spare)} times the peak; without one pod the others still carry it",
            },
            {"what": "autoscaler, at most", "value": self.most_replicas, "why": "three times the expected peak"},
            {"what": "CPU request", "value": str(self.cpu), "why": "the cores that the capacity was measured on"},
            {
                "what": "memory request and limit",
                "value": f"{self.memory_mib}Mi",
                "why": f"{_MEMORY_SPARE:g} times the measured peak",
            },
            {
                "what": "autoscaler, CPU utilization (%)",
                "value": self.cpu_target_percent,
                "why": "CPU that a pod uses at its planned rate, of what it requests",
            },
        ]


def size(capacity: ReleaseCapacity, peak: Peak) -> Sizing:
    """Advice for a release's server at ``peak``. Raises :class:`BadInput` where its capacity is unknown."""
    rate, cpu_ms, memory = capacity.queries_per_second, capacity.cpu_ms_per_query, capacity.memory_peak_mb
    if not rate or cpu_ms is None or memory is None:
        raise BadInput(capacity.sentence(), "measure the capacity on the serving target")
    if peak.rate < 0:
        raise BadInput(f"a peak of {peak.rate:g} requests/s is none", "give a rate of 0 or more")
    planned = HEADROOM * rate
    replicas = pods(peak.rate, rate)
    share = cpu_ms / 1e3 * planned / capacity.cores
    return Sizing(
        peak=peak,
        pod_rate=planned,
        replicas=replicas,
        most_replicas=max(replicas + 1, pods(3 * peak.rate, rate)),
        cpu=capacity.cores,
        memory_mib=ceil(_MEMORY_SPARE * memory / _MIB / _MEMORY_STEP) * _MEMORY_STEP,
        cpu_target_percent=max(20, min(90, floor(100 * share / 5) * 5)),
        spare=replicas * rate / peak.rate if peak.rate else float("inf"),
    )


def pods(peak: float, rate: float) -> int:
    """The fewest pods that carry ``peak`` with headroom, and without one of them at all."""
    return max(LEAST_PODS, ceil(peak / (HEADROOM * rate)), ceil(peak / rate) + 1)


def peak_of_days(searches_a_day: float, day: str) -> Peak:
    """The peak of the busiest day, where only days are known."""
    rate = searches_a_day * PEAK_HOUR_SHARE / 3600 * BURST
    return Peak(
        rate,
        f"{searches_a_day:,.0f} searches on {day}, {PEAK_HOUR_SHARE:.0%} of them in the busiest hour, "
        f"bursts of {BURST:g} times its mean",
    )


def peak_of_hours(searches_an_hour: float, hour: str) -> Peak:
    """The peak of the busiest hour of a request log."""
    rate = searches_an_hour / 3600 * BURST
    return Peak(rate, f"{searches_an_hour:,.0f} requests in the hour of {hour}, bursts of {BURST:g} times its mean")


def _times(factor: float) -> str:
    """A factor as people read it: whole from ten on."""
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"
