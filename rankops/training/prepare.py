"""What a run needs before its first step, made once and kept in the work folder.

The base model embeds a sample of the catalogue and all training queries; from that come the hard negatives and
the dev metric before training.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rankops.dataset import load_dataset
from rankops.files import write_bytes, write_json
from rankops.training.dev import DevTask, build_dev_task
from rankops.training.examples import Examples, build_examples, mine_negatives, text_numbers
from rankops.training.job import Progress, ShouldStop, TrainingInterrupted, TrainingJob
from rankops.training.ranks import Ranks
from rankops.training.replay import mixed, read_pairs
from rankops.training.torch_encoder import encode_texts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_JOB, _NEGATIVES, _BEFORE = "job.json", "negatives.npy", "before.json"


@dataclass(frozen=True)
class Prepared:
    """Everything that the loop reads. ``texts`` and ``same_text`` go by catalogue row."""

    examples: Examples
    texts: list[str]
    same_text: list[int]
    dev: DevTask
    dev_before: float


def open_work(job: TrainingJob, key: str, progress: Progress) -> None:
    """Make ``job.work`` the state folder of exactly this job; state of other inputs is deleted, and said so."""
    path = job.work / _JOB
    if path.is_file() and json.loads(path.read_text())["key"] == key:
        return
    if path.is_file():
        progress(f"{job.work} holds the state of other inputs; starting afresh")
        shutil.rmtree(job.work)
    write_json(path, {"key": key, "job": job.model_dump(mode="json")})


def prepare(job: TrainingJob, model: SentenceTransformer, progress: Progress, should_stop: ShouldStop) -> Prepared:
    """Read the dataset, mine negatives with the base model, measure it on the dev task; remembered in ``job.work``."""
    from rankops.augmentation import augment_pairs
    from rankops.pairs import training_pairs

    dataset = load_dataset(job.dataset)
    texts = dataset.product_texts()
    same_text = text_numbers(texts)
    clicked = training_pairs(dataset)
    if job.replay_pairs is not None:
        clicked = mixed(clicked, read_pairs(job.replay_pairs), job.spec.replay)
    pairs = augment_pairs(dataset, clicked, job.spec.augmentation, job.spec.seed)
    examples = build_examples(dataset, pairs, same_text)
    dev = build_dev_task(dataset, seed=job.spec.seed)
    progress(f"{len(examples):,} training pairs, {len(set(examples.queries)):,} queries, {len(texts):,} products")
    with Ranks.current().first_in_turn():
        if not (job.work / _BEFORE).is_file():
            _measure_base(
                job, model, examples=examples, texts=texts, dev=dev, progress=progress, should_stop=should_stop
            )
    negatives = np.load(io.BytesIO((job.work / _NEGATIVES).read_bytes()), allow_pickle=False)
    before = float(json.loads((job.work / _BEFORE).read_text())["dev_ndcg@10"])
    return Prepared(replace(examples, negatives=negatives), texts, same_text, dev, before)


def _measure_base(
    job: TrainingJob,
    model: SentenceTransformer,
    *,
    examples: Examples,
    texts: list[str],
    dev: DevTask,
    progress: Progress,
    should_stop: ShouldStop,
) -> None:
    """Embed the pool once with the base model; write the negatives and, last, the dev metric before training."""
    spec = job.spec
    check = interruptible(should_stop)
    progress(f"base model encodes {len(dev.pool):,} products")
    pool = encode_texts(model, [texts[row] for row in dev.pool], spec.max_product_tokens, after_chunk=check)
    dev_queries = encode_texts(model, dev.queries, spec.max_query_tokens, after_chunk=check)
    negatives = np.zeros((len(examples), 0), dtype=np.int64)
    if spec.hard_negatives:
        distinct = sorted(set(examples.queries))
        progress(f"base model mines {spec.hard_negatives} hard negatives a pair for {len(distinct):,} queries")
        vectors = encode_texts(model, distinct, spec.max_query_tokens, after_chunk=check)
        place = {query: row for row, query in enumerate(distinct)}
        rows = np.array([place[query] for query in examples.queries])
        negatives = mine_negatives(examples, vectors[rows], pool, dev.pool, per_row=spec.hard_negatives, seed=spec.seed)
    buffer = io.BytesIO()
    np.save(buffer, negatives, allow_pickle=False)
    write_bytes(job.work / _NEGATIVES, buffer.getvalue())
    before = dev.ndcg(dev_queries, pool)
    progress(f"dev nDCG@10 of the base model {before:.4f} ({len(dev.queries)} queries, {len(dev.pool):,} products)")
    write_json(job.work / _BEFORE, {"dev_ndcg@10": before})


def interruptible(should_stop: ShouldStop) -> Callable[[int], None]:
    """A callback for long loops that raises :class:`TrainingInterrupted` once a stop was asked for."""

    def check(_done: int) -> None:
        if should_stop():
            raise TrainingInterrupted("training was asked to stop", "run it again with the same work folder")

    return check
