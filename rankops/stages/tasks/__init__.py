"""What differs between retrieval, ranking and recommendation, behind one protocol.

A stage (checkpoint, evaluation, quantized, release) is the same for every task: what it reads, verifies, remembers
and publishes. Where it must know what a model *is*, it asks the :class:`TaskStage` of the model's task. A new task is
one module here, a trainer in ``rankops.training`` and an engine in ``rankops.serving``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from rankops.dataset import Dataset, Split
from rankops.specs import Metric, ModelSpec, Target, Task

if TYPE_CHECKING:
    from rankops.compression.report import CompressionReport
    from rankops.release.manifest import ReleaseFacts, ReleaseManifest

Progress = Callable[[str], None]
Run = dict[str, list[str]]
"""``{query_id: [product_id, ...]}``, best first."""
Runs = dict[str, Run]
"""``{system: run}``."""

CHECKPOINT, ARTIFACT, CHAMPION = "challenger", "quantized", "champion"
"""How the systems under test are called in runs and evidence."""

SEED = 7
"""Of the random floor."""


@dataclass(frozen=True)
class Contenders:
    """Folders of what is compared: the un-tuned base model, the checkpoint, the champion's release (or none).

    ``first_stage`` is the checkpoint of the retriever whose results a ranker reorders, where its spec names one.
    ``champion_judged`` is the artifact that was judged for the champion, where its release learned from the held-out
    days afterwards: what has seen the questions is no rival, so that one answers in its place.
    """

    base: Path
    checkpoint: Path
    champion: Path | None
    first_stage: Path | None = None
    champion_judged: Path | None = None


class TaskStage(Protocol):
    """What a task decides for the stages. Implementations are modules: the functions below at their top level."""

    def metrics(self, spec: ModelSpec) -> tuple[Metric, ...]:
        """What the task is measured by, the most telling first."""
        ...

    def view(self, dataset: Dataset, spec: ModelSpec) -> Dataset:
        """The dataset as this task asks it: its queries, their splits and judgements, made from the same tables."""
        ...

    def rank_systems(self, dataset: Dataset, contenders: Contenders, spec: ModelSpec, progress: Progress) -> Runs:
        """The test split ranked by every floor, ``base`` where there is one, champion and checkpoint."""
        ...

    def rank_artifact(self, artifact: Path, dataset: Dataset, spec: ModelSpec, runs: Runs, progress: Progress) -> Run:
        """The test split ranked by a compressed artifact, as a server would answer.

        ``runs`` are those of :meth:`rank_systems`: a ranker reorders the candidates that they hold.
        """
        ...

    def artifact_digest(self, artifact: Path) -> str:
        """Hex SHA-256 over the files that decide what an artifact answers; the same for every copy of them."""
        ...

    def compress(
        self,
        checkpoint: Path,
        dataset: Dataset,
        spec: ModelSpec,
        target: Target,
        out: Path,
        *,
        refusal: Callable[[Path], str | None],
        progress: Progress,
    ) -> CompressionReport:
        """Write the best artifact of a checkpoint into ``out``.

        ``refusal`` is given the folder of a rung that is inside the quality budget on dev and train queries, and may
        say why it must not win. Raises :class:`rankops.errors.GateFailed` where no rung may.
        """
        ...

    def whole(self, dataset: Dataset, spec: ModelSpec) -> tuple[Dataset, ModelSpec]:
        """The (unviewed) dataset with its held-out part given back to learning, and the spec that learns from it."""
        ...

    def recalibrated(self, checkpoint: Path, dataset: Dataset, spec: ModelSpec, out: Path, progress: Progress) -> bool:
        """Write ``checkpoint`` to ``out`` with only what the dev split decides decided anew on :meth:`whole`.

        False, with nothing written, where :meth:`whole` changes what the model is trained on.
        """
        ...

    def bundle(
        self, out: Path, *, artifact: Path, dataset: Path, spec: ModelSpec, facts: ReleaseFacts, progress: Progress
    ) -> ReleaseManifest:
        """Build the unsigned bundle of a release from an artifact and the (unviewed) dataset folder."""
        ...


_MODULES: dict[Task, str] = {
    "retrieval": "rankops.stages.tasks.retrieval",
    "ranking": "rankops.stages.tasks.ranking",
    "recommendation": "rankops.stages.tasks.recommendation",
}


def task_stage(task: Task) -> TaskStage:
    """The stage functions of a task (imported when first asked for)."""
    return cast("TaskStage", import_module(_MODULES[task]))


def split_queries(dataset: Dataset, split: Split) -> list[tuple[str, str]]:
    """``(query_id, text)`` of one split, sorted by id."""
    return [(row["query_id"], row["query"]) for row in dataset.split(split).iter_rows(named=True)]


def golden_queries(dataset: Dataset, count: int) -> list[str]:
    """Held-out queries, spread evenly over the split, whose answers travel with the release."""
    queries = [text for _, text in split_queries(dataset, "test")]
    return queries[:: max(1, len(queries) // count)][:count]
