"""A trainer that learns nothing but answers at once, and the tiny world of the training tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from rankops.errors import RankopsError
from rankops.search_spec import Choice, FloatRange, SearchSpec
from rankops.specs import HybridSpec
from rankops.training.job import (
    Progress,
    ShouldStop,
    TrainingEvent,
    TrainingInterrupted,
    TrainingJob,
    TrainingResult,
)
from rankops.training.search import SearchJob, SearchResult
from tests.training.conftest import SPEC, tiny_dataset, tiny_model  # noqa: F401 (fixtures)

SPACE = (
    FloatRange(field="training.learning_rate", low=1e-5, high=1e-2, log=True),
    Choice(field="training.batch_size", values=(4, 8)),
)


def curve(job: TrainingJob) -> list[tuple[int, float]]:
    """Best at a learning rate of 1e-3; better the longer it trains; the larger batch is better."""
    far = abs(math.log10(job.spec.learning_rate) + 3)
    top = 0.9 - 0.2 * far + 0.01 * job.spec.batch_size
    steps = range(job.spec.evaluate_every, job.spec.max_steps + 1, job.spec.evaluate_every)
    return [(step, top * step / (step + 2)) for step in steps]


class Trainer:
    """The trainers' common interface; counts the trainings and the evaluations that it was asked for."""

    def __init__(self, breaks: Callable[[TrainingJob], bool] = lambda job: False) -> None:
        self.jobs: list[TrainingJob] = []
        self.evaluations = 0
        self._breaks = breaks

    def __call__(self, job: TrainingJob, progress: Progress, should_stop: ShouldStop) -> TrainingResult:
        self.jobs.append(job)
        if should_stop():
            raise TrainingInterrupted("asked to stop", "again")
        if self._breaks(job):
            raise RankopsError("the loss is nan after step 1", "lower the learning rate")
        points = curve(job)
        for step, value in points:
            self.evaluations += 1
            progress(TrainingEvent(step=step, max_steps=job.spec.max_steps, dev=value))
            if step < job.spec.max_steps and should_stop():
                raise TrainingInterrupted("asked to stop", "again")
        best_step, best = max(points, key=lambda point: point[1])
        return TrainingResult(
            steps=job.spec.max_steps,
            stopped_early=False,
            best_step=best_step,
            dev_metric_before=0.2,
            dev_metric_best=best,
            losses=[],
            dev_curve=points,
            seconds=0.0,
            pairs=1,
            seed=1,
            parameters=1,
            trained_parameters=1,
            dev_queries=40,
            dev_products=10,
            inputs="0",
            spec=job.spec,
        )


def facts(result: SearchResult) -> dict[str, object]:
    """The result without what the clock says."""
    shown = result.model_dump(mode="json")
    for trial in shown["trials"]:
        del trial["seconds"]
    return shown


@pytest.fixture
def make_search(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> Callable[..., SearchJob]:  # noqa: F811
    """A search in ``tmp_path/name`` with fields of its spec changed."""

    def make(name: str = "search", **changes: object) -> SearchJob:
        job = TrainingJob(
            spec=SPEC.model_copy(update={"learning_rate": 1e-4}),
            hybrid=HybridSpec(enabled=False),
            base_model=tiny_model,
            dataset=tiny_dataset,
            output=tmp_path / "unused",
            work=tmp_path / "unused",
            threads=1,
        )
        spec = SearchSpec(**{"space": SPACE, "trials": 10, "startup_trials": 3, **changes})
        return SearchJob(search=spec, job=job, folder=tmp_path / name)

    return make
