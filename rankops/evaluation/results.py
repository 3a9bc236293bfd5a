"""What an evaluation says, as typed JSON. Nothing here computes; see ``evaluate`` and ``gate`` for that."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, PrivateAttr

from rankops.evaluation.bootstrap import Interval
from rankops.evaluation.decision_quality import DecisionQuality
from rankops.evaluation.fairness import Fairness
from rankops.evaluation.gate import GateDecision
from rankops.evaluation.leaks import Leak
from rankops.evaluation.power import GatePower
from rankops.evaluation.robustness import Robustness
from rankops.specs import Metric

Verdict = Literal["better", "not_worse", "worse", "unproven"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SystemScore(_Record):
    """The mean of each metric for one system. ``judged_at_10`` is the share of its top tens that has a judgement."""

    system: str
    metrics: dict[Metric, Interval]
    judged_at_10: float


class Comparison(_Record):
    """``challenger - other`` per query, for one metric.

    ``better``: the interval is above 0. ``worse``: it is below 0 and the mean is below ``-margin``.
    ``not_worse``: it is above ``-margin``. ``unproven``: none of these.
    """

    other: str
    metric: Metric
    difference: Interval
    verdict: Verdict


class Slice(_Record):
    """The gate's metric on part of the queries.

    ``difference`` is None where there are fewer than the gate's ``min_slice_queries`` queries. ``q_value`` is the
    two-sided p-value of the paired randomization test, adjusted by Benjamini and Hochberg over all slices.
    """

    name: str
    n: int
    means: dict[str, float]
    difference: Interval | None
    q_value: float | None = None


class RegressedQuery(_Record):
    """A query that lost against the reference: the scores and the titles of the first results of both."""

    query_id: str
    query: str
    challenger_score: float
    reference_score: float
    challenger_titles: list[str]
    reference_titles: list[str]


class Breadth(_Record):
    """What is known beside the gate's metric.

    ``reported`` are means of further metrics by system and metric name, ``labels`` how people write those names.
    ``power`` is None where no slice is large enough; ``decisions`` is there for tasks that decide.
    """

    reported: dict[str, dict[str, Interval]]
    labels: dict[str, str]
    leaks: list[Leak]
    robustness: Robustness
    fairness: Fairness
    power: GatePower | None
    decisions: DecisionQuality | None = None


class Evaluation(_Record):
    """The evidence about one challenger on one split, and the gate's decision.

    ``reference`` is the champion or, at a first deployment, ``base`` (or the best other system): slices and
    regressed queries compare with it. ``skipped_queries`` were held out but have nothing relevant, so that no
    ranking could score on them.
    """

    challenger: str
    champion: str | None
    reference: str | None
    split: str
    metric: Metric
    n_queries: int
    skipped_queries: int
    systems: list[SystemScore]
    comparisons: list[Comparison]
    slices: list[Slice]
    regressed: list[RegressedQuery]
    decision: GateDecision
    breadth: Breadth | None = None

    _per_query: pl.DataFrame = PrivateAttr(default_factory=pl.DataFrame)

    @property
    def per_query(self) -> pl.DataFrame:
        """system, query_id and the metrics: one row for each system and query."""
        return self._per_query

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the systems were measured by, in the order of the task."""
        return tuple(self.systems[0].metrics) if self.systems else ()

    def with_per_query(self, table: pl.DataFrame) -> Evaluation:
        """Attach the scores per query, which travel beside the JSON as Parquet; returns self."""
        self._per_query = table
        return self

    def system(self, name: str) -> SystemScore:
        """One system's means. Raises :class:`KeyError` with the known names."""
        by_name = {score.system: score for score in self.systems}
        if name not in by_name:
            raise KeyError(f"no system {name!r} in this evaluation; it has {sorted(by_name)}")
        return by_name[name]

    def save(self, folder: Path) -> None:
        """Write evaluation.json, per_query.parquet, report.md and plots as PNG into ``folder``."""
        from rankops.evaluation.storage import save_evaluation

        save_evaluation(self, folder)
