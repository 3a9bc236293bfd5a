"""Latencies in bounded memory with a stated precision, after HdrHistogram (Tene, https://hdrhistogram.org)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_BITS = 11  # 2048 sub-buckets: values keep their 11 leading bits
_SUB = 1 << (_BITS - 1)
_LARGEST = 3_600_000_000  # microseconds: an hour
_SLOTS = (_LARGEST.bit_length() - _BITS + 2) * _SUB

PRECISION = 1 / _SUB
"""Largest relative error of a percentile (0.1 %); below 2 ms it is one microsecond."""


class LatencyHistogram:
    """Counts of microseconds, exact below 2,048 and with 11 leading bits above, up to an hour.

    About 190 kB however many values it takes. What is longer than an hour counts as one, and ``clipped`` tells how
    many were.
    """

    __slots__ = ("_counts", "_sum", "clipped", "maximum", "minimum", "n")

    def __init__(self) -> None:
        self._counts = [0] * _SLOTS
        self._sum = 0.0
        self.n = 0
        self.clipped = 0
        self.minimum, self.maximum = float("inf"), 0.0

    def record(self, seconds: float) -> None:
        """Take one latency; a negative one (a clock that was set) counts as 0."""
        value = int(seconds * 1e6) if seconds > 0 else 0
        if value > _LARGEST:
            value = _LARGEST
            self.clipped += 1
        shift = value.bit_length() - _BITS
        self._counts[value if shift <= 0 else shift * _SUB + (value >> shift)] += 1
        self.n += 1
        self._sum += seconds
        self.maximum = max(self.maximum, seconds)
        self.minimum = min(self.minimum, seconds)

    def add(self, other: LatencyHistogram) -> None:
        """Take all values of another one."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
        self._sum += other._sum
        self.n += other.n
        self.clipped += other.clipped
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)

    @property
    def mean(self) -> float:
        """Seconds; NaN without values."""
        return self._sum / self.n if self.n else float("nan")

    def percentile(self, percent: float) -> float:
        """Seconds that ``percent`` of the values do not exceed (upper edge of the bucket); NaN without values."""
        return self.percentiles([percent])[0]

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """The same for several, in one pass."""
        if not self.n:
            return [float("nan")] * len(percents)
        reached = np.cumsum(self._counts)
        wanted = np.maximum(1, np.ceil(np.asarray(percents) / 100 * self.n - 1e-9))
        slots = np.searchsorted(reached, wanted)
        return [min(_upper_edge(int(slot)) / 1e6, self.maximum) for slot in slots]

    def share_above(self, seconds: float) -> float:
        """Share of the values in buckets that lie wholly above ``seconds``; 0 without values."""
        if not self.n:
            return 0.0
        value = int(seconds * 1e6)
        shift = value.bit_length() - _BITS
        slot = value if shift <= 0 else shift * _SUB + (value >> shift)
        return sum(self._counts[slot + 1 :]) / self.n

    def summary_ms(self) -> dict[str, float]:
        """``p50, p95, p99, p99.9, mean, max`` in milliseconds."""
        names = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
        values = dict(zip(names, self.percentiles(list(names.values())), strict=True))
        return {
            name: round(1e3 * value, 3) for name, value in {**values, "mean": self.mean, "max": self.maximum}.items()
        }

    def sparse(self) -> dict[int, int]:
        """``{slot: count}`` of the slots in use, for JSON; see :meth:`from_sparse`."""
        return {slot: count for slot, count in enumerate(self._counts) if count}

    @classmethod
    def from_sparse(cls, slots: Mapping[int, int]) -> LatencyHistogram:
        """A histogram from :meth:`sparse`; mean, minimum and maximum have the buckets' precision then."""
        made = cls()
        for slot, count in slots.items():
            made._counts[slot] += count
            edge = _upper_edge(slot) / 1e6
            made.n += count
            made._sum += count * edge
            made.minimum, made.maximum = min(made.minimum, edge), max(made.maximum, edge)
        return made


def _upper_edge(slot: int) -> int:
    """The largest microseconds that count in a slot."""
    if slot < 2 * _SUB:
        return slot
    shift = slot // _SUB - 1
    return ((slot - shift * _SUB + 1) << shift) - 1
