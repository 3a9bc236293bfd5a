"""Product matching on real offers (WDC): a cross-encoder against all-positive, character TF-IDF and un-tuned MiniLM.

The network learns from the train pairs for a number of steps that was fixed beforehand, so the labelled pairs of
``valid`` have no say in it. What is left to choose (weights of the blend, threshold) is cross-fitted on them: chosen
on one half, used on the other, halves drawn by title; every system's threshold is treated alike. The test pairs have
no labels here: ``rankops predict`` writes what their owner scores.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Comparison, machine
from rankops.compression.ladder import compress
from rankops.compression.targets import available_cores, detect_target
from rankops.cross_encoding import Blend, OnnxCrossEncoder
from rankops.data.matching import import_matching, read_pairs
from rankops.dataset import Dataset, Split
from rankops.decisions import average_precision, best_threshold, f1_score, fit_logistic
from rankops.errors import BadInput
from rankops.evaluation.bootstrap import paired_difference
from rankops.evaluation.metrics import per_query
from rankops.evaluation.ranking import text_scores, vector_scores
from rankops.files import digest_of
from rankops.specs import ModelSpec, RankingSpec, TrainingSpec
from rankops.torch_cross_encoding import load_checkpoint
from rankops.training.base_models import resolve_base_model
from rankops.training.crossencoder import train
from rankops.training.crossencoder_data import judged_pairs
from rankops.training.job import TrainingJob
from rankops.training.torch_encoder import TorchEncoder

DATA = Path(__file__).resolve().parent.parent.parent / "shared/data/matching_wdc"
ROOT = Path(__file__).resolve().parent.parent
STEPS = 672  # three epochs of 7,184 pairs
SPEC = ModelSpec(
    name="matcher",
    task="ranking",
    dataset="matching",
    training=TrainingSpec(max_steps=STEPS, evaluate_every=STEPS, batch_size=32, learning_rate=1e-4, precision="bf16"),
    ranking=RankingSpec(objective="match", max_pair_tokens=72),
    gates={"metric": "f1", "floors": ("random", "text", "base")},
)
GOAL = 0.82
REPEATS = 20
Parts = dict[str, np.ndarray]


def checkpoint(dataset: Dataset, cache: Path, progress: Callable[[str], None]) -> tuple[Path, float]:
    """The fine-tuned folder and the seconds that it took; remembered, and continued where a run was killed."""
    base = resolve_base_model(SPEC.base_model, progress)
    settings = {"training": SPEC.training.model_dump(mode="json"), "ranking": SPEC.ranking.model_dump(mode="json")}
    home = cache / digest_of({**settings, "base": base.digest})[:16]
    (home / "data").mkdir(parents=True, exist_ok=True)
    dataset.save(home / "data")  # the same bytes for the same files: the job's key says whether anything changed
    job = TrainingJob(
        task="ranking",
        spec=SPEC.training,
        ranking=SPEC.ranking,
        base_model=base.path,
        dataset=home / "data",
        output=home / "checkpoint",
        work=home / "work",
        threads=int(os.environ.get("RANKOPS_BENCH_THREADS", available_cores())),
    )
    result = train(job, lambda event: progress(f"matching_wdc: {event}"))
    return home / "checkpoint", result.seconds


def like_test(dataset: Dataset, query_ids: list[str]) -> np.ndarray:
    """Weights that give the valid pairs the test pairs' shares of unseen, half-seen and seen titles; mean 1."""
    table = read_pairs(DATA / "test_pairs.tsv.gz", labelled=False)
    known = set(train_titles(dataset))
    seen = [(left in known) + (right in known) for left, right in table.select("left_title", "right_title").iter_rows()]
    wanted = np.bincount(seen, minlength=3) / len(seen)
    own = seen_titles(dataset, "dev")
    kinds = np.array([own[query_id] for query_id in query_ids])
    return (wanted / (np.bincount(kinds, minlength=3) / len(kinds)))[kinds]


def train_titles(dataset: Dataset) -> list[str]:
    """Every title of the train pairs."""
    titles = dict(dataset.catalogue.select("product_id", "title").iter_rows())
    return [text for left, right in _pairs(dataset, "train").values() for text in (left, titles[right])]


