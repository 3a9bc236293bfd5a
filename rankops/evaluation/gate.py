"""The gate: whether the evidence lets a model go further. Pure functions from scores to a decision with reasons.

The rule is written in :class:`rankops.specs.GateSpec`; this module computes it and nothing else. Every check says
what was measured, what the bound is and, where it fails, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rankops.errors import BadInput, GateFailed
from rankops.evaluation.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Interval,
    holm,
    interval_of,
    paired_difference,
    resampled_means,
)
from rankops.evaluation.randomization import loss_p_value
from rankops.specs import LABELS, CompressionSpec, GateSpec, Metric

_NAMED = 5  # small slices that a reason lists by name


class GateCheck(BaseModel):
    """One rule of the gate. ``measured`` and ``bound`` are in the metric's unit unless the explanation says else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    measured: float
    bound: float
    interval: Interval | None = None
    explanation: str


class GateDecision(BaseModel):
    """The outcome: ``passed`` is true where every check passed; ``reasons`` are sentences for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reasons: list[str]
    checks: list[GateCheck]

    def require(self, what: str) -> None:
        """Raise :class:`GateFailed` with the failing reasons where the gate is closed."""
        if not self.passed:
            failing = "; ".join(check.explanation for check in self.checks if not check.passed)
            raise GateFailed(f"{what} does not pass the gate: {failing}", "improve the model or add judged queries")

    def joined_by(self, checks: Sequence[GateCheck]) -> GateDecision:
        """This decision and further checks: passed where all of them are; failing reasons come first."""
        failing = [check.explanation for check in checks if not check.passed]
        held = self.reasons if not failing or not self.passed else []
        return GateDecision(
            passed=self.passed and not failing, reasons=[*failing, *held], checks=[*self.checks, *checks]
        )


@dataclass(frozen=True)
class Scores:
    """One metric of every system on the same queries: ``values[system]`` is (n,), in the order of ``queries``."""

    queries: pl.DataFrame
    values: dict[str, NDArray[np.float64]]

    @property
    def groups(self) -> list[str]:
        """The group of near-duplicates of each query."""
        return self.queries["group_id"].to_list()

    def difference(self, a: str, b: str, spec: GateSpec, rows: NDArray[np.bool_] | None = None) -> Interval:
        """The paired interval of ``a - b``, on some rows or on all. Needs two groups of queries or more."""
        keep = np.ones(self.queries.height, dtype=bool) if rows is None else rows
        groups = [group for group, kept in zip(self.groups, keep, strict=True) if kept]
        return paired_difference(
            self.values[a][keep],
            self.values[b][keep],
            groups=groups,
            resamples=spec.resamples,
            confidence=spec.confidence,
        )


def align(per_query: pl.DataFrame, queries: pl.DataFrame, systems: Sequence[str], metric: Metric) -> Scores:
    """The systems' scores on the queries of ``per_query``, sorted by query_id.

    ``per_query`` has system, query_id and the metric; ``queries`` has query_id, group_id, popularity, category.
    Raises :class:`BadInput` naming the system that is missing or was scored on other queries.
    """
    scored = per_query.filter(pl.col("system").is_in(list(systems)))
    ids = scored["query_id"].unique().sort()
    values = {}
    for system in systems:
        own = scored.filter(pl.col("system") == system).sort("query_id")
        if own["query_id"].to_list() != ids.to_list():
            raise BadInput(
                f"system {system!r} is scored on {own.height} queries, the others on {ids.len()}",
                "evaluate every system on the same split; a comparison must be paired",
            )
        values[system] = own[metric].to_numpy()
    known = pl.DataFrame({"query_id": ids}).join(queries, on="query_id", how="inner", maintain_order="left")
    if known.height != ids.len():
        raise BadInput(f"{ids.len() - known.height} scored queries are not in the queries table", "rebuild the dataset")
    return Scores(queries=known, values=values)


def decide(
    spec: GateSpec, per_query: pl.DataFrame, queries: pl.DataFrame, *, challenger: str, champion: str | None
) -> GateDecision:
    """Apply ``spec`` to the scores per query (see :func:`align` for the tables).

    Raises :class:`BadInput` when a floor, the challenger or the champion has no scores: absent evidence is an
    error, not a pass.
    """
    systems = [challenger, *spec.floors, *([champion] if champion else [])]
    scores = align(per_query, queries, systems, spec.metric)
    n, n_groups = scores.queries.height, len(set(scores.groups))
    enough = _enough_queries(spec, n, n_groups)
    if n_groups < 2:
        return GateDecision(passed=False, reasons=[enough.explanation], checks=[enough])
    difference = scores.difference(challenger, champion, spec) if champion else None
    proven = difference is not None and difference.low > 0
    checks = [enough, *(_above_floor(spec, scores, challenger, floor, proven=proven) for floor in spec.floors)]
    notes = []
    if champion is None or difference is None:
        notes.append("No champion is live: this is a first deployment, decided by the floors alone.")
    else:
        checks += [_not_worse(spec, difference, champion), _loss_ruled_out(spec, difference, champion)]
        slice_checks, small = _slices(spec, scores, challenger, champion)
        checks += slice_checks
        if small:
            notes.append(_too_small(spec, small))
    passed = all(check.passed for check in checks)
    failing = [check.explanation for check in checks if not check.passed]
    return GateDecision(passed=passed, reasons=[*(failing or _praise(checks)), *notes], checks=checks)


def decide_compression(
    spec: CompressionSpec,
    fp32: pl.DataFrame,
    compressed: pl.DataFrame,
    *,
    metric: Metric = "ndcg@10",
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> GateDecision:
    """Whether compression costs at most ``spec.quality_budget`` of the fp32 model's mean metric.

    Both tables have query_id and the metric, on the same queries. The measured share decides, not its interval:
    both models are deterministic and the budget is a promise about this very set of queries; the interval (of the
    ratio, resampling queries) says how far the loss could differ on other queries.
    """
    paired = fp32.select("query_id", a=metric).join(compressed.select("query_id", b=metric), on="query_id")
    if not fp32.height == compressed.height == paired.height or paired.is_empty():
        raise BadInput(
            f"fp32 is scored on {fp32.height} queries, compressed on {compressed.height}, {paired.height} in common",
            "evaluate both on the same split",
        )
    values = paired.sort("query_id").select("a", "b").to_numpy()
    before, after = (float(mean) for mean in values.mean(axis=0))
    if before <= 0:
        raise BadInput(f"the fp32 model's {metric} is {before}", "evaluate a model that finds something")
    loss = (before - after) / before
    draws = resampled_means(values, resamples=resamples, seed=seed)
    # A draw in which the fp32 model found nothing has no ratio; it counts as no loss.
    ratios = np.divide(draws[:, 0] - draws[:, 1], draws[:, 0], out=np.zeros(len(draws)), where=draws[:, 0] > 0)
    interval = interval_of(ratios, loss, confidence=confidence, n=len(values), groups=len(values))
    passed = loss <= spec.quality_budget
    text = (
        f"Compression changes {LABELS[metric]} from {before:.4f} to {after:.4f}: it loses {loss:.2%} "
        f"[{interval.low:.2%}, {interval.high:.2%}] of a budget of {spec.quality_budget:.2%}."
    )
    check = GateCheck(
        name="compression-budget",
        passed=passed,
        measured=loss,
        bound=spec.quality_budget,
        interval=interval,
        explanation=text,
    )
    return GateDecision(passed=passed, reasons=[text], checks=[check])


def _enough_queries(spec: GateSpec, n: int, n_groups: int) -> GateCheck:
    passed = n >= spec.min_queries and n_groups >= 2
    remedy = "" if passed else " Judge more queries of the held-out split, or lower min_queries knowing what it means."
    return GateCheck(
        name="enough-queries",
        passed=passed,
        measured=float(n),
        bound=float(spec.min_queries),
        explanation=f"{n} held-out queries in {n_groups} groups; at least {spec.min_queries} queries "
        f"are needed to prove anything.{remedy}",
    )


def _above_floor(spec: GateSpec, scores: Scores, challenger: str, floor: str, *, proven: bool) -> GateCheck:
    """``proven``: the challenger is better than the champion; then a floor blocks only where it is proven better."""
    difference = scores.difference(challenger, floor, spec)
    above, below = difference.low > 0, difference.high < 0
    verdict = "is better than" if above else "is proven worse than" if below else "is not proven better than"
    spared = proven and not above and not below
    told = (
        " It is not proven worse either, and it is better than the champion, which would stay live." if spared else ""
    )
    return GateCheck(
        name=f"above-{floor}",
        passed=above or spared,
        measured=difference.mean,
        bound=0.0,
        interval=difference,
        explanation=f"The challenger {verdict} {floor}: {LABELS[spec.metric]} {describe(difference)}.{told}",
    )


def _not_worse(spec: GateSpec, difference: Interval, champion: str) -> GateCheck:
    passed = not (difference.high < 0 and difference.mean < -spec.margin)
    verdict = "No loss that matters is proven" if passed else "The challenger is proven worse, and it matters,"
    return GateCheck(
        name="not-worse-than-champion",
        passed=passed,
        measured=difference.mean,
        bound=-spec.margin,
        interval=difference,
        explanation=f"{verdict} against {champion}: {LABELS[spec.metric]} {describe(difference)}, "
        f"margin {spec.margin}.",
    )


def _loss_ruled_out(spec: GateSpec, difference: Interval, champion: str) -> GateCheck:
    passed = difference.low > -spec.max_plausible_loss
    verdict = "is ruled out" if passed else "is not ruled out"
    return GateCheck(
        name="large-loss-ruled-out",
        passed=passed,
        measured=difference.low,
        bound=-spec.max_plausible_loss,
        interval=difference,
        explanation=f"A loss of {spec.max_plausible_loss} or more against {champion} {verdict}: {LABELS[spec.metric]} "
        f"{describe(difference)}.{'' if passed else _remedy(spec, difference)}",
    )


def _remedy(spec: GateSpec, difference: Interval) -> str:
    """What to do; where more queries could settle it, how many: if the mean stays, intervals shrink by sqrt(n)."""
    room = spec.max_plausible_loss + difference.mean
    if room <= 0 or difference.high < 0:
        return " It is worse on these queries; improve the model."
    needed = ceil(difference.n * ((difference.mean - difference.low) / room) ** 2)
    return f" About {needed} judged queries would settle it (now {difference.n})."


def _slices(spec: GateSpec, scores: Scores, challenger: str, champion: str) -> tuple[list[GateCheck], list[str]]:
    """A check for each slice that is large enough, and the names of those that are not."""
    tested: list[tuple[str, Interval]] = []
    p_values: list[float] = []
    small: list[str] = []
    lost = scores.values[challenger] - scores.values[champion]
    for name, rows in slices_of(scores.queries, spec.slices):
        groups = [group for group, kept in zip(scores.groups, rows, strict=True) if kept]
        if rows.sum() < spec.min_slice_queries or len(set(groups)) < 2:
            small.append(name)
        else:
            tested.append((name, scores.difference(challenger, champion, spec, rows)))
            p_values.append(loss_p_value(lost[rows], groups))
    adjusted = holm(p_values)
    alpha = (1 - spec.confidence) / 2
    checks = []
    for (name, interval), p_value in zip(tested, adjusted, strict=True):
        passed = not (p_value <= alpha and interval.mean < -spec.slice_margin)
        verdict = "no loss that matters is proven" if passed else "a loss that matters is proven"
        checks.append(
            GateCheck(
                name=f"slice:{name}",
                passed=passed,
                measured=interval.mean,
                bound=-spec.slice_margin,
                interval=interval,
                explanation=f"Slice {name}: {verdict} against {champion}: {LABELS[spec.metric]} {describe(interval)}, "
                f"Holm-adjusted p of a loss {p_value:.3f} (alpha {alpha:.3f}), margin {spec.slice_margin}.",
            )
        )
    return checks, small


def _too_small(spec: GateSpec, small: Sequence[str]) -> str:
    more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
    return f"Slices with too few queries to judge (below {spec.min_slice_queries}): {', '.join(small[:_NAMED])}{more}."


def slices_of(queries: pl.DataFrame, columns: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """``("column=value", rows)`` for each value of the columns, in their order, then by name.

    Columns that the data does not have, and queries without a value, are in no slice.
    """
    found = []
    for column in columns:
        if column in queries.columns:
            labels = queries[column]
            values = labels.drop_nulls().unique().sort()
            found += [(f"{column}={value}", (labels == value).fill_null(False).to_numpy()) for value in values]
    return found


def describe(interval: Interval) -> str:
    """``+0.031 [+0.012, +0.050] (95 %, n=412)``."""
    return (
        f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] ({interval.confidence:.0%}, n={interval.n})"
    )


def _praise(checks: Sequence[GateCheck]) -> list[str]:
    slices = [check for check in checks if check.name.startswith("slice:")]
    told = [check.explanation for check in checks if not check.name.startswith("slice:")]
    return [*told, f"No proven loss in any of {len(slices)} slices."] if slices else told
