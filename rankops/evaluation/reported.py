"""Metrics that are reported beside the gate's, and how a team adds its own: one function from a ranking to a number.

>>> from rankops.evaluation.reported import Ranking, reported
>>> @reported("first-is-exact", label="first is exact", tasks=("retrieval",))  # doctest: +SKIP
... def first_is_exact(ranking: Ranking) -> float:
...     return float(ranking.grades[:1] == (3,))

Definitions are those of trec_eval and ranx; gates decide by the closed list of :data:`rankops.specs.Metric` only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import polars as pl

from rankops.errors import BadInput
from rankops.evaluation.metrics import Run
from rankops.specs import Task


@dataclass(frozen=True)
class Ranking:
    """One query's results. ``grades`` are those of the results in order (0 where unjudged), ``judged`` all grades."""

    grades: tuple[int, ...]
    judged: tuple[int, ...]
    min_grade: int

    def hits(self, depth: int) -> int:
        """Relevant results among the first ``depth``."""
        return sum(grade >= self.min_grade for grade in self.grades[:depth])

    @property
    def relevant(self) -> int:
        """Relevant products of the query, found or not."""
        return sum(grade >= self.min_grade for grade in self.judged)


Measure = Callable[[Ranking], float]


@dataclass(frozen=True)
class ReportedMetric:
    """A registered metric: 0 to 1 or any finite number, the mean over queries is reported."""

    name: str
    label: str
    tasks: tuple[Task, ...]
    measure: Measure


_REGISTRY: dict[str, ReportedMetric] = {}
_RANKINGS: tuple[Task, ...] = ("retrieval", "ranking")


def reported(name: str, *, label: str, tasks: Sequence[Task]) -> Callable[[Measure], Measure]:
    """Register a metric for some tasks. The same name again replaces it (a module that is loaded twice)."""

    def register(measure: Measure) -> Measure:
        _REGISTRY[name] = ReportedMetric(name, label, tuple(tasks), measure)
        return measure

    return register


def reported_metrics(task: Task) -> list[ReportedMetric]:
    """What is reported for a task, in the order of registration."""
    return [metric for metric in _REGISTRY.values() if task in metric.tasks]


def label_of(name: str) -> str:
    """How people write a metric's name; the name itself where it is not registered here."""
    return _REGISTRY[name].label if name in _REGISTRY else name


def measure_runs(
    runs: Mapping[str, Run], judgements: pl.DataFrame, metrics: Sequence[ReportedMetric], *, min_grade: int
) -> pl.DataFrame:
    """``system``, ``query_id`` and one column a metric, for every judged query, sorted.

    Raises :class:`BadInput` naming the metric that fails, or gives something else than a finite number.
    """
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for query_id, product_id, grade in judgements.select("query_id", "product_id", "grade").iter_rows():
        judged[query_id][product_id] = grade
    rows = []
    for system, run in runs.items():
        for query_id in sorted(judged):
            grades = judged[query_id]
            found = tuple(grades.get(product, 0) for product in run.get(query_id, ()))
            ranking = Ranking(found, tuple(sorted(grades.values(), reverse=True)), min_grade)
            rows.append((system, query_id, *(_measured(metric, ranking) for metric in metrics)))
    names = {metric.name: pl.Float64() for metric in metrics}
    return pl.DataFrame(rows, schema={"system": pl.String(), "query_id": pl.String(), **names}, orient="row")


def _measured(metric: ReportedMetric, ranking: Ranking) -> float:
    try:
        value = float(metric.measure(ranking))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BadInput(
            f"the metric {metric.name!r} fails on a ranking of {len(ranking.grades)} results: {error}",
            "let it answer every ranking, the empty one too",
        ) from error
    if not isfinite(value):
        raise BadInput(f"the metric {metric.name!r} gives {value}", "return a finite number for every ranking")
    return value


@reported("map@100", label="MAP@100", tasks=_RANKINGS)
def average_precision(ranking: Ranking) -> float:
    """Mean of the precision at each relevant result, unfound ones counting 0 (trec_eval's ``map_cut_100``)."""
    hits, total = 0, 0.0
    for rank, grade in enumerate(ranking.grades[:100], 1):
        if grade >= ranking.min_grade:
            hits += 1
            total += hits / rank
    return total / ranking.relevant if ranking.relevant else 0.0


@reported("precision@10", label="Precision@10", tasks=_RANKINGS)
def precision_at_10(ranking: Ranking) -> float:
    """Relevant share of ten places; empty places count as wrong."""
    return ranking.hits(10) / 10


@reported("recall@10", label="Recall@10", tasks=_RANKINGS)
def recall_at_10(ranking: Ranking) -> float:
    """Share of the relevant products among the first ten."""
    return ranking.hits(10) / ranking.relevant if ranking.relevant else 0.0


@reported("hr@10", label="HR@10", tasks=(*_RANKINGS, "recommendation"))
def hit_at_10(ranking: Ranking) -> float:
    """1 where a relevant product is among the first ten."""
    return float(ranking.hits(10) > 0)


@reported("hr@1", label="HR@1", tasks=(*_RANKINGS, "recommendation"))
def hit_at_1(ranking: Ranking) -> float:
    """1 where the first result is relevant."""
    return float(ranking.hits(1) > 0)


@reported("mrr@100", label="MRR@100", tasks=(*_RANKINGS, "recommendation"))
def reciprocal_rank(ranking: Ranking) -> float:
    """1 / rank of the first relevant result among the first hundred."""
    ranks = (rank for rank, grade in enumerate(ranking.grades[:100], 1) if grade >= ranking.min_grade)
    return 1 / next(ranks, float("inf"))