def halves(groups: list[str], repeats: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Row numbers of two halves, ``repeats`` times; a group lies in one half."""
    names = sorted(set(groups))
    found = []
    for seed in range(repeats):
        order = np.random.default_rng(seed).permutation(len(names))
        first = {names[place] for place in order[: len(names) // 2]}
        inside = np.array([group in first for group in groups])
        found.append((np.flatnonzero(inside), np.flatnonzero(~inside)))
    return found


def cross_fitted(parts: Parts, labels: np.ndarray, groups: list[str], repeats: int = REPEATS) -> list[np.ndarray]:
    """Decisions on every pair, ``repeats`` times: blend and threshold are chosen on the half that a pair is not in."""
    found = []
    for pair_of_halves in halves(groups, repeats):
        decided = np.zeros(len(labels), dtype=bool)
        for chosen, used in (pair_of_halves, pair_of_halves[::-1]):
            blend = Blend(**{"neural": 0.0, **fit_logistic(_rows(parts, chosen), labels[chosen].astype(float))})
            threshold, _ = best_threshold(labels[chosen], blend.probabilities(_rows(parts, chosen)))
            decided[used] = blend.probabilities(_rows(parts, used)) >= threshold
        found.append(decided)
    return found


def _rows(parts: Parts, rows: np.ndarray) -> Parts:
    return {name: values[rows] for name, values in parts.items()}


def f1_shares(labels: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Linearized F1 of each pair (see :mod:`rankops.evaluation.metrics`), in the order of the pairs."""
    ids = [f"{row:06d}" for row in range(len(labels))]
    judged = pl.DataFrame({"query_id": ids, "product_id": "p", "grade": labels.astype(int) * 3})
    run = {query: ["p"] if yes else [] for query, yes in zip(ids, decided.tolist(), strict=True)}
    return per_query(run, judged, min_grade=2)["f1"].to_numpy()


def systems(dataset: Dataset, folder: Path, artifact: Path, progress: Callable[[str], None]) -> dict[str, Parts]:
    """What each system says of the valid pairs."""
    asked = judged_pairs(dataset, "dev")
    raw = _raw_pairs(dataset)
    progress(f"matching_wdc: scoring {len(raw):,} pairs with every system")
    fine_tuned = load_checkpoint(folder).parts(raw)
    base = TorchEncoder(resolve_base_model(SPEC.base_model, progress).path, max_query_tokens=64, max_product_tokens=64)
    return {
        "cross-encoder": fine_tuned,
        "quantized": OnnxCrossEncoder(artifact, threads=available_cores()).parts(raw),
        "network alone": {"neural": fine_tuned["neural"]},
        "trees alone": {"lexical": fine_tuned["lexical"]},
        "text": {"lexical": text_scores(dataset, asked.pairs)},
        "base": {"lexical": vector_scores(base, asked.pairs)},
    }


def _raw_pairs(dataset: Dataset) -> list[tuple[str, str]]:
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    rows = dataset.split("dev").join(dataset.judgements, on="query_id").sort("query_id", "product_id")
    return [(query, texts[product]) for query, product in rows.select("query", "product_id").iter_rows()]


def seen_titles(dataset: Dataset, split: Split) -> dict[str, int]:
    """How many of each pair's titles (0, 1, 2) occur in the train pairs: a new product is harder than a known one."""
    titles = dict(dataset.catalogue.select("product_id", "title").iter_rows())
    known = set(train_titles(dataset))
    return {q: (left in known) + (titles[right] in known) for q, (left, right) in _pairs(dataset, split).items()}


def _pairs(dataset: Dataset, split: Split) -> dict[str, tuple[str, str]]:
    rows = dataset.split(split).join(dataset.judgements, on="query_id")
    return {q: (text, product) for q, text, product in rows.select("query_id", "query", "product_id").iter_rows()}


def weighted_f1(labels: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> float:
    """F1 where a pair counts ``weights`` times."""
    size = (weights * labels).sum() + (weights * decided).sum()
    return float(2 * (weights * (labels & decided)).sum() / size) if size else 0.0


def measured(
    parts: Mapping[str, Parts], labels: np.ndarray, groups: list[str], weights: np.ndarray
) -> dict[str, dict[str, Any]]:
    """F1 with its 95 % interval (of the first repeat, titles resampled), its spread over repeats, average precision.

    ``f1_like_test`` counts each pair ``weights`` times: as often as the test pairs have titles of its kind.
    """
    decisions = {name: cross_fitted(part, labels, groups) for name, part in parts.items()}
    decisions["all positive"] = [np.ones(len(labels), dtype=bool)]
    shares = {name: f1_shares(labels, decided[0]) for name, decided in decisions.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, decided in decisions.items():
        values = [f1_score(labels, one) for one in decided]
        around = paired_difference(shares[name], np.zeros(len(labels)), groups=groups)
        against = paired_difference(shares["cross-encoder"], shares[name], groups=groups)
        found[name] = {
            "f1": float(np.mean(values)),
            "f1_interval": [around.low, around.high],
            "f1_repeats": [min(values), max(values)],
            "f1_like_test": float(np.mean([weighted_f1(labels, one, weights) for one in decided])),
            "behind": [against.mean, against.low, against.high],
        }
        if name in parts:
            blend = Blend(**{"neural": 0.0, **fit_logistic(parts[name], labels.astype(float))})
            found[name]["average_precision"] = average_precision(labels, blend.probabilities(parts[name]))
    return found


def measure(progress: Callable[[str], None]) -> Comparison:
    """Cross-fitted F1 on the valid pairs; ratio = ours / character TF-IDF. Raises :class:`BadInput` without data."""
    if not DATA.is_dir():
        raise BadInput(f"{DATA} is missing", "put the shared data beside the repository")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    dataset = import_matching(DATA)
    folder, seconds = checkpoint(dataset, ROOT / ".rankops" / "cache" / "matching_wdc", progress)
    return compare_checkpoint(dataset, folder, seconds, progress)


def compare_checkpoint(dataset: Dataset, folder: Path, seconds: float, progress: Callable[[str], None]) -> Comparison:
    """Compress a trained folder (beside it) and measure both forms and every baseline on the valid pairs."""
    from rankops.stages.tasks.ranking import selection_scorer

    started, artifact = time.monotonic(), folder.parent / "artifact"
    shutil.rmtree(artifact, ignore_errors=True)
    report = compress(
        folder, dataset, SPEC, detect_target(), artifact, score=selection_scorer(dataset, SPEC), progress=progress
    )
    asked = judged_pairs(dataset, "dev")
    group_of = dict(dataset.queries.select("query_id", "group_id").iter_rows())
    groups = [group_of[query_id] for query_id in asked.query_ids]
    weights = like_test(dataset, asked.query_ids)
    found = measured(systems(dataset, folder, artifact, progress), asked.labels, groups, weights)
    for name, values in found.items():
        low, high = values["f1_interval"]
        like = values["f1_like_test"]
        progress(f"matching_wdc: {name:<14} F1 {values['f1']:.4f} [{low:.4f} {high:.4f}]  like test {like:.4f}")
    ours, peer = found["cross-encoder"]["f1"], found["text"]["f1"]
    low, high = (bound / peer for bound in found["cross-encoder"]["f1_interval"])
    return Comparison(
        name="matching_wdc",
        what=f"F1 of label 1 on {len(groups):,} valid pairs, cross-fitted, fine-tuned cross-encoder (fp32)",
        ours=ours,
        peer=peer,
        ratio=ours / peer,
        interval=(low, high),
        n=len(groups),
        unit="F1",
        peer_version=f"character 3-gram TF-IDF cosine, scikit-learn {version('scikit-learn')}",
        machine=machine(),
        goal=GOAL / peer,
        also={
            "systems": found,
            "quantized_loss": ours - found["quantized"]["f1"],
            "training_seconds": seconds,
            "measuring_seconds": time.monotonic() - started,
            "rungs": [rung.model_dump(mode="json") for rung in report.rungs],
            "training": SPEC.training.model_dump(mode="json"),
            "ranking": SPEC.ranking.model_dump(mode="json"),
        },
    )
