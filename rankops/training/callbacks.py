"""What happens between the steps of a run: progress lines, a last evaluation, a clean stop, a guard against NaN.

Importing this module imports transformers: the trainers of each task do so inside their functions.
"""

from __future__ import annotations

import math
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rankops.errors import RankopsError
from rankops.training.job import Progress, ShouldStop, TrainingEvent
from rankops.training.ranks import Ranks
from rankops.training.trainer import METRIC

_EVERY_S = 5.0


class Between(TrainerCallback):
    """One callback for one run; ``interrupted`` says afterwards whether ``should_stop`` ended it."""

    def __init__(self, progress: Progress, should_stop: ShouldStop, metric: str) -> None:
        self._progress = progress
        self._metric = metric
        self._should_stop = should_stop
        self._started = (time.monotonic(), 0)
        self._spoke = 0.0
        self._loss: float | None = None
        self.interrupted = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock at the step where this process starts."""
        self._started = (time.monotonic(), state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Evaluate the last step too; when asked to stop, save here and end."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True
        elif Ranks.current().any(self._should_stop()):
            self.interrupted = True
            control.should_save = control.should_training_stop = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report the loss now and then; end the run when it is not a number."""
        if logs is None or "loss" not in logs:
            return
        self._loss = float(logs["loss"])
        if not math.isfinite(self._loss):
            raise RankopsError(
                f"the loss is {self._loss} after step {state.global_step}",
                "lower training.learning_rate, or train in fp32",
            )
        if time.monotonic() - self._spoke >= _EVERY_S:
            self._speak(state, None)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report every evaluation."""
        self._speak(state, (metrics or {})[METRIC])

    def _speak(self, state: TrainerState, dev: float | None) -> None:
        self._spoke = time.monotonic()
        began, first = self._started
        speed = max(state.global_step - first, 1) / max(self._spoke - began, 1e-6)
        self._progress(
            TrainingEvent(
                step=state.global_step,
                max_steps=state.max_steps,
                loss=self._loss,
                dev=dev,
                metric=self._metric,
                steps_per_second=speed,
                eta_seconds=(state.max_steps - state.global_step) / speed,
            )
        )
