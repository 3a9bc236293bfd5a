"""Which trainer fine-tunes a model of which task."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from rankops.specs import Task
from rankops.training.job import Progress, ShouldStop, TrainingJob, TrainingResult

Train = Callable[[TrainingJob, Progress, ShouldStop], TrainingResult]

_MODULES: dict[Task, str] = {
    "retrieval": "rankops.training.biencoder",
    "ranking": "rankops.training.crossencoder",
    "recommendation": "rankops.training.next_item",
}


def trainer_of(task: Task) -> Train:
    """The ``train`` function of a task (imported when first asked for)."""
    return cast("Train", import_module(_MODULES[task]).train)
