"""What a base model learns from a larger one before any label: to score products for queries as both together do.

Queries are made up from product texts (:mod:`rankops.training.pseudo_queries`). For a batch of them and a batch of
products the target is a mixture of the teacher's cosines and the base model's own, and the loss the Kullback-Leibler
divergence of the two softmaxes over the batch's products (Hinton, Vinyals & Dean 2015; queries from the documents
themselves as in Wang et al. 2022, GPL, there written by a model). Keeping part of its own opinion makes the base model
the student of an *ensemble*, which is better than either: on ``search_icecat`` the two alone order the judged products
of a query with nDCG@10 0.874 and 0.872, together with 0.901.

The result depends on base, teacher, product texts and spec, not on labels: it is kept beside the runs (``job.taught``)
and used again. A killed run goes on where it was, like any training.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankops.dataset import load_dataset
from rankops.errors import BadInput
from rankops.files import digest_of, sha256_file, staged_directory, write_json
from rankops.release.vectors import embed
from rankops.specs import TeacherSpec, TrainingSpec
from rankops.text import product_texts
from rankops.training.base_models import TEACHING, model_digest
from rankops.training.job import Progress, ShouldStop, Teaching, TrainingJob, TrainingResult, never_stop
from rankops.training.prepare import interruptible
from rankops.training.pseudo_queries import pseudo_queries
from rankops.training.ranks import Ranks
from rankops.training.runs import arguments, run_trainer
from rankops.vector_cache import VectorCache

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from rankops.training.teacher_trainer import TeacherTrainer

Floats = NDArray[np.float32]

METRIC = "agreement"
"""Mean correlation of the scores with the target's, over queries and products that are kept for it."""
MIN_QUERIES = 10
_DEV_QUERIES, _DEV_PRODUCTS, _EVALUATIONS = 64, 4, 5
_NEAREST, _BEST = 100, 20  # products of a query that a batch may draw, and how many of them count as its best
_SEEDS, _OF_BEST, _OF_OTHERS = 8, 6, 4  # queries whose products a batch is made of, and how many products each
_PRODUCTS, _QUERIES, _AROUND = 96, 40, 400  # of a batch; queries among so many that are next to its products


@dataclass(frozen=True)
class Batch:
    """Row numbers of queries and products."""

    queries: NDArray[np.int64]
    products: NDArray[np.int64]


@dataclass(frozen=True)
class Lesson:
    """What is taught: ``target[i, j]`` is the cosine that query ``i`` and product ``j`` should have.

    The last ``measured`` queries are only measured by.
    """

    queries: list[str]
    texts: list[str]
    target: Floats
    measured: int

    @property
    def taught(self) -> int:
        """Queries that are learned from."""
        return len(self.queries) - self.measured

    def batch(self, seed: int, step: int) -> Batch:
        """Products near some queries and a few others, and queries that are near those products; by seed and step."""
        generator = np.random.default_rng([seed, 3, step])
        seeds = generator.choice(self.taught, min(_SEEDS, self.taught), replace=False)
        drawn = [generator.choice(len(self.texts), _PRODUCTS - _SEEDS * (_OF_BEST + _OF_OTHERS))]
        for query in seeds.tolist():
            near = np.argsort(-self.target[query], kind="stable")[:_NEAREST]
            drawn.append(_some(generator, near[:_BEST], _OF_BEST))
            drawn.append(_some(generator, near[_BEST:], _OF_OTHERS))
        products = np.unique(np.concatenate(drawn))
        closest = self.target[: self.taught, products].max(axis=1)
        around = np.setdiff1d(np.argsort(-closest, kind="stable")[:_AROUND], seeds)
        others = _some(generator, around, min(_QUERIES, self.taught) - len(seeds))
        return Batch(np.unique(np.concatenate([seeds, others])), products)

    def dev(self) -> Batch:
        """The queries that are kept for measuring, and the products that the target finds for them."""
        queries = np.arange(self.taught, len(self.queries))
        best = np.argsort(-self.target[queries], axis=1, kind="stable")[:, :_DEV_PRODUCTS]
        return Batch(queries, np.unique(best))


@dataclass(frozen=True)
class _Inputs:
    """What decides the result, read once: texts of a large catalogue and digests of large files take seconds."""

    job: TrainingJob
    spec: TeacherSpec
    folder: Path
    base: str
    teacher: str
    products: list[dict[str, Any]]
    texts: list[str]

    @classmethod
    def of(cls, job: TrainingJob) -> _Inputs:
        if job.spec.teacher is None:
            raise BadInput("a teacher's weights are given and spec.teacher is not", "set training.teacher")
        if job.teacher is None:
            raise BadInput("spec.teacher is set and no teacher's weights are given", "give TrainingJob.teacher")
        products, texts = _products(job, job.spec.teacher.products)
        weights = model_digest(job.base_model), model_digest(job.teacher)
        return cls(job, job.spec.teacher, job.teacher, *weights, products, texts)

    @property
    def key(self) -> str:
        """Digest over weights of both, the product texts, and how they are read."""
        reading = {"max_query_tokens", "max_product_tokens", "precision", "seed"}
        return digest_of(
            {
                "base": self.base,
                "teacher": self.teacher,
                "texts": digest_of(self.texts),
                "spec": self.spec.model_dump(mode="json", exclude={"model"}),
                "reading": self.job.spec.model_dump(include=reading),
                "code": 1,
            }
        )


