"""What it costs a system to be asked in other words: the difference of the metric on the same queries."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from pydantic import BaseModel, ConfigDict

from rankops.evaluation.bootstrap import Interval, paired_difference
from rankops.evaluation.gate import GateCheck
from rankops.evaluation.metrics import Run, per_query
from rankops.specs import LABELS, GateSpec

_FEWEST = 5  # probes of a kind that can be averaged
_EXAMPLES = 3


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeExample(_Record):
    """A query that lost by being asked in other words."""

    query: str
    asked: str
    before: float
    after: float


class ProbeResult(_Record):
    """One kind of probe. ``drop`` is before minus after, paired by query; ``others`` the mean drop of each system."""

    probe: str
    n: int
    before: float
    after: float
    drop: Interval
    others: dict[str, float]
    worst: list[ProbeExample]


class Robustness(_Record):
    """Every kind of probe, the largest drop first; ``skipped`` says why there is none."""

    probes: list[ProbeResult]
    skipped: str | None = None


def measure_probes(
    runs: Mapping[str, Run],
    table: pl.DataFrame,
    queries: pl.DataFrame,
    judgements: pl.DataFrame,
    spec: GateSpec,
    *,
    challenger: str,
) -> Robustness:
    """The drops of each system that ranked the probes of ``table`` (see :class:`rankops.evaluation.probes.Probed`)."""
    answered = {system: run for system, run in runs.items() if any(probe in run for probe in table["probe_id"])}
    if challenger not in answered:
        return Robustness(probes=[], skipped="the probes were not ranked")
    found = []
    for kind in table["probe"].unique(maintain_order=True):
        asked = table.filter(pl.col("probe") == kind).join(
            queries.select("query_id", "query", "group_id"), on="query_id"
        )
        if asked["group_id"].n_unique() >= _FEWEST:
            found.append(_measured(kind, asked.sort("query_id"), answered, judgements, spec, challenger))
    skipped = None if found else "no kind of probe suits enough queries"
    return Robustness(probes=sorted(found, key=lambda result: -result.drop.mean), skipped=skipped)


def probe_checks(robustness: Robustness, spec: GateSpec) -> list[GateCheck]:
    """A check for each kind of probe where the spec sets ``max_probe_drop``.

    The measured mean decides: it is a promise about these very probes. Where the probes could not be asked, the
    promise is not kept: absent evidence is no pass.
    """
    bound = spec.max_probe_drop
    if bound is None:
        return []
    if robustness.skipped is not None:
        reason = f"Robustness was asked for (max_probe_drop {bound:g}), but {robustness.skipped}."
        return [GateCheck(name="robustness", passed=False, measured=0.0, bound=bound, explanation=reason)]
    checks = []
    for result in robustness.probes:
        passed = result.drop.mean <= bound
        text = (
            f"Asked with {result.probe} probes the challenger loses {LABELS[spec.metric]} {result.drop.mean:.4f} "
            f"[{result.drop.low:.4f}, {result.drop.high:.4f}] on {result.n} queries; {bound:g} may be lost."
        )
        checks.append(
            GateCheck(
                name=f"robustness:{result.probe}",
                passed=passed,
                measured=result.drop.mean,
                bound=bound,
                interval=result.drop,
                explanation=text,
            )
        )
    return checks


def _measured(
    kind: str,
    asked: pl.DataFrame,
    runs: Mapping[str, Run],
    judgements: pl.DataFrame,
    spec: GateSpec,
    challenger: str,
) -> ProbeResult:
    known = judgements.join(asked.select("query_id"), on="query_id", how="semi")
    drops = {system: _before_after(run, asked, known, spec) for system, run in runs.items()}
    before, after = drops[challenger]["before"], drops[challenger]["after"]
    groups = asked["group_id"].to_list()
    drop = paired_difference(before, after, groups=groups, resamples=spec.resamples, confidence=spec.confidence)
    losses = asked.with_columns(before, after).filter(pl.col("before") > pl.col("after"))
    worst = losses.sort(pl.col("after") - pl.col("before"), "query_id").head(_EXAMPLES)
    return ProbeResult(
        probe=kind,
        n=asked.height,
        before=float(before.to_numpy().mean()),
        after=float(after.to_numpy().mean()),
        drop=drop,
        others={s: float((t["before"] - t["after"]).to_numpy().mean()) for s, t in drops.items() if s != challenger},
        worst=[
            ProbeExample(query=row["query"], asked=row["text"], before=row["before"], after=row["after"])
            for row in worst.iter_rows(named=True)
        ],
    )


def _before_after(run: Run, asked: pl.DataFrame, judgements: pl.DataFrame, spec: GateSpec) -> pl.DataFrame:
    """``before`` and ``after`` of one system, in the order of ``asked`` (sorted by query_id)."""
    pairs = list(asked.select("query_id", "probe_id").iter_rows())
    answers = {"before": {q: run.get(q, ()) for q, _ in pairs}, "after": {q: run.get(p, ()) for q, p in pairs}}
    columns = {
        name: per_query(ranked, judgements, min_grade=spec.min_grade)[spec.metric] for name, ranked in answers.items()
    }
    return pl.DataFrame(columns)
