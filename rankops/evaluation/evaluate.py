"""From rankings to evidence: score every system on the held-out queries, compare, slice, and ask the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from rankops.dataset import Dataset, Split
from rankops.errors import BadInput
from rankops.evaluation.bootstrap import Interval, mean_interval
from rankops.evaluation.gate import Scores, align, decide, slices_of
from rankops.evaluation.metrics import METRICS, Run, judged_at, per_query
from rankops.evaluation.randomization import benjamini_hochberg, loss_p_value, two_sided
from rankops.evaluation.results import Comparison, Evaluation, RegressedQuery, Slice, SystemScore, Verdict
from rankops.evaluation.slices import Slicer, with_slices
from rankops.specs import GateSpec, Metric

WORST_QUERIES = 10
SHOWN_TITLES = 3


def evaluate(
    dataset: Dataset,
    runs: Mapping[str, Run],
    *,
    challenger: str,
    champion: str | None,
    spec: GateSpec,
    split: Split = "test",
    metrics: Sequence[Metric] = METRICS,
    slicers: Mapping[str, Slicer] | None = None,
) -> Evaluation:
    """Score ``runs`` (``{system: run}``) on a split and decide whether ``challenger`` may go further.

    ``metrics`` are those that suit the task; the spec's must be one of them. Only queries with a product of grade
    ``spec.min_grade`` or more count, the same ones for every system and metric; the others are counted in
    ``skipped_queries`` (with ``f1``, saying no is an answer too: every judged query counts). ``slicers`` adds
    dimensions to those of :mod:`rankops.evaluation.slices`. Raises
    :class:`BadInput` when a floor of the spec, the challenger or the champion has no run, when the gate's metric is
    none of the task's, or when no query of the split can be scored.
    """
    _require_runs(runs, challenger, champion, spec)
    if spec.metric not in metrics:
        raise BadInput(f"the gate's metric {spec.metric} does not suit the task", f"use one of {', '.join(metrics)}")
    lowest = lowest_grade(metrics, spec)
    queries, judgements, skipped = scorable(dataset, split, lowest)
    queries, dimensions = with_slices(dataset, queries, more=slicers)
    table = score(runs, judgements, min_grade=spec.min_grade)
    scores = {metric: align(table, queries, list(runs), metric) for metric in metrics}
    gated = scores[spec.metric]
    reference = _reference(gated, challenger, champion)
    evaluation = Evaluation(
        challenger=challenger,
        champion=champion,
        reference=reference,
        split=split,
        metric=spec.metric,
        n_queries=queries.height,
        skipped_queries=skipped,
        systems=_systems(runs, judgements, scores, spec),
        comparisons=_comparisons(runs, scores, spec, challenger),
        slices=_slices(gated, dimensions, spec, challenger, reference),
        regressed=_regressed(dataset, runs, gated, challenger, reference),
        decision=decide(spec, table, queries, challenger=challenger, champion=champion),
    )
    return evaluation.with_per_query(table)


def score(runs: Mapping[str, Run], judgements: pl.DataFrame, *, min_grade: int) -> pl.DataFrame:
    """The per-query table of many systems: system, query_id and every metric."""
    parts = [
        per_query(run, judgements, min_grade=min_grade).select(pl.lit(system).alias("system"), pl.all())
        for system, run in runs.items()
    ]
    return pl.concat(parts)


def verdict(difference: Interval, margin: float) -> Verdict:
    """What an interval of ``challenger - other`` proves; see :class:`Comparison`."""
    if difference.low > 0:
        return "better"
    if difference.high < 0 and difference.mean < -margin:
        return "worse"
    return "not_worse" if difference.low > -margin else "unproven"


def _require_runs(runs: Mapping[str, Run], challenger: str, champion: str | None, spec: GateSpec) -> None:
    needed = {challenger, *spec.floors, *([champion] if champion else [])}
    if missing := sorted(needed - set(runs)):
        raise BadInput(f"no run of {', '.join(missing)} to evaluate", "rank the split with every system of the gate")
    if challenger == champion:
        raise BadInput(f"challenger and champion are both {challenger!r}", "give the two runs different names")


def lowest_grade(metrics: Sequence[Metric], spec: GateSpec) -> int:
    """The grade that a query needs to be scored: any where saying no is an answer."""
    return 0 if "f1" in metrics else spec.min_grade


def scorable(dataset: Dataset, split: Split, min_grade: int) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The split's queries that have something relevant, their judgements, and how many others there are."""
    held_out = dataset.split(split)
    relevant = dataset.judgements.filter(pl.col("grade") >= min_grade)
    queries = held_out.join(relevant, on="query_id", how="semi", maintain_order="left")
    if queries.is_empty():
        raise BadInput(
            f"none of the {held_out.height} {split} queries has a product of grade {min_grade} or more",
            "judge some queries of this split, or lower min_grade in the gate",
        )
    judgements = dataset.judgements.join(queries, on="query_id", how="semi")
    return queries, judgements, held_out.height - queries.height