def taught_base(job: TrainingJob, progress: Progress, should_stop: ShouldStop = never_stop) -> tuple[Path, Teaching]:
    """The folder of the base model after its lessons, taught now or standing from before, and what was learned.

    Raises :class:`BadInput` for a catalogue whose texts give too few queries, and
    :class:`rankops.training.job.TrainingInterrupted` once ``should_stop`` says yes.
    """
    inputs, own = _Inputs.of(job), job.work / "teaching" / "base"
    key = inputs.key
    with Ranks.current().first_in_turn():
        if Ranks.current().is_first and job.taught is not None:
            _copy(job.taught, own, key)
    if (before := _standing(own, key)) is not None:
        progress(f"the base model has learned from its teacher before ({METRIC} {before.after:.4f})")
        return own, before
    return own, _teach(inputs, key, own, progress, should_stop)


def teaching_key(job: TrainingJob) -> str:
    """Digest over all that decides the result: weights of both, the product texts, and how they are read."""
    return _Inputs.of(job).key


def _products(job: TrainingJob, wanted: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The products that are learned from, drawn by the seed, and their texts; each text once."""
    rows = load_dataset(job.dataset).catalogue.sort("product_id").to_dicts()
    distinct = dict(zip(product_texts(rows), rows, strict=True))
    generator = np.random.default_rng([job.spec.seed, 5])
    chosen = np.sort(generator.choice(len(distinct), min(wanted, len(distinct)), replace=False)).tolist()
    texts, kept = list(distinct), list(distinct.values())
    return [kept[row] for row in chosen], [texts[row] for row in chosen]


def _teach(inputs: _Inputs, key: str, own: Path, progress: Progress, should_stop: ShouldStop) -> Teaching:
    job = inputs.job
    lesson = _lesson(inputs, progress, should_stop)
    model, done = _learn(inputs, key, own.parent, lesson, progress, should_stop)
    teaching = Teaching(
        key=key,
        teacher=inputs.teacher,
        queries=lesson.taught,
        products=len(lesson.texts),
        losses=done.losses,
        curve=done.dev_curve,
        best_step=done.best_step,
    )
    with Ranks.current().first_in_turn():
        if Ranks.current().is_first:
            _keep(model, teaching, own)
            shutil.rmtree(own.parent / "states", ignore_errors=True)
            if job.taught is not None:
                _copy(own, job.taught, key)
    progress(f"{METRIC} with the teacher: {teaching.before:.4f} -> {teaching.after:.4f}, {done.seconds:.0f} s")
    return teaching


def _learn(
    inputs: _Inputs, key: str, work: Path, lesson: Lesson, progress: Progress, should_stop: ShouldStop
) -> tuple[SentenceTransformer, TrainingResult]:
    """The model after its best step and what happened; the base model, and step 0, where no step was better."""
    from transformers import set_seed

    from rankops.training.torch_encoder import load_model

    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    started = time.monotonic()
    job = inputs.job
    set_seed(job.spec.seed)
    model = load_model(job.base_model)
    before = Ranks.current().once(lambda: agreement(model, lesson, job.spec))
    inner = job.model_copy(update={"spec": _steps(job.spec, inputs.spec), "work": work})
    run = run_trainer(
        inner,
        lambda callbacks, elapsed: _trainer(inner, inputs.spec, model, lesson, callbacks, elapsed),
        metric=METRIC,
        progress=lambda event: progress(f"teacher: {event}"),
        should_stop=should_stop,
        started=started,
    )
    counts = {"pairs": lesson.taught, "dev_queries": lesson.measured, "dev_products": len(lesson.texts)}
    done = run.result(key, dev_before=before, **counts)
    if done.dev_metric_best > before:
        return model, done
    progress(f"teacher: no step betters the base model's {METRIC} of {before:.4f}; it stays as it is")
    return load_model(job.base_model), done.model_copy(update={"best_step": 0})


def _steps(spec: TrainingSpec, teacher: TeacherSpec) -> TrainingSpec:
    """The settings of the lessons, as the trainers of this room read them."""
    return spec.model_copy(
        update={
            "max_steps": teacher.steps,
            "learning_rate": teacher.learning_rate,
            "evaluate_every": -(-teacher.steps // _EVALUATIONS),
            "patience": _EVALUATIONS,
        }
    )


def _trainer(
    job: TrainingJob,
    teacher: TeacherSpec,
    model: SentenceTransformer,
    lesson: Lesson,
    callbacks: list[Any],
    elapsed: Callable[[], float],
) -> TeacherTrainer:
    from transformers import TrainingArguments

    from rankops.training.teacher_trainer import Pupil, TeacherTrainer

    return TeacherTrainer(
        spec=job.spec,
        lesson=lesson,
        temperature=teacher.temperature,
        measure=lambda pupil: agreement(pupil.encoder, lesson, job.spec),
        model=Pupil(model),
        args=TrainingArguments(remove_unused_columns=False, **arguments(job)),
        callbacks=callbacks,
        elapsed=elapsed,
    )


def _lesson(inputs: _Inputs, progress: Progress, should_stop: ShouldStop) -> Lesson:
    """Made-up queries, the texts, and what the mixture of both models says of them; vectors are kept once made."""
    from rankops.training.torch_encoder import TorchEncoder

    job, texts, share = inputs.job, inputs.texts, inputs.spec.weight
    queries = pseudo_queries(inputs.products, seed=job.spec.seed)
    if len(queries) < MIN_QUERIES:
        raise BadInput(
            f"the texts of {len(texts):,} products share too few words to make queries of ({len(queries)}, at least "
            f"{MIN_QUERIES} are needed)",
            "leave training.teacher out for this catalogue",
        )
    progress(f"teacher: {len(queries):,} queries made up from {len(texts):,} product texts")
    cache, check = VectorCache(str(job.work / "teaching" / "vectors")), interruptible(should_stop)

    def told(line: str) -> None:
        check(0)
        progress(line)

    def cosines(folder: Path, digest: str, tokens: int, who: str) -> Floats:
        """float32 (queries, products) by one of the models."""
        encoder = TorchEncoder(folder, max_query_tokens=job.spec.max_query_tokens, max_product_tokens=tokens)
        kept = cache.of({"model": digest, "tokens": tokens}, encoder.dimension)
        embed(encoder, texts, kept, progress=told, why=who)
        return encoder.encode(queries, role="query") @ kept.get(texts).T

    with Ranks.current().first_in_turn():
        wise = cosines(inputs.folder, inputs.teacher, inputs.spec.max_product_tokens, "teacher")
        own = cosines(job.base_model, inputs.base, job.spec.max_product_tokens, "base model")
    measured = min(_DEV_QUERIES, len(queries) // 5)
    return Lesson(queries, texts, (share * wise + (1 - share) * own).astype(np.float32), measured)


def agreement(model: SentenceTransformer, lesson: Lesson, spec: TrainingSpec) -> float:
    """Mean over the dev queries of the correlation of ``model``'s cosines with the target's, over the dev products."""
    from rankops.training.torch_encoder import encode_texts

    dev = lesson.dev()
    queries = encode_texts(model, [lesson.queries[row] for row in dev.queries], spec.max_query_tokens)
    products = encode_texts(model, [lesson.texts[row] for row in dev.products], spec.max_product_tokens)
    return mean_correlation(queries @ products.T, lesson.target[np.ix_(dev.queries, dev.products)])


def mean_correlation(found: Floats, target: Floats) -> float:
    """Pearson's correlation of each row, averaged; a row without spread counts 0."""
    first, second = (values - values.mean(axis=1, keepdims=True) for values in (found, target))
    sizes = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.einsum("ij,ij->i", first, second)
    return float(np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0).mean())


