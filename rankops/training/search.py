"""Hyper-parameter search: many short trainings, ended early where they lag, remembered so that none is done twice.

A trial is a :class:`TrainingJob` with some fields changed, run by the task's own trainer. It is judged by the dev
metric that also picks the best step; the test split is never read. Killed at any point, a search goes on where it was
(within a trial: from the trial's last evaluation) and ends with the same result. A larger budget continues it too.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rankops.errors import BadInput, RankopsError
from rankops.files import digest_of, write_json
from rankops.search_spec import DEFAULT_SPACES, Range, SearchSpec, Setting, changed, current
from rankops.specs import RankingSpec, RecommendationSpec, TrainingSpec
from rankops.training.job import (
    Progress,
    ShouldStop,
    TrainingEvent,
    TrainingInterrupted,
    TrainingJob,
    TrainingResult,
    never_stop,
)
from rankops.training.search_study import (
    BEST_STEP,
    REASON,
    SECONDS,
    SETTINGS,
    alone,
    draw,
    fix,
    importance,
    next_trial,
    open_study,
)
from rankops.training.tasks import Train, trainer_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

_RESULT = "result.json"
_FACTS = "facts.json"


class SearchJob(BaseModel):
    """One search. ``job`` is the training as the spec has it; its ``output`` and ``work`` are not used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: SearchSpec
    job: TrainingJob
    folder: Path = Field(description="the journal and the running trial; kept, so that a larger budget continues")

    @property
    def space(self) -> tuple[Range, ...]:
        """What is searched."""
        return self.search.space or DEFAULT_SPACES[self.job.task]

    def key(self) -> str:
        """Hex SHA-256 over everything that decides which trials are drawn and how they end, but for the budget."""
        facts = self.search.model_dump(mode="json", exclude={"trials", "seconds", "space"})
        return digest_of({**facts, "space": [b.model_dump(mode="json") for b in self.space], "job": self.job.key()})


class TrialRecord(BaseModel):
    """One trial. ``value`` is the best dev metric (pruned: the last before the end; failed: None)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    best_step: int | None
    settings: dict[str, Setting]
    curve: list[tuple[int, float]] = Field(description="(step, dev metric)")
    seconds: float
    reason: str = ""


class SearchResult(BaseModel):
    """All trials; number 0 is the spec as it stands, and it is the best one unless another is better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: list[TrialRecord]
    best: int
    importance: dict[str, float] = Field(description="field -> share; empty with too few trials")
    stopped_by: Literal["trials", "seconds"]
    metric: str
    dev_queries: int
    before: float = Field(description="dev metric without training")
    inputs: str = Field(description="key of the search")

    @property
    def winner(self) -> TrialRecord:
        """The best trial."""
        return self.trials[self.best]

    @property
    def gain(self) -> float:
        """Dev metric of the best trial above that of the spec as it stands."""
        return float(self.winner.value or 0.0) - float(self.trials[0].value or 0.0)


def search(
    job: SearchJob, progress: Progress, should_stop: ShouldStop = never_stop, *, train: Train | None = None
) -> SearchResult:
    """Run trials until the budget is spent and write ``result.json`` into the job's folder.

    Raises :class:`TrainingInterrupted` once ``should_stop`` says yes (the next run continues), :class:`BadInput` when
    the folder belongs to another search, and whatever the trainer raises for the spec as it stands. A later trial
    whose settings cannot be trained (a loss that is no number, memory) is recorded as failed. ``train`` is the task's
    trainer unless given.
    """
    with alone(job.folder):
        key = job.key()
        _claim(job.folder, key)
        study = open_study(job.folder, job.search, first_rung=job.job.spec.evaluate_every, last_rung=_longest(job))
        _forget_finished(job, study)
        while (found := next_trial(study, job.search)) is not None:
            if should_stop():
                raise TrainingInterrupted("the search was asked to stop", "run it again to continue")
            trial, again = found
            _Trial(job, study, trial, progress, should_stop, train or trainer_of(job.job.task)).run(again=again)
        result = _result(job, study, key)
        write_json(job.folder / _RESULT, result.model_dump(mode="json"))
        return result


