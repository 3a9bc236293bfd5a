"""The memory of a search: an Optuna study in a journal file, so that a search killed at any point goes on as if not.

What Optuna leaves open and is settled here:

* a trial that was running when the process died is continued (Optuna would start another and leave it running);
* the sampler's random state is not in the journal: it is seeded for each trial and field, so that what is drawn
  depends on the seed and the finished trials only;
* the journal's own lock outlives a kill for half a minute and a torn last line spoils the next one: a lock of the
  operating system on the folder takes the place of the first, the second is cut off.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput
from rankops.search_spec import Choice, FloatRange, IntRange, Range, SearchSpec, Setting

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial, Trial

_JOURNAL, _LOCK = "journal.log", "lock"
_NAME = "search"
SETTINGS, SECONDS, REASON, BEST_STEP = "settings", "seconds", "reason", "best_step"
_IMPORTANT_FROM = 8
"""Complete trials below which the share of a field in the result is not estimated."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which dies with the process. Raises :class:`BadInput` when another search holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(f"another search is running in {folder}", "wait for it, or stop it") from error
        yield
    finally:
        os.close(descriptor)


def open_study(folder: Path, spec: SearchSpec, *, first_rung: int, last_rung: int) -> Study:
    """The study in ``folder``, made where there is none. ``alone`` must be held.

    ``first_rung`` and ``last_rung`` are the training steps of the first evaluation and of the longest trial.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    held: Any = _Held()
    path = folder / _JOURNAL
    _cut_torn_line(path)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path), lock_obj=held)),
        study_name=_NAME,
        direction="maximize",
        load_if_exists=True,
        pruner=_pruner(spec, first_rung, last_rung),
    )


class _Held:
    """Optuna's protocol of a lock; :func:`alone` holds the real one."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_line(path: Path) -> None:
    """A kill may leave half a line at the end; readers skip it, but the next line would be glued to it."""
    if not path.is_file():
        return
    with path.open("r+b") as handle:
        data = handle.read()
        handle.truncate(data.rfind(b"\n") + 1)


def _pruner(spec: SearchSpec, first_rung: int, last_rung: int) -> BasePruner:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if spec.pruner == "median":
        return MedianPruner(n_startup_trials=spec.startup_trials)
    if spec.pruner == "hyperband":
        return HyperbandPruner(min_resource=first_rung, max_resource=max(last_rung, first_rung), reduction_factor=3)
    return NopPruner()


def next_trial(study: Study, spec: SearchSpec) -> tuple[Trial, bool] | None:
    """The trial that was running when a process died (True), else a new one; None when the budget is spent."""
    from optuna.trial import Trial, TrialState

    trials = study.get_trials(deepcopy=False)
    if running := [trial for trial in trials if trial.state == TrialState.RUNNING]:
        study.sampler = _sampler(spec, running[0].number, 0)
        return Trial(study, running[0]._trial_id), True
    if len(trials) >= spec.trials or spent(trials) >= spec.seconds:
        return None
    study.sampler = _sampler(spec, len(trials), 0)
    return study.ask(), False


def spent(trials: list[FrozenTrial]) -> float:
    """Seconds of all trials together."""
    return sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in trials)


def _sampler(spec: SearchSpec, number: int, place: int) -> Any:
    import numpy as np
    from optuna.samplers import TPESampler

    seed = int(np.random.SeedSequence([spec.seed, number, place]).generate_state(1)[0])
    return TPESampler(n_startup_trials=spec.startup_trials, seed=seed)


def draw(trial: Trial, spec: SearchSpec, space: tuple[Range, ...]) -> dict[str, Setting]:
    """A value for each field; the same again where the process died in between."""
    settings: dict[str, Setting] = {}
    for place, bounds in enumerate(space):
        trial.study.sampler = _sampler(spec, trial.number, place)
        settings[bounds.field] = bounds.value(_suggest(trial, bounds))
    return settings


def fix(trial: Trial, settings: Mapping[str, Setting], space: tuple[Range, ...]) -> None:
    """Make given settings those of a trial, so that later trials learn from it."""
    trial.storage.set_trial_system_attr(trial._trial_id, "fixed_params", dict(settings))
    trial._fixed_params = dict(settings)  # Optuna reads it when it makes the trial: enqueue_trial does both in one
    for bounds in space:
        _suggest(trial, bounds)


def _suggest(trial: Trial, bounds: Range) -> Any:
    if isinstance(bounds, FloatRange):
        return trial.suggest_float(bounds.field, bounds.low, bounds.high, log=bounds.log)
    if isinstance(bounds, IntRange):
        return trial.suggest_int(bounds.field, bounds.low, bounds.high, log=bounds.log)
    assert isinstance(bounds, Choice)  # noqa: S101 (narrows the union)
    return trial.suggest_categorical(bounds.field, bounds.values)


def importance(study: Study) -> dict[str, float]:
    """Share of each field in reaching the best quarter of complete trials; empty with too few trials.

    PED-ANOVA (Watanabe et al., IJCAI 2023): shares add up to 1.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    kept = [trial for trial in study.get_trials(states=(TrialState.COMPLETE,)) if trial.params]
    if len(kept) < _IMPORTANT_FROM or len({trial.value for trial in kept}) < 2:
        return {}
    copy = optuna.create_study(direction="maximize")
    copy.add_trials(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is marked experimental
        found = get_param_importances(copy, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {field: float(share) for field, share in found.items()}