def _some(generator: np.random.Generator, values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return generator.choice(values, min(count, len(values)), replace=False) if len(values) else values


def _keep(model: SentenceTransformer, teaching: Teaching, folder: Path) -> None:
    from rankops.training.torch_encoder import save_model

    shutil.rmtree(folder, ignore_errors=True)
    with staged_directory(folder) as staged:
        save_model(model, staged)
        facts = {"weights": sha256_file(staged / "model.safetensors"), **teaching.model_dump(mode="json")}
        write_json(staged / TEACHING, facts)


def _standing(folder: Path, key: str) -> Teaching | None:
    """What was learned, where ``folder`` holds the whole result of these lessons."""
    path = folder / TEACHING
    if not path.is_file():
        return None
    facts = json.loads(path.read_text())
    weights = folder / "model.safetensors"
    if facts["key"] != key or not weights.is_file() or sha256_file(weights) != facts.pop("weights"):
        return None
    return Teaching.model_validate(facts)


def _copy(source: Path, target: Path, key: str) -> None:
    """Put the result of these lessons where it is looked for; what another run left there for other inputs goes."""
    if _standing(source, key) is None or _standing(target, key) is not None:
        return
    shutil.rmtree(target, ignore_errors=True)
    with staged_directory(target) as staged:
        shutil.copytree(source, staged, dirs_exist_ok=True)