def _reference(scores: Scores, challenger: str, champion: str | None) -> str | None:
    """What slices and regressed queries are compared with: champion, base model, or the best of the others."""
    if champion is not None:
        return champion
    others = {system: float(values.mean()) for system, values in scores.values.items() if system != challenger}
    return "base" if "base" in others else max(others, key=lambda system: others[system], default=None)


def _systems(
    runs: Mapping[str, Run], judgements: pl.DataFrame, scores: Mapping[Metric, Scores], spec: GateSpec
) -> list[SystemScore]:
    return [
        SystemScore(
            system=system,
            metrics={
                metric: mean_interval(
                    table.values[system], groups=table.groups, resamples=spec.resamples, confidence=spec.confidence
                )
                for metric, table in scores.items()
            },
            judged_at_10=judged_at(run, judgements),
        )
        for system, run in runs.items()
    ]


def _comparisons(
    runs: Mapping[str, Run], scores: Mapping[Metric, Scores], spec: GateSpec, challenger: str
) -> list[Comparison]:
    found = []
    for other in runs:
        if other == challenger:
            continue
        for metric, table in scores.items():
            difference = table.difference(challenger, other, spec)
            found.append(
                Comparison(other=other, metric=metric, difference=difference, verdict=verdict(difference, spec.margin))
            )
    return found


def _slices(
    scores: Scores, dimensions: Sequence[str], spec: GateSpec, challenger: str, reference: str | None
) -> list[Slice]:
    found, compared, p_values = [], [], []
    for name, rows in slices_of(scores.queries, dimensions):
        groups = [group for group, kept in zip(scores.groups, rows, strict=True) if kept]
        means = {system: float(values[rows].mean()) for system, values in scores.values.items()}
        part = Slice(name=name, n=int(rows.sum()), means=means, difference=None)
        if reference is not None and rows.sum() >= spec.min_slice_queries and len(set(groups)) >= 2:
            part.difference = scores.difference(challenger, reference, spec, rows)
            change = (scores.values[challenger] - scores.values[reference])[rows]
            compared.append(part)
            p_values.append(two_sided(loss_p_value(change, groups), loss_p_value(-change, groups)))
        found.append(part)
    for part, q_value in zip(compared, benjamini_hochberg(p_values), strict=True):
        part.q_value = q_value
    return found


def _question(query: str, titles: Mapping[str, str]) -> str:
    """The query, or the titles of the basket that it is: nobody knows products by their ids."""
    words = query.split()
    return " + ".join(titles[word] for word in words) if words and all(word in titles for word in words) else query


def _regressed(
    dataset: Dataset, runs: Mapping[str, Run], scores: Scores, challenger: str, reference: str | None
) -> list[RegressedQuery]:
    """The queries that lost most against the reference, worst first."""
    if reference is None:
        return []
    titles: dict[str, str] = dict(dataset.catalogue.select("product_id", "title").iter_rows())

    def shown(system: str, query_id: str) -> list[str]:
        return [str(titles.get(p, p)) for p in runs[system].get(query_id, [])[:SHOWN_TITLES]]

    table = scores.queries.select(
        "query_id", "query", challenger=scores.values[challenger], reference=scores.values[reference]
    )
    lost = table.filter(pl.col("challenger") < pl.col("reference"))
    worst = lost.sort(pl.col("challenger") - pl.col("reference"), "query_id").head(WORST_QUERIES)
    return [
        RegressedQuery(
            query_id=row["query_id"],
            query=_question(row["query"], titles),
            challenger_score=row["challenger"],
            reference_score=row["reference"],
            challenger_titles=shown(challenger, row["query_id"]),
            reference_titles=shown(reference, row["query_id"]),
        )
        for row in worst.iter_rows(named=True)
    ]
