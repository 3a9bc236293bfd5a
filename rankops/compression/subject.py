"""What is compressed, behind one protocol: the ladder asks a subject how its kind of network is run and compared."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from rankops.compression.export import ExportTask
from rankops.compression.parity import Parity
from rankops.specs import ModelSpec, Target, Task

if TYPE_CHECKING:
    from rankops.dataset import Dataset


class Subject(Protocol):
    """One checkpoint and the texts that its rungs are measured on. Models and questions are the subject's own."""

    export_task: ExportTask
    what: str
    batches: tuple[int, ...]

    @property
    def texts(self) -> list[Any]:
        """Texts, or pairs of them, for calibration and the sensitivity scan: none of the held-out queries."""
        ...

    def reference(self) -> Any:
        """The fp32 checkpoint in PyTorch."""
        ...

    def open(self, folder: Path, *, threads: int = 1) -> Any:
        """The artifact in a folder."""
        ...

    def write(self, folder: Path, model: Path, rung: str) -> Path:
        """Fill a folder with the artifact of a rung whose graph is ``model``, and return it."""
        ...

    def outputs(self, model: Any) -> tuple[Any, float]:
        """What a model makes of the sample texts, and how many of them it made a second."""
        ...

    def compare(self, reference: Any, found: Any) -> Parity:
        """How close two such outputs are."""
        ...

    @property
    def questions(self) -> list[Any]:
        """What latency is measured on."""
        ...

    def ask(self, model: Any, question: Any) -> object:
        """Answer one question, alone."""
        ...

    def ask_many(self, model: Any, count: int) -> object:
        """Answer the first ``count`` questions in one call; asked for the sizes in ``batches``."""
        ...


_MODULES: dict[Task, str] = {
    "retrieval": "rankops.compression.biencoder",
    "ranking": "rankops.compression.crossencoder",
}


def subject_of(checkpoint: Path, dataset: Dataset, spec: ModelSpec, target: Target) -> Subject:
    """The subject of a spec's task. Raises :class:`rankops.errors.BadInput` for a folder that is no checkpoint."""
    return cast("Subject", import_module(_MODULES[spec.task]).subject(checkpoint, dataset, spec, target))
