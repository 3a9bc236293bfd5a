"""What is asked of a release whose predictions are written, and the module of each task that writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from rankops.specs import Task

if TYPE_CHECKING:
    from rankops.predict.releases import Resolved

Progress = Callable[[str], None]
QuerySplit = Literal["all", "train", "dev", "test"]


@dataclass(frozen=True)
class Asked:
    """Which part of a dataset, how many results a query, and the last column of a TREC run."""

    split: QuerySplit = "all"
    k: int = 100
    tag: str | None = None

    def tag_of(self, release: Resolved) -> str:
        """The given tag, or model and digest."""
        return self.tag or f"{release.model}-{release.digest[:12]}"


class PredictTask(Protocol):
    """A module of this package: one task's reading of a folder and its form of predictions."""

    def predict(self, release: Resolved, folder: Path, out: Path, asked: Asked, progress: Progress) -> str:
        """Write the predictions to ``out``, all or nothing, and say how many in words. Labels are not read."""
        ...


_MODULES: dict[Task, str] = {
    "retrieval": "rankops.predict.retrieval",
    "ranking": "rankops.predict.ranking",
    "recommendation": "rankops.predict.recommendation",
}


def predict_task(task: Task) -> PredictTask:
    """The module of a task (imported when first asked for)."""
    return cast("PredictTask", import_module(_MODULES[task]))