def _claim(folder: Path, key: str) -> None:
    path = folder / "key"
    if not path.is_file():
        write_json(path, key)
    elif path.read_text().strip().strip('"') != key:
        raise BadInput(f"{folder} holds another search", "delete it, or give this search a folder of its own")


def _longest(job: SearchJob) -> int:
    steps = [int(end) for bounds in job.space if bounds.field == "training.max_steps" for end in bounds.ends()]
    return max([job.job.spec.max_steps, *steps])


def _forget_finished(job: SearchJob, study: Study) -> None:
    """Remove what a kill left of trials that the journal holds."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            shutil.rmtree(_place(job, trial.number), ignore_errors=True)


def _place(job: SearchJob, number: int) -> Path:
    return job.folder / "trials" / f"{number:04d}"


@dataclass
class _Trial:
    """One trial from its settings to its verdict. Everything is in the journal before the verdict is."""

    job: SearchJob
    study: Study
    trial: Trial
    progress: Progress
    should_stop: ShouldStop
    train: Train
    lagging: bool = False
    before: float = field(init=False)
    started: float = field(init=False)

    def run(self, *, again: bool) -> None:
        """Train (or continue) and tell the study how it ended."""
        number = self.trial.number
        self.started = time.monotonic()
        self.before = float(self.trial.user_attrs.get(SECONDS, 0.0))
        settings = self._settings()
        self.trial.set_user_attr(SETTINGS, settings)
        told = ", ".join(f"{name} {value}" for name, value in settings.items()) or "the spec as it stands"
        self._say(f"continues: {told}" if again else told)
        if (twin := self._twin(settings)) is not None:
            self._copy(twin)
        else:
            self._train(settings)
        shutil.rmtree(_place(self.job, number), ignore_errors=True)

    def _settings(self) -> dict[str, Setting]:
        if self.trial.number:
            return draw(self.trial, self.job.search, self.job.space)
        now = current(_groups(self.job.job), self.job.space)
        if now is None:  # outside of the space: trained as it is, but TPE cannot learn from it
            return {}
        fix(self.trial, now, self.job.space)
        return now

    def _twin(self, settings: dict[str, Setting]) -> FrozenTrial | None:
        """A finished trial with these settings: the same job gives the same curve."""
        if not self.trial.number:
            return None
        return next((t for t in self._finished() if t.user_attrs.get(SETTINGS) == settings), None)

    def _finished(self) -> list[FrozenTrial]:
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished()]

    def _copy(self, twin: FrozenTrial) -> None:
        self.trial.set_user_attr(REASON, f"the settings of trial {twin.number}")
        self.trial.set_user_attr(BEST_STEP, twin.user_attrs.get(BEST_STEP))
        for step, value in sorted(twin.intermediate_values.items()):
            self.trial.report(value, step)
        self._say(f"has the settings of trial {twin.number}, which is not repeated")
        self.study.tell(self.trial, twin.value if twin.state.name == "COMPLETE" else None, state=twin.state)

    def _train(self, settings: dict[str, Setting]) -> None:
        from optuna.trial import TrialState
        from torch import OutOfMemoryError

        self.lagging = self._lags()  # the verdict of an evaluation that a kill came after
        place = _place(self.job, self.trial.number)
        try:
            result = self._outcome(settings, place)
        except TrainingInterrupted:
            if not self.lagging:
                raise
            result = None
        except (RankopsError, OutOfMemoryError) as error:
            if self.trial.number == 0:
                raise
            self._end(None, TrialState.FAIL, str(error))
            return
        if self.lagging:
            self._end(None, TrialState.PRUNED, "lags behind the others")
        elif result is not None:
            self._end(result, TrialState.COMPLETE, "")

    def _outcome(self, settings: dict[str, Setting], place: Path) -> TrainingResult:
        kept = place / _RESULT  # not every trainer knows that it has finished
        if kept.is_file():
            return TrainingResult.model_validate_json(kept.read_text())
        job = _with(self.job.job, settings, place)
        result = self.train(job, self._hear, lambda: self.lagging or self.should_stop())
        if self.trial.number == 0:
            write_json(self.job.folder / _FACTS, _facts(result))
        write_json(kept, result.model_dump(mode="json"))
        return result

    def _hear(self, event: TrainingEvent | str) -> None:
        self._say(str(event))
        if isinstance(event, TrainingEvent) and event.dev is not None:
            self.trial.set_user_attr(SECONDS, self._seconds())
            if event.step not in self._intermediate():
                self.trial.report(event.dev, event.step)
            self.lagging = self.lagging or self._lags()

    def _intermediate(self) -> dict[int, float]:
        return self.trial.storage.get_trial(self.trial._trial_id).intermediate_values

    def _lags(self) -> bool:
        """Never the first: it is what the others are compared with."""
        return self.trial.number > 0 and bool(self._intermediate()) and self.trial.should_prune()

    def _seconds(self) -> float:
        return round(self.before + time.monotonic() - self.started, 1)

    def _end(self, result: TrainingResult | None, state: Any, reason: str) -> None:
        self.trial.set_user_attr(SECONDS, self._seconds())
        self.trial.set_user_attr(REASON, reason)
        if result is not None:
            self.trial.set_user_attr(BEST_STEP, result.best_step)
        value = None if result is None else result.dev_metric_best
        self.study.tell(self.trial, value, state=state)
        self._say(f"{state.name.lower()} {'' if value is None else f'{value:.4f}'} {reason}".strip())

    def _say(self, line: str) -> None:
        self.progress(f"trial {self.trial.number + 1}/{self.job.search.trials}: {line}")


def _groups(job: TrainingJob) -> dict[str, TrainingSpec | RankingSpec | RecommendationSpec]:
    return {"training": job.spec, "ranking": job.ranking, "recommendation": job.recommendation}


def _with(job: TrainingJob, settings: dict[str, Setting], place: Path) -> TrainingJob:
    made = changed(_groups(job), settings)
    update = {"spec": made.pop("training"), **made, "output": place / "checkpoint", "work": place / "work"}
    return job.model_copy(update=update)


def _facts(result: TrainingResult) -> dict[str, Any]:
    return {"metric": result.metric, "dev_queries": result.dev_queries, "before": result.dev_metric_before}


def _result(job: SearchJob, study: Study, key: str) -> SearchResult:
    import json

    trials = study.get_trials(deepcopy=False)
    records = [_record(trial) for trial in trials]
    complete = [record for record in records if record.state == "complete"]
    best = max(complete, key=lambda record: (record.value, -record.number))
    return SearchResult(
        trials=records,
        best=best.number,
        importance=importance(study),
        stopped_by="trials" if len(trials) >= job.search.trials else "seconds",
        inputs=key,
        **json.loads((job.folder / _FACTS).read_text()),
    )


def _record(trial: FrozenTrial) -> TrialRecord:
    states: dict[str, Literal["complete", "pruned", "failed"]] = {"COMPLETE": "complete", "PRUNED": "pruned"}
    state = states.get(trial.state.name, "failed")
    return TrialRecord(
        number=trial.number,
        state=state,
        value=None if state == "failed" or trial.value is None else float(trial.value),
        best_step=trial.user_attrs.get(BEST_STEP),
        settings=trial.user_attrs.get(SETTINGS, {}),
        curve=sorted((int(step), float(value)) for step, value in trial.intermediate_values.items()),
        seconds=float(trial.user_attrs.get(SECONDS, 0.0)),
        reason=str(trial.user_attrs.get(REASON, "")),
    )
