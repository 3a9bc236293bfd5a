"""Search: which hyper-parameter search a spec and a dataset ask for, and publishing what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact
from rankops.files import digest_of, write_bytes, write_json, write_text
from rankops.specs import HybridSpec, ModelSpec
from rankops.stages.checkpoint import base_model, taught_folder, teacher_of
from rankops.state import LocalState
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.training.search import SearchResult

Progress = Callable[[str], None]
RESULT = "search.json"


@dataclass(frozen=True)
class PlannedSearch:
    """A search that is fully determined; ``key`` is a digest over everything that changes its result."""

    key: str
    job_file: Path


def plan(store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, progress: Progress) -> PlannedSearch:
    """Write the job file of the search into its folder under the state folder.

    The folder goes by everything but the budget: a killed search is continued there, and so is one with a larger
    budget. Every trial starts from the base model. What a retriever fuses its vectors with is left out: the dev metric
    is that of the vectors.
    """
    from rankops.training.job import TrainingJob
    from rankops.training.search import SearchJob

    work, teacher = LocalState.current().root / "work", teacher_of(spec, progress)
    job = TrainingJob(
        task=spec.task,
        spec=spec.training,
        hybrid=HybridSpec(enabled=False),
        recommendation=spec.recommendation,
        ranking=spec.ranking,
        base_model=base_model(spec, progress).path,
        dataset=store.local_path(dataset),
        output=work / "unused",
        work=work / "unused",
        teacher=teacher.path if teacher else None,
        taught=taught_folder(spec),
    )
    subject = SearchJob(search=spec.search, job=job, folder=work).key()
    made = SearchJob(search=spec.search, job=job, folder=work / f"search-{subject[:16]}")
    budget = [spec.search.trials, spec.search.seconds]
    key = digest_of({"model": spec.name, "search": subject, "budget": budget, "code": 1})
    write_text(made.folder / "job.json", made.model_dump_json(indent=2))
    return PlannedSearch(key, made.folder / "job.json")


def publish(
    store: ArtifactStore, spec: ModelSpec, dataset: StoredArtifact, planned: PlannedSearch, found: dict[str, Any]
) -> StoredArtifact:
    """Publish a finished search: its trials as JSON, what to paste, and the pictures."""
    from rankops.training import search_report
    from rankops.training.search import SearchResult

    result = SearchResult.model_validate(found)
    with TemporaryDirectory(prefix="rankops-search-") as scratch:
        folder = Path(scratch)
        write_json(folder / RESULT, result.model_dump(mode="json"))
        write_text(folder / "search.md", f"{search_report.markdown(spec, result)}\n\n{search_report.table(result)}\n")
        for name, draw in pictures(result).items():
            write_bytes(folder / f"{name}.png", draw)
        write_text(folder / "settings.py.txt", search_report.paste(spec, result) + "\n")
        lineage = {"model": spec.name, "dataset": dataset.digest}
        facts = {"best": result.winner.model_dump(mode="json"), "gain": result.gain, "trials": len(result.trials)}
        return store.publish("search", folder, lineage=lineage, facts=facts, input_key=planned.key)


def pictures(result: SearchResult) -> dict[str, bytes]:
    """Name -> PNG."""
    from rankops.training import search_plots

    drawn = {"history": search_plots.history(result), "parallel": search_plots.parallel_coordinates(result)}
    if result.importance:
        drawn["importance"] = search_plots.importance(result)
    return drawn


def read_result(store: ArtifactStore, made: StoredArtifact) -> SearchResult:
    """The trials of a published search."""
    from rankops.training.search import SearchResult

    return SearchResult.model_validate_json((store.local_path(made) / RESULT).read_text())
