"""What an evaluation looks at beside the gate's metric, for each task: probes, further slices, quality of decisions.

Probes are asked with the test queries, in one ranking: a bi-encoder encodes its products once for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankops.dataset import Dataset
from rankops.specs import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from rankops.evaluation.decision_quality import DecisionQuality
    from rankops.evaluation.slices import Slicer

_MOST_PAIRS = 2000
_RERANKED_SHARE = 4


@dataclass(frozen=True)
class Asked:
    """What the systems are to rank: ``dataset`` with the probes; ``unprobed`` says why there are none."""

    dataset: Dataset
    probes: pl.DataFrame | None
    unprobed: str = ""


def asked(dataset: Dataset, spec: ModelSpec) -> Asked:
    """The (viewed) dataset with probes among its test queries, where the task is asked with words.

    Loads the spec's plugins first: they may bring probes, metrics and slices. A cross-encoder reads every candidate
    anew, so it is asked a quarter of the probes.
    """
    from rankops.evaluation.plugins import load_plugins
    from rankops.evaluation.probes import with_probes

    load_plugins(spec.evaluation.plugins)
    if (refused := _unprobed(spec)) is not None:
        return Asked(dataset, None, refused)
    count = spec.evaluation.probe_queries
    count = -(-count // _RERANKED_SHARE) if spec.task == "ranking" else count
    probed = with_probes(dataset, count, min_grade=spec.gates.min_grade)
    return Asked(probed.dataset, probed.table)


def _unprobed(spec: ModelSpec) -> str | None:
    if spec.task == "recommendation":
        return "a recommender is asked with products, and products have no typos"
    if spec.task == "ranking" and spec.ranking.objective == "match":
        return "a matcher is asked with offers' titles, whose words must not change"
    return None if spec.evaluation.probe_queries else "the spec asks for no probes (evaluation.probe_queries is 0)"


def slicers() -> dict[str, Slicer]:
    """Slices that need more than the evaluation room knows: the language of the query."""
    return {"language": _language}


def _language(_: Dataset, queries: pl.DataFrame) -> pl.Series:
    import polars as pl

    from rankops.drift.languages import guess_language

    return pl.Series("language", [guess_language(query) for query in queries["query"].to_list()], dtype=pl.String)


def decisions(
    artifact: Path, dataset: Dataset, spec: ModelSpec, progress: Callable[[str], None]
) -> DecisionQuality | None:
    """How good a matcher's decisions and probabilities are, on up to 2,000 test pairs; None for other models."""
    if spec.task != "ranking" or spec.ranking.objective != "match":
        return None
    import numpy as np

    from rankops.cross_encoding import OnnxCrossEncoder
    from rankops.evaluation.decision_quality import measure_decisions
    from rankops.evaluation.ranking import dataset_pairs
    from rankops.stages.tasks import ARTIFACT

    query_ids, _, pairs, labels = dataset_pairs(dataset, "test")
    rows = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_PAIRS)).astype(int))
    progress(f"evaluation: probabilities of {len(rows):,} test pairs")
    scorer = OnnxCrossEncoder(artifact, threads=2)
    threshold = scorer.config.threshold
    if threshold is None:
        return None
    groups = dict(dataset.split("test").select("query_id", "group_id").iter_rows())
    return measure_decisions(
        labels[rows],
        scorer.score([pairs[row] for row in rows]),
        threshold,
        system=ARTIFACT,
        groups=[groups[query_ids[row]] for row in rows],
    )
