"""What goes into a training run and what comes out: plain values that travel between processes as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rankops.errors import RankopsError
from rankops.feature_selection import FeatureScore
from rankops.files import combine_digests, digest_of, file_digests, sha256_file
from rankops.specs import HybridSpec, RankingSpec, RecommendationSpec, Task, TrainingSpec
from rankops.training.base_models import model_digest


class TrainingJob(BaseModel):
    """One fine-tuning run.

    ``work`` keeps the resumable state: a run with the same inputs continues there, other inputs start afresh.
    ``output`` becomes the checkpoint folder when everything succeeded, and not before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task = Field(default="retrieval", description="decides which trainer runs it")
    spec: TrainingSpec
    hybrid: HybridSpec = HybridSpec()
    recommendation: RecommendationSpec = RecommendationSpec()
    ranking: RankingSpec = RankingSpec()
    base_model: Path = Field(description="folder with safetensors weights and a tokenizer")
    retriever: Path | None = Field(
        default=None,
        description="finds a ranker's candidates (see first_stage), else the un-tuned bi-encoder that does so beside "
        "BM25; None: base_model, which is one at the start",
    )
    teacher: Path | None = Field(
        default=None, description="larger bi-encoder that base_model learns from first (spec.teacher); None: no lessons"
    )
    taught: Path | None = Field(
        default=None, description="folder that keeps the base model after its lessons, for runs on the same catalogue"
    )
    dataset: Path = Field(description="dataset folder (rankops.dataset)")
    replay_pairs: Path | None = Field(
        default=None, description="Parquet of older pairs, mixed in by spec.replay (rankops.training.replay)"
    )
    output: Path
    work: Path
    threads: int | None = Field(default=None, ge=1, description="PyTorch threads; None leaves the library's choice")

    def key(self) -> str:
        """Hex SHA-256 over everything that decides the result (bytes of base and dataset, spec)."""
        facts = {
            "spec": self.spec.model_dump(mode="json", exclude_none=True),
            "base_model": model_digest(self.base_model),
            "dataset": combine_digests(file_digests(self.dataset)),
        }
        if self.replay_pairs is not None:
            facts["replay_pairs"] = sha256_file(self.replay_pairs)
        if self.retriever is not None and self.task == "ranking":
            facts["retriever"] = combine_digests(file_digests(self.retriever))
        if self.teacher is not None:
            facts["teacher"] = model_digest(self.teacher)
        options = self.hybrid if self.task == "retrieval" else getattr(self, self.task)
        return digest_of({**facts, "task": self.task, "options": options.model_dump(mode="json", exclude_none=True)})


class TrainingEvent(BaseModel):
    """One progress line."""

    model_config = ConfigDict(frozen=True)

    step: int
    max_steps: int
    loss: float | None = None
    dev: float | None = Field(default=None, description="the metric on the dev split, after this step")
    metric: str = "nDCG@10"
    steps_per_second: float | None = None
    eta_seconds: float | None = None

    def __str__(self) -> str:
        parts = [f"step {self.step}/{self.max_steps}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if self.dev is not None:
            parts.append(f"dev {self.metric} {self.dev:.4f}")
        if self.steps_per_second is not None:
            parts.append(f"{self.steps_per_second:.2f} steps/s")
        if self.eta_seconds is not None:
            parts.append(f"eta {self.eta_seconds:.0f} s")
        return "  ".join(parts)


class Teaching(BaseModel):
    """What a base model learned from its teacher before it was fine-tuned; see :mod:`rankops.training.teacher`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="digest over everything that decides it")
    teacher: str = Field(description="digest of the teacher's weights")
    queries: int
    products: int
    losses: list[tuple[int, float]] = Field(description="(step, value)")
    curve: list[tuple[int, float]] = Field(
        description="(step, agreement): mean correlation of the scores with the target's; starts with the base at 0"
    )
    best_step: int

    @property
    def before(self) -> float:
        """The base model's agreement."""
        return self.curve[0][1]

    @property
    def after(self) -> float:
        """The agreement after the lessons, at the best step."""
        return dict(self.curve)[self.best_step]


class TrainingResult(BaseModel):
    """What happened. ``losses`` and ``dev_curve`` hold ``(step, value)``; ``dev_curve`` starts with the base at 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    stopped_early: bool
    best_step: int
    dev_metric_before: float
    dev_metric_best: float
    losses: list[tuple[int, float]]
    dev_curve: list[tuple[int, float]]
    seconds: float = Field(description="wall time of the run, with the parts before an interruption")
    pairs: int
    seed: int
    parameters: int
    trained_parameters: int
    dev_queries: int
    dev_products: int
    metric: str = Field(default="nDCG@10", description="what the dev values are, for people")
    inputs: str = Field(description="key of the job: digest over spec, base model and dataset")
    spec: TrainingSpec
    teaching: Teaching | None = Field(default=None, description="lessons of a larger model before the first step")
    features: list[FeatureScore] = Field(
        default=[], description="tabular features, best first, where a ranker's training chose among them"
    )


class TrainingInterrupted(RankopsError):
    """The run was asked to stop; its state is saved and the next run with the same work folder continues."""


Progress = Callable[[TrainingEvent | str], None]
ShouldStop = Callable[[], bool]


def never_stop() -> bool:
    """The default ``should_stop``."""
    return False
