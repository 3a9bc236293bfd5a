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
from rankops.dataset import Dataset, Split, load_dataset
from rankops.errors import BadInput
from rankops.files import canonical_json, digest_of, write_text
from rankops.specs import ModelSpec
from rankops.store import ArtifactStore

if TYPE_CHECKING:
    import numpy as np

    from rankops.encoding import Encoder, OnnxEncoder
    from rankops.evaluation.gate import GateDecision
    from rankops.evaluation.results import Evaluation

Progress = Callable[[str], None]
Runs = dict[str, dict[str, list[str]]]

CHECKPOINT, ARTIFACT, CHAMPION = "challenger", "quantized", "champion"
_RUNS = "runs.json"
_SEED = 7


@dataclass(frozen=True)
class Champion:
    """The release that is live: its digest, the checkpoint that it holds, and its verified bundle."""

    release: str
    checkpoint: str
    folder: Path


@dataclass(frozen=True)
class Contenders:
    """Folders of what is compared: the un-tuned base model, the checkpoint, the champion's release (or none)."""

    base: Path
    checkpoint: Path
    champion: Path | None


def evaluate_checkpoint(
    dataset: Dataset, contenders: Contenders, spec: ModelSpec, out: Path, progress: Progress
) -> Evaluation:
    """Rank the test split with every system, decide, and write evidence and runs into ``out``."""
    from rankops.evaluation.evaluate import evaluate

    runs = rank_all(dataset, contenders, spec, progress)
    champion = CHAMPION if contenders.champion else None
    evaluation = evaluate(dataset, runs, challenger=CHECKPOINT, champion=champion, spec=spec.gates)
    evaluation.save(out)
    save_runs(runs, out)
    return evaluation


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
    subject = {**lineage, "gates": spec.gates.model_dump(mode="json"), "code": 1}
    # A champion that *is* this checkpoint's release is no rival: the evidence that made it champion stands.
    rival = champion if champion is not None and champion.checkpoint != checkpoint.digest else None
    if rival is None and (standing := store.find("evaluation", digest_of(subject))) is not None:
        return standing, True
    key = digest_of({**subject, "champion": rival.release if rival else "none"})

    def make(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
        contenders = Contenders(
            base=base_model(spec, progress).path,
            checkpoint=store.local_path(checkpoint),
            champion=rival.folder if rival else None,
        )
        evaluation = evaluate_checkpoint(load_dataset(store.local_path(dataset)), contenders, spec, out, progress)
        return {**lineage, "champion": rival.release if rival else "none"}, metric_values(evaluation)

    made, reused = store.find_or_make("evaluation", key, make)
    store.remember(made, digest_of(subject))
    return made, reused


def metric_values(evaluation: Evaluation) -> dict[str, float]:
    """``{"<system> <metric>": mean}`` of every system."""
    return {
        f"{score.system} {metric}": interval.mean
        for score in evaluation.systems
        for metric, interval in score.metrics.items()
    }


def rank_all(dataset: Dataset, contenders: Contenders, spec: ModelSpec, progress: Progress) -> Runs:
    """The top 100 of random, BM25, base, champion and checkpoint for each query of the test split."""
    from rankops.encoding import OnnxEncoder
    from rankops.evaluation.baselines import bm25_run, encoder_run, random_run
    from rankops.training.torch_encoder import TorchEncoder

    queries = split_queries(dataset, "test")
    texts, ids = dataset.product_texts(), dataset.catalogue["product_id"].to_list()
    runs: Runs = {
        "random": random_run([query_id for query_id, _ in queries], ids, _SEED),
        "bm25": bm25_run(queries, texts, ids),
    }
    lengths = {
        "max_query_tokens": spec.training.max_query_tokens,
        "max_product_tokens": spec.training.max_product_tokens,
    }
    encoders: list[tuple[str, Callable[[], Encoder]]] = [
        ("base", lambda: TorchEncoder(contenders.base, **lengths)),
        (CHECKPOINT, lambda: TorchEncoder(contenders.checkpoint, **lengths)),
    ]
    if (champion := contenders.champion) is not None:
        encoders.append((CHAMPION, lambda: OnnxEncoder(champion / "encoder", threads=2)))
    for name, build in encoders:
        progress(f"evaluation: ranking {len(queries)} queries over {len(ids):,} products with {name}")
        runs[name] = encoder_run(build(), queries, texts, ids)
    return runs


class HeldOut:
    """The held-out queries as compression meets them: every rung against the rankings of the checkpoint.

    ``evidence`` is the folder that :func:`evaluate_checkpoint` wrote for the checkpoint.
    """

    def __init__(self, dataset: Dataset, evidence: Path, spec: ModelSpec, progress: Progress) -> None:
        self._dataset, self._spec, self._progress = dataset, spec, progress
        self._runs = load_runs(evidence)
        self._ranked: dict[str, dict[str, list[str]]] = {}

    def refusal(self, encoder: OnnxEncoder) -> str | None:
        """Why a compressed encoder costs too much relevance here, or None where it is inside the budget."""
        decision = self._budget(self._rank(encoder))
        return None if decision.passed else f"on the held-out split: {decision.reasons[0]}"

    def judge(self, encoder: OnnxEncoder, out: Path) -> tuple[Evaluation, GateDecision]:
        """The gate on the compressed model, and what compression costs; evidence and runs go into ``out``."""
        from rankops.evaluation.evaluate import evaluate

        runs = {**self._runs, ARTIFACT: self._rank(encoder)}
        champion = CHAMPION if CHAMPION in runs else None
        evaluation = evaluate(self._dataset, runs, challenger=ARTIFACT, champion=champion, spec=self._spec.gates)
        evaluation.save(out)
        save_runs(runs, out)
        return evaluation, self._budget(runs[ARTIFACT])

    def _budget(self, run: dict[str, list[str]]) -> GateDecision:
        from rankops.evaluation.evaluate import score
        from rankops.evaluation.gate import decide_compression

        judgements = self._dataset.judgements.filter(self._dataset.judgements["query_id"].is_in(list(run)))
        runs = {CHECKPOINT: self._runs[CHECKPOINT], ARTIFACT: run}
        scores = score(runs, judgements, min_grade=self._spec.gates.min_grade)
        fp32, compressed = (scores.filter(scores["system"] == system) for system in runs)
        return decide_compression(self._spec.compression, fp32, compressed, metric=self._spec.gates.metric)

    def _rank(self, encoder: OnnxEncoder) -> dict[str, list[str]]:
        from rankops.evaluation.baselines import encoder_run

        if encoder.digest not in self._ranked:
            queries, ids = split_queries(self._dataset, "test"), self._dataset.catalogue["product_id"].to_list()
            self._progress(f"evaluation: ranking {len(queries)} held-out queries with the compressed model")
            self._ranked[encoder.digest] = encoder_run(encoder, queries, self._dataset.product_texts(), ids)
        return self._ranked[encoder.digest]


def selection_scorer(
    dataset: Dataset, spec: ModelSpec, *, max_queries: int = 300, max_products: int = 600
) -> Callable[[Encoder], np.ndarray]:
    """A function that gives an encoder's nDCG@10 per query: what compression selects rungs by.

    Never the test split: a rung chosen there would be judged on the queries that chose it. Dev queries come first,
    then train queries: a rung's loss is a difference to the same checkpoint on the same query, so queries that the
    checkpoint has seen measure it as well. The catalogue is the two best products of each query, filled up with
    distractors.
    """
    import polars as pl

    from rankops.evaluation.baselines import encoder_run
    from rankops.evaluation.metrics import per_query

    known = dataset.judgements.filter(pl.col("grade") >= spec.gates.min_grade)
    answerable = set(known["query_id"])
    asked = [query for name in ("dev", "train") for query in split_queries(dataset, name) if query[0] in answerable]
    queries = asked[:max_queries]
    mine = known.filter(pl.col("query_id").is_in([query_id for query_id, _ in queries]))
    best = mine.sort("grade", "product_id", descending=[True, False]).group_by("query_id", maintain_order=True).head(2)
    ids, texts = dataset.catalogue["product_id"].to_list(), dataset.product_texts()
    pool = _filled(set(best["product_id"].to_list()), ids, max_products)
    pairs = [(product, text) for product, text in zip(ids, texts, strict=True) if product in pool]
    judgements = dataset.judgements.filter(
        pl.col("query_id").is_in([query_id for query_id, _ in queries]) & pl.col("product_id").is_in(sorted(pool))
    )

    def score(encoder: Encoder) -> np.ndarray:
        run = encoder_run(encoder, queries, [text for _, text in pairs], [product for product, _ in pairs])
        return per_query(run, judgements, min_grade=spec.gates.min_grade).sort("query_id")["ndcg@10"].to_numpy()

    return score


def _filled(wanted: set[str], ids: list[str], size: int) -> set[str]:
    """``wanted`` and evenly spaced others, ``size`` in all (or more, if more are wanted)."""
    others = [product for product in ids if product not in wanted]
    room = max(0, size - len(wanted))
    return wanted | set(others[:: max(1, len(others) // room)][:room] if room else [])


def split_queries(dataset: Dataset, split: Split) -> list[tuple[str, str]]:
    """``(query_id, text)`` of one split, sorted by id."""
    return [(row["query_id"], row["query"]) for row in dataset.split(split).iter_rows(named=True)]


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
