"""Everything beside the gate's metric, from the same rankings: more metrics, leaks, robustness, fairness, power.

Most of it is reported; two of its findings decide as well: leaked answers close the gate, and so do probes that cost
more than the spec allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from rankops.dataset import Dataset
from rankops.evaluation.bootstrap import Interval, mean_interval
from rankops.evaluation.decision_quality import DecisionQuality
from rankops.evaluation.evaluate import lowest_grade, scorable
from rankops.evaluation.fairness import measure_exposure
from rankops.evaluation.gate import align
from rankops.evaluation.leaks import find_leaks, leak_check
from rankops.evaluation.metrics import Run
from rankops.evaluation.power import GatePower, power
from rankops.evaluation.reported import measure_runs, reported_metrics
from rankops.evaluation.results import Breadth, Evaluation
from rankops.evaluation.robustness import Robustness, measure_probes, probe_checks
from rankops.specs import EvaluationSpec, GateSpec, Task


def broaden(
    evaluation: Evaluation,
    dataset: Dataset,
    runs: Mapping[str, Run],
    *,
    task: Task,
    gates: GateSpec,
    spec: EvaluationSpec,
    probes: pl.DataFrame | None = None,
    unprobed: str = "no probes were asked",
    decisions: DecisionQuality | None = None,
) -> Evaluation:
    """``evaluation`` with its breadth, and with the checks that follow from it joined to the decision.

    ``runs`` are those that were evaluated, with the rankings of ``probes`` (see
    :class:`rankops.evaluation.probes.Probed`) where there are some; ``unprobed`` says why there are none.
    """
    queries, judgements, _ = scorable(dataset, "test", lowest_grade(evaluation.metrics, gates))
    challenger = evaluation.challenger
    robustness = (
        Robustness(probes=[], skipped=unprobed)
        if probes is None
        else measure_probes(runs, probes, queries, judgements, gates, challenger=challenger)
    )
    leaks = find_leaks(dataset)
    reported = _reported(runs, queries, judgements, task, gates)
    breadth = Breadth(
        reported=reported,
        labels={metric.name: metric.label for metric in reported_metrics(task)},
        leaks=leaks,
        robustness=robustness,
        fairness=measure_exposure(dataset, runs, queries, gates, challenger=challenger, new_days=spec.new_days),
        power=_power(evaluation, queries, gates),
        decisions=decisions,
    )
    decision = evaluation.decision.joined_by([leak_check(leaks), *probe_checks(robustness, gates)])
    broader = evaluation.model_copy(update={"breadth": breadth, "decision": decision})
    return broader.with_per_query(evaluation.per_query)


def _reported(
    runs: Mapping[str, Run], queries: pl.DataFrame, judgements: pl.DataFrame, task: Task, gates: GateSpec
) -> dict[str, dict[str, Interval]]:
    metrics = reported_metrics(task)
    if not metrics or all(len(results) <= 1 for run in runs.values() for results in run.values()):
        return {}
    table = measure_runs(runs, judgements, metrics, min_grade=gates.min_grade)
    groups: Sequence[str] = queries.sort("query_id")["group_id"].to_list()
    return {
        system: {
            metric.name: mean_interval(
                table.filter(pl.col("system") == system)[metric.name],
                groups=groups,
                resamples=gates.resamples,
                confidence=gates.confidence,
            )
            for metric in metrics
        }
        for system in runs
    }


def _power(evaluation: Evaluation, queries: pl.DataFrame, gates: GateSpec) -> GatePower | None:
    """The gate's power; before there is a champion, the noise of a retraining is not known."""
    challenger, champion = evaluation.challenger, evaluation.champion
    systems = [challenger, *([champion] if champion else [])]
    scores = align(evaluation.per_query, queries, systems, evaluation.metric)
    return power(gates, scores, reference=champion or challenger, challenger=challenger if champion else None)
