"""Evaluation of a checkpoint against floors and champion, and of the artifact that compression made of it.

Both are judged on the test split by the same gate. The runs of every system are kept, so that the artifact is
compared with exactly the rankings that the checkpoint was compared with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.artifacts import StoredArtifact, require_match
from rankops.dataset import Dataset, load_dataset
from rankops.errors import BadInput
from rankops.files import canonical_json, digest_of, write_text
from rankops.specs import ModelSpec
from rankops.stages import breadth
from rankops.stages.fetched import fetched
from rankops.stages.tasks import ARTIFACT, CHAMPION, CHECKPOINT, Contenders, Run, Runs, task_stage
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    from rankops.evaluation.decision_quality import DecisionQuality
    from rankops.evaluation.gate import GateDecision
    from rankops.evaluation.results import Evaluation
    from rankops.release.manifest import JudgedRef

Progress = Callable[[str], None]
_RUNS = "runs.json"


@dataclass(frozen=True)
class Champion:
    """The release that is live: its digest, the checkpoint that it holds, and its verified bundle.

    ``judged`` is the model that its evidence is about, where the release then learned from the held-out days.
    """

    release: str
    checkpoint: str
    folder: Path
    judged: JudgedRef | None = None

    def is_of(self, checkpoint: str) -> bool:
        """Whether a checkpoint made this release: it is shipped in it, or was judged for it."""
        return checkpoint == self.checkpoint or (self.judged is not None and checkpoint == self.judged.checkpoint)


def evaluate_checkpoint(
    dataset: Dataset, contenders: Contenders, spec: ModelSpec, out: Path, progress: Progress
) -> Evaluation:
    """Rank the test split with every system, decide, and write evidence and runs into ``out``."""
    stage = task_stage(spec.task)
    seen = stage.view(dataset, spec)
    asked = breadth.asked(seen, spec)
    runs = stage.rank_systems(asked.dataset, contenders, spec, progress)
    champion = CHAMPION if contenders.champion else None
    evaluation = _evaluate(seen, runs, CHECKPOINT, champion, spec, asked, progress)
    evaluation.save(out)
    save_runs(runs, out)
    return evaluation


def _evaluate(
    seen: Dataset,
    runs: Runs,
    challenger: str,
    champion: str | None,
    spec: ModelSpec,
    asked: breadth.Asked,
    progress: Progress,
    decisions: DecisionQuality | None = None,
) -> Evaluation:
    """The gate's metric and decision, and all that is reported beside it."""
    from rankops.evaluation.breadth import broaden
    from rankops.evaluation.evaluate import evaluate

    metrics, slicers = task_stage(spec.task).metrics(spec), breadth.slicers()
    narrow = evaluate(
        seen, runs, challenger=challenger, champion=champion, spec=spec.gates, metrics=metrics, slicers=slicers
    )
    progress("evaluation: slices, robustness, exposure, leaks and the gate's power")
    return broaden(
        narrow,
        seen,
        runs,
        task=spec.task,
        gates=spec.gates,
        spec=spec.evaluation,
        probes=asked.probes,
        unprobed=asked.unprobed,
        decisions=decisions,
    )


def judge(
    store: ArtifactStore,
    spec: ModelSpec,
    dataset: StoredArtifact,
    checkpoint: StoredArtifact,
    champion: Champion | None,
    progress: Progress,
) -> tuple[StoredArtifact, bool]:
    """Evaluate a checkpoint, remembered by dataset, checkpoint, champion and gates; ``reused`` tells that it was.

    Raises :class:`ProvenanceMismatch` when the checkpoint was not trained on this dataset.
    """
    from rankops.stages.checkpoint import base_model

    remedy = f"rematerialize {spec.name}/checkpoint"
    require_match("the checkpoint", {"dataset": dataset.digest}, checkpoint.lineage, remedy)
    lineage = {"model": spec.name, "dataset": dataset.digest, "checkpoint": checkpoint.digest}
    subject = {**lineage, "gates": spec.gates.model_dump(mode="json"), "code": 4}
    subject["evaluation"] = spec.evaluation.model_dump(mode="json")
    # A champion that *is* this checkpoint's release is no rival: the evidence that made it champion stands.
    rival = champion if champion is not None and not champion.is_of(checkpoint.digest) else None
    if rival is None and (standing := store.find("evaluation", digest_of(subject))) is not None:
        return standing, True
    key = digest_of({**subject, "champion": rival.release if rival else "none"})

    def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
        contenders = Contenders(
            base=base_model(spec, progress).path,
            checkpoint=store.local_path(checkpoint),
            champion=rival.folder if rival else None,
            champion_judged=_judged(store, rival, progress),
            first_stage=_first_stage(store, checkpoint),
        )
        evaluation = evaluate_checkpoint(load_dataset(store.local_path(dataset)), contenders, spec, out, progress)
        return {**lineage, "champion": rival.release if rival else "none"}, metric_values(evaluation)

    made, reused = store.find_or_make("evaluation", key, make)
    store.remember(made, digest_of(subject))
    return made, reused


