"""What a server's own metrics say: means by stage, batch, cache. From the Prometheus text format."""

from __future__ import annotations

import re
from collections import defaultdict

_LINE = re.compile(r"^(rankops_\w+?)(?:\{([^}]*)\})? ([0-9.eE+-]+|NaN|\+Inf)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def observed(text: str) -> dict[str, float]:
    """``stage_ms.<stage>`` (mean), ``batch_mean``, ``cache_hit_rate``, ``refused``: where it was counted.

    Lines that are no plain sample (exemplars, comments) are left out.
    """
    samples = _samples(text)
    found: dict[str, float] = {}
    for (name, label), total in samples.items():
        if name == "rankops_stage_seconds_sum" and (count := samples.get(("rankops_stage_seconds_count", label), 0.0)):
            found[f"stage_ms.{label}"] = round(1e3 * total / count, 4)
    if batches := samples.get(("rankops_batch_size_count", ""), 0.0):
        found["batch_mean"] = round(samples[("rankops_batch_size_sum", "")] / batches, 3)
    hits, misses = (samples.get((f"rankops_cache_{what}_total", ""), 0.0) for what in ("hits", "misses"))
    if hits + misses:
        found["cache_hit_rate"] = round(hits / (hits + misses), 4)
    found["refused"] = sum(value for (name, _), value in samples.items() if name == "rankops_refused_total")
    return found


def _samples(text: str) -> dict[tuple[str, str], float]:
    """``{(name, value of the label stage or reason): value}``, summed over other labels."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for line in text.splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        labels = dict(_LABEL.findall(match[2] or ""))
        found[match[1], labels.get("stage") or labels.get("reason") or ""] += float(match[3])
    return dict(found)
