"""One rule a function: facts in, advice or None out. A rule that cannot see a gain of 3 % is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

from rankops.advice.facts import Advice, Facts, Replay, Variant

LEAST = 0.03
"""Gains below this are noise to people."""
RATE, CPU = "queries/s per core", "CPU of the encoder"
_WORDS = {
    "batch_wait_ms": "batching is idle: let a thread wait {value} ms for a batch to fill",
    "max_search_batch": "let a thread answer up to {value} searches together (now {default})",
    "threads": "serve with {value} threads (now {default})",
}
_SIBLINGS = 2.0  # a rung that lost up to this many budgets of relevance is worth a look
_FULL, _QUIET = 0.8, 0.25


def advise(facts: Facts) -> list[Advice]:
    """All advice, the largest measured gain first, then the largest modelled one."""
    found = [advice for rule in RULES for advice in rule(facts)]
    return sorted(found, key=lambda a: (a.basis != "measured", -(a.gain or 0.0)))


def proven(variant: Variant) -> bool:
    """Whether a changed setting is better beyond doubt, and by enough to speak of."""
    return variant.interval[0] > 0 and variant.gain >= LEAST and variant.meets_objective


def settings(facts: Facts) -> Iterator[Advice]:
    """The best measured value of each setting that was varied: its whole interval must lie above the least gain."""
    best: dict[str, Variant] = {}
    for variant in facts.variants:
        if proven(variant) and (variant.setting not in best or variant.gain > best[variant.setting].gain):
            best[variant.setting] = variant
    for setting, variant in best.items():
        words = _WORDS.get(setting, f"set {setting} to {{value}} (now {{default}})")
        yield Advice(
            what=words.format(value=variant.value, default=variant.default),
            gain=variant.gain,
            interval=variant.interval,
            of=RATE,
            basis="measured",
            how=f"load test with {setting} {variant.value} against {variant.default}, {variant.rounds} rounds: "
            f"p99 {variant.p99_ms:.1f} ms against {variant.default_p99_ms:.1f} ms",
            setting=f"{setting}={variant.value}",
        )


def cache(facts: Facts) -> Iterator[Advice]:
    """A larger (or any) result cache, by the hit rate of recorded searches: a hit costs next to nothing, so the rate of
    a core grows to 1 / (1 - hit rate) of what it is without a cache."""
    if facts.cache_entries is None or not facts.replays:
        return
    now = _hit_rate(facts.replays, facts.cache_entries)
    best = max(facts.replays, key=lambda replay: (round(replay.hit_rate, 3), -replay.entries))
    gain = (1 - now) / (1 - min(best.hit_rate, 0.99)) - 1
    if best.entries <= facts.cache_entries or gain < LEAST:
        return
    yield Advice(
        what=f"keep {best.entries:,} answers in the result cache (now {facts.cache_entries:,})",
        gain=gain,
        of=RATE,
        basis="model",
        how=f"{best.searches:,} recorded searches in order: {best.hit_rate:.0%} hits instead of {now:.0%}; "
        "a core carries 1 / (1 - hits)",
        setting=f"cache_entries={best.entries}",
    )


def rungs(facts: Facts) -> Iterator[Advice]:
    """A faster rung that lost for little more relevance than the budget allows (Amdahl on the encoder's share)."""
    won = next((rung for rung in facts.rungs if rung.get("verdict") == "won"), None)
    if won is None or facts.quality_budget is None or not won.get("p50_ms"):
        return
    near = [
        rung
        for rung in facts.rungs
        if rung.get("verdict") != "won"
        and rung.get("p50_ms")
        and rung.get("loss_share") is not None
        and facts.quality_budget < rung["loss_share"] <= _SIBLINGS * facts.quality_budget
        and rung["p50_ms"] < won["p50_ms"] * (1 - LEAST)
    ]
    if not near:
        return
    rung = min(near, key=lambda row: row["p50_ms"])
    share = _share(facts, "encode")
    saved = 1 - rung["p50_ms"] / won["p50_ms"]
    gain = 1 / (1 - share * saved) - 1
    if gain < LEAST:
        return
    yield Advice(
        what=f"tune on more data, then try {rung['name']} again: it is faster and lost {rung['loss_share']:.1%} of the "
        f"relevance (budget {facts.quality_budget:.1%})",
        gain=gain,
        of=RATE,
        basis="model",
        how=f"p50 {rung['p50_ms']:.2f} ms against {won['p50_ms']:.2f} ms a query, encoding is {share:.0%} of the "
        "work of a request (Amdahl)",
    )


def index(facts: Facts) -> Iterator[Advice]:
    """A faster index of the table of measured ones, where searching it is a large share of a request's work."""
    share = _share(facts, "search", otherwise=0.0)
    if len(facts.index) < 2 or not share:
        return
    used, *others = facts.index
    good = [row for row in others if row["recall"] >= 0.99 and row["search_ms"] < used["search_ms"]]
    if not good:
        return
    fastest = min(good, key=lambda row: row["search_ms"])
    gain = 1 / (1 - share * (1 - fastest["search_ms"] / used["search_ms"])) - 1
    if gain >= LEAST:
        yield Advice(
            what=f"search with {fastest['name']} instead of {used['name']}",
            gain=gain,
            of=RATE,
            basis="model",
            how=f"{fastest['search_ms']:.2f} ms against {used['search_ms']:.2f} ms at recall "
            f"{fastest['recall']:.3f}; the index is {share:.0%} of a request's work (Amdahl)",
        )


def idle_cores(facts: Facts) -> Iterator[Advice]:
    """The objective was missed with the server's cores not full: threads (or a lock) are what requests wait for."""
    capacity = facts.capacity
    if capacity is None or not capacity.measured or capacity.cores_used is None:
        return
    used = capacity.cores_used / capacity.cores
    quiet = capacity.others_cores is not None and capacity.others_cores < _QUIET
    if used >= _FULL or not quiet or capacity.interval is None or capacity.interval[1] is None:
        return
    yield Advice(
        what="requests wait while cores are idle: raise threads, or look for what they wait for",
        gain=_FULL / used - 1,
        of=RATE,
        basis="model",
        how=f"{used:.0%} of {capacity.cores} core(s) busy at the largest rate that met the objective; "
        f"{_FULL:.0%} is usual for one queue",
        setting="threads",
    )


def memory(facts: Facts) -> Iterator[Advice]:
    """The pod's memory request against what was measured: too much is paid for, too little is killed."""
    capacity = facts.capacity
    if capacity is None or capacity.memory_peak_mb is None or facts.memory_mib is None:
        return
    needed = ceil(1.25 * capacity.memory_peak_mb * 1e6 / 2**20 / 64) * 64
    peak = f"the measured peak of {capacity.memory_peak_mb:.0f} MB"
    how = f"1.25 times {peak} is {needed}Mi; {facts.memory_mib:.0f}Mi are asked for"
    if facts.memory_mib < needed:
        yield Advice(f"ask for {needed}Mi of memory: the pod may be killed", None, "memory", "measured", how)
    elif facts.memory_mib > 1.5 * needed:
        gain = 1 - needed / facts.memory_mib
        yield Advice(
            f"ask for {needed}Mi of memory instead of {facts.memory_mib:.0f}Mi", gain, "memory", "measured", how
        )


RULES: tuple[Callable[[Facts], Iterator[Advice]], ...] = (settings, cache, rungs, index, idle_cores, memory)


def _hit_rate(replays: tuple[Replay, ...], entries: int) -> float:
    """Of the largest replayed cache that is not larger than ``entries``; 0 for none."""
    fitting = [replay for replay in replays if replay.entries <= entries]
    return max(fitting, key=lambda replay: replay.entries).hit_rate if fitting else 0.0


def _share(facts: Facts, stage: str, otherwise: float = 1.0) -> float:
    """Share of one stage in the work of a request (queue left out), from the server's own histograms."""
    names = ("parse", "encode", "search", "lexical", "rerank", "serialize")
    taken = {name: facts.stage_ms(name) or 0.0 for name in names}
    total = sum(taken.values())
    return taken[stage] / total if total else otherwise
