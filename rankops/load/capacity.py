"""The largest rate that a server answers within its latency objective: stages of open-loop load, bisected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan

from rankops.errors import BadInput
from rankops.load.result import StageResult

Measure = Callable[[float, int], StageResult]
"""``measure(rate, seed)``: one stage of open-loop load."""
_FIRST = 0.7  # of the ceiling: where queues begin to show
_STEPS_DOWN = 6
_CLEAR = 0.5  # of the objective: a stage so fast needs no second one


@dataclass(frozen=True)
class Objective:
    """``percent`` of the requests are answered within ``ms``, and none fails."""

    ms: float
    percent: float = 99.0

    def __post_init__(self) -> None:
        if not (self.ms > 0 and 0 < self.percent < 100):
            raise BadInput(f"p{self.percent:g} <= {self.ms:g} ms is no objective", "give e.g. p99 <= 50 ms")

    def refusal(self, result: StageResult) -> str | None:
        """Why a stage misses the objective; None where it meets it."""
        if result.failed:
            kinds = ", ".join(f"{count} {kind}" for kind, count in result.failures.most_common(3))
            return f"{result.failed} of {result.sent} failed ({kinds})"
        measured = result.percentile_ms(self.percent)
        if isnan(measured):
            return "nothing was answered"
        if measured > self.ms:
            return f"p{self.percent:g} {measured:.1f} ms"
        return None


@dataclass(frozen=True)
class Probe:
    """One stage, and why it missed the objective (None: it met it)."""

    rate: float
    result: StageResult
    refusal: str | None


@dataclass
class Capacity:
    """What was found. ``rate`` met the objective in most of its repeated stages; ``interval`` reaches from the largest
    rate that met it in *all* of them to the smallest that most stages missed (None: none was missed).

    ``at_capacity`` merges the stages at ``rate`` that confirmed it. A ``rate`` of 0 means that no rate met it.
    """

    objective: Objective
    ceiling: float
    rate: float = 0.0
    interval: tuple[float, float | None] = (0.0, None)
    at_capacity: StageResult | None = None
    probes: list[Probe] = field(default_factory=list)


def find_capacity(
    measure: Measure,
    objective: Objective,
    ceiling: float,
    *,
    resolution: float = 0.05,
    confirm: int = 3,
    spent: Callable[[], bool] = lambda: False,
    progress: Callable[[str], None] = lambda _: None,
) -> Capacity:
    """Bisect between 0 and ``ceiling`` (requests/s that a closed loop reached: no open loop can exceed it by much).

    A rate is met or missed by the best of three stages while the bracket is narrowed to ``resolution`` (a share), or
    until ``spent`` says that the time is up; the answer must then be met by most of ``confirm`` fresh stages, or it is
    lowered. A stage of T seconds cannot tell an overload smaller than objective / T (2.5 % for 50 ms in 2 s), so choose
    T to fit ``resolution``. Raises :class:`BadInput` for a ceiling that is not positive.
    """
    if not ceiling > 0:
        raise BadInput(f"the server's throughput is {ceiling:g} requests/s", "is it answering? try a closed loop first")
    search = _Search(measure, objective, progress, Capacity(objective, ceiling))
    met, missed, rate = 0.0, None, ceiling * _FIRST
    while True:
        if search.met(rate):
            met = rate
        else:
            missed = rate
        top = ceiling if missed is None else missed
        if met >= top or spent():
            break
        narrow = top <= met * (1 + resolution) or top <= ceiling * resolution
        if narrow and missed is not None:
            break
        rate = top if narrow else (met + top) / 2
    return search.confirmed(met, missed, resolution, confirm)


@dataclass
class _Search:
    measure: Measure
    objective: Objective
    progress: Callable[[str], None]
    found: Capacity

    def met(self, rate: float) -> bool:
        """The best of three stages: the third is only run where two disagree, the second unless the first is clear."""
        probe = self.stage(rate)
        first = probe.refusal is None
        if first and probe.result.percentile_ms(self.objective.percent) < _CLEAR * self.objective.ms:
            return True
        second = self.stage(rate).refusal is None
        return first if first == second else self.stage(rate).refusal is None

    def stage(self, rate: float) -> Probe:
        result = self.measure(rate, len(self.found.probes))
        refusal = self.objective.refusal(result)
        probe = Probe(rate, result, refusal)
        self.found.probes.append(probe)
        told = refusal or f"p{self.objective.percent:g} {result.percentile_ms(self.objective.percent):.1f} ms, met"
        self.progress(f"load: {rate:,.0f} requests/s: {told}")
        return probe

    def confirmed(self, low: float, high: float | None, resolution: float, confirm: int) -> Capacity:
        found = self.found
        for step in range(_STEPS_DOWN):
            if low <= 0:
                break
            fresh = [self.stage(low) for _ in range(confirm)]
            passed = [probe for probe in fresh if probe.refusal is None]
            if 2 * len(passed) > confirm:
                found.rate = low
                found.at_capacity = StageResult(low)
                for probe in fresh:
                    found.at_capacity.merge(probe.result)
                break
            high, low = low, low * (1 - min(0.5, resolution * 2**step))  # the longer it fails, the larger the step
        found.interval = (self._always_met(), high)
        return found

    def _always_met(self) -> float:
        rates = {probe.rate for probe in self.found.probes if probe.rate <= self.found.rate}
        missed = {probe.rate for probe in self.found.probes if probe.refusal is not None}
        return max((rate for rate in rates if rate not in missed), default=0.0)