def _first_stage(store: ArtifactStore, checkpoint: StoredArtifact) -> Path | None:
    """The checkpoint that found the candidates on which a ranker was trained."""
    digest = checkpoint.lineage.get("first_stage")
    return None if digest is None else fetched(store.uri("checkpoint", digest), "checkpoint", digest)


def _judged(store: ArtifactStore, rival: Champion | None, progress: Progress) -> Path | None:
    """The artifact that was judged for the champion: unlike what was shipped, it has not seen the days held out."""
    if rival is None or rival.judged is None:
        return None
    progress("evaluation: the model that was judged for the champion answers for it: the live one has seen these days")
    return fetched(store.uri("artifact", rival.judged.artifact), "artifact", rival.judged.artifact)


def metric_values(evaluation: Evaluation) -> dict[str, float]:
    """``{"<system> <metric>": mean}`` of every system."""
    return {
        f"{score.system} {metric}": interval.mean
        for score in evaluation.systems
        for metric, interval in score.metrics.items()
    }


class HeldOut:
    """The held-out queries as compression meets them: every rung against the rankings of the checkpoint.

    ``dataset`` is the task's view; ``evidence`` the folder that :func:`evaluate_checkpoint` wrote for the checkpoint.
    """

    def __init__(self, dataset: Dataset, evidence: Path, spec: ModelSpec, progress: Progress) -> None:
        self._dataset, self._spec, self._progress = dataset, spec, progress
        self._asked = breadth.asked(dataset, spec)
        self._stage = task_stage(spec.task)
        self._runs = load_runs(evidence)
        self._ranked: dict[str, Run] = {}

    def refusal(self, artifact: Path) -> str | None:
        """Why an artifact costs too much relevance here, or None where it is inside the budget."""
        decision = self._budget(self._rank(artifact))
        return None if decision.passed else f"on the held-out split: {decision.reasons[0]}"

    def judge(self, artifact: Path, out: Path) -> tuple[Evaluation, GateDecision]:
        """The gate on the artifact, and what compression costs; evidence and runs go into ``out``."""
        runs = {**self._runs, ARTIFACT: self._rank(artifact)}
        champion = CHAMPION if CHAMPION in runs else None
        decisions = breadth.decisions(artifact, self._dataset, self._spec, self._progress)
        evaluation = _evaluate(
            self._dataset, runs, ARTIFACT, champion, self._spec, self._asked, self._progress, decisions
        )
        evaluation.save(out)
        save_runs(runs, out)
        return evaluation, self._budget(runs[ARTIFACT])

    def _budget(self, run: Run) -> GateDecision:
        from rankops.evaluation.evaluate import score
        from rankops.evaluation.gate import decide_compression

        judgements = self._dataset.judgements.filter(self._dataset.judgements["query_id"].is_in(list(run)))
        runs = {CHECKPOINT: self._runs[CHECKPOINT], ARTIFACT: run}
        scores = score(runs, judgements, min_grade=self._spec.gates.min_grade)
        fp32, compressed = (scores.filter(scores["system"] == system) for system in runs)
        return decide_compression(self._spec.compression, fp32, compressed, metric=self._spec.gates.metric)

    def _rank(self, artifact: Path) -> Run:
        digest = self._stage.artifact_digest(artifact)
        if digest not in self._ranked:
            self._ranked[digest] = self._stage.rank_artifact(
                artifact, self._asked.dataset, self._spec, self._runs, self._progress
            )
        return self._ranked[digest]


def save_runs(runs: Runs, folder: Path) -> None:
    """Keep the rankings beside the evidence."""
    write_text(folder / _RUNS, canonical_json(runs))


def load_runs(folder: Path) -> Runs:
    """Read what :func:`save_runs` wrote; raises :class:`BadInput` naming the missing file."""
    path = folder / _RUNS
    if not path.is_file():
        raise BadInput(f"{path} is missing", "rematerialize the evaluation")
    runs: Runs = json.loads(path.read_text())
    return runs
