"""Fine-tuning of a bi-encoder: multiple-negatives ranking with in-batch and mined hard negatives.

The run is a function of its inputs: the same job gives the same checkpoint bytes on the same machine with the same
number of threads, whether it was interrupted or not. The trainer of sentence-transformers does the steps
(:mod:`rankops.training.trainer` says what is added to it); batches come from :mod:`rankops.training.sampling`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput
from rankops.files import staged_directory, write_json
from rankops.specs import TrainingSpec
from rankops.training.job import (
    Progress,
    ShouldStop,
    Teaching,
    TrainingEvent,
    TrainingInterrupted,
    TrainingJob,
    TrainingResult,
    never_stop,
)
from rankops.training.prepare import Prepared, interruptible, prepare
from rankops.training.ranks import Ranks
from rankops.training.runs import LORA, arguments, begin, keep_result, run_trainer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from rankops.training.trainer import StatefulTrainer

__all__ = ["TrainingEvent", "TrainingInterrupted", "TrainingJob", "TrainingResult", "train"]


def train(job: TrainingJob, progress: Progress, should_stop: ShouldStop = never_stop) -> TrainingResult:
    """Fine-tune ``job.base_model`` on ``job.dataset`` and write the checkpoint folder ``job.output``.

    A killed run is continued from its last evaluation when it is started again with the same inputs and work
    folder, and ends with the same weights. ``should_stop`` is asked between steps; once it says yes the state is
    saved and :class:`TrainingInterrupted` is raised. Raises :class:`BadInput` for data that cannot be trained on,
    an output folder that holds something else, or a precision that this machine lacks.
    """
    started = time.monotonic()
    key = job.key()
    if (finished := begin(job, key, progress)) is not None:
        return finished
    job, teaching = _after_lessons(job, progress, should_stop)
    model = _load(job)
    prepared = prepare(job, model, progress, should_stop)
    interruptible(should_stop)(0)

    def build(callbacks: list[Any], elapsed: Callable[[], float]) -> StatefulTrainer:
        if job.spec.method == "lora":
            _add_lora(model)
        return _trainer(job, model, prepared, callbacks, elapsed)

    run = run_trainer(job, build, metric="nDCG@10", progress=progress, should_stop=should_stop, started=started)
    if job.spec.method == "lora":
        _merge_lora(model)
    _blend(job, model)
    result = run.result(
        key,
        dev_before=prepared.dev_before,
        pairs=len(prepared.examples),
        dev_queries=len(prepared.dev.queries),
        dev_products=len(prepared.dev.pool),
    ).model_copy(update={"teaching": teaching})
    if not Ranks.current().is_first:
        return result
    keep_result(job, result)
    _write_checkpoint(job, model, result, progress)
    progress(
        f"checkpoint after step {result.best_step}: dev nDCG@10 {result.dev_metric_before:.4f} -> "
        f"{result.dev_metric_best:.4f}, {result.seconds:.0f} s"
    )
    return result


def _after_lessons(
    job: TrainingJob, progress: Progress, should_stop: ShouldStop
) -> tuple[TrainingJob, Teaching | None]:
    """The job, started from what its base model learned of a teacher where it has one."""
    from rankops.training.teacher import taught_base

    if job.teacher is None:
        return job, None
    folder, teaching = taught_base(job, progress, should_stop)
    return job.model_copy(update={"base_model": folder}), teaching


def _load(job: TrainingJob) -> SentenceTransformer:
    """The base model, seeded; with LoRA, wrapped by adapters whose initial values depend on the seed only."""
    from transformers import set_seed

    from rankops.training.torch_encoder import load_model

    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    set_seed(job.spec.seed)
    model = load_model(job.base_model)
    longest = int(model.max_seq_length or 512)
    if job.spec.max_product_tokens > longest or job.spec.max_query_tokens > longest:
        raise BadInput(
            f"training.max_product_tokens {job.spec.max_product_tokens} or max_query_tokens "
            f"{job.spec.max_query_tokens} is more than the {longest} positions of the base model",
            f"choose at most {longest}",
        )
    return model


def _add_lora(model: SentenceTransformer) -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    transformer: Any = model[0]
    config = LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, **LORA)
    transformer.model = get_peft_model(transformer.model, config)


def _merge_lora(model: SentenceTransformer) -> None:
    """Fold the adapters into the weights they adapt: a checkpoint is always a whole model."""
    transformer: Any = model[0]
    transformer.model = transformer.model.merge_and_unload()


def _blend(job: TrainingJob, model: SentenceTransformer) -> None:
    """Average the weights with those that training started from (WiSE-FT; Wortsman et al., CVPR 2022)."""
    import torch

    from rankops.training.torch_encoder import load_model

    if not job.spec.start_weight:
        return
    start = load_model(job.base_model).state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(start[name].to(tensor), job.spec.start_weight)


def _trainer(job: TrainingJob, model: Any, prepared: Prepared, callbacks: list[Any], elapsed: Any) -> StatefulTrainer:
    from rankops.training.trainer import DevEvaluator, StatefulTrainer, TextColumns

    spec = job.spec
    rows = _rows(prepared)
    product = spec.max_product_tokens
    limits = {name: spec.max_query_tokens if name == "query" else product for name in rows.column_names}
    collator: Any = TextColumns(model, limits)
    return StatefulTrainer(
        elapsed=elapsed,
        model=model,
        args=_arguments(job, prepared),
        train_dataset=rows,
        loss=_loss(model, spec),
        evaluator=DevEvaluator(lambda current: Ranks.current().once(lambda: _dev_metric(current, prepared, spec))),
        data_collator=collator,
        callbacks=callbacks,
    )


def _rows(prepared: Prepared) -> Any:
    """The examples as a ``datasets`` table: query, positive, negative_1, ... (texts)."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    examples, texts = prepared.examples, prepared.texts
    columns = {"query": examples.queries, "positive": [texts[row] for row in examples.products]}
    for number in range(examples.negatives.shape[1]):
        columns[f"negative_{number + 1}"] = [texts[row] for row in examples.negatives[:, number]]
    return Dataset.from_dict(columns)


def _loss(model: SentenceTransformer, spec: TrainingSpec) -> Any:
    """With accumulation, GradCache: the gradients of the whole batch, its negatives included, in parts that fit."""
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )

    # With several processes every query still meets the products of the whole batch.
    options: Any = {"scale": 1 / spec.temperature, "gather_across_devices": Ranks.current().count > 1}
    if spec.gradient_accumulation > 1:
        part = -(-spec.batch_size // (spec.gradient_accumulation * Ranks.current().count))
        return CachedMultipleNegativesRankingLoss(model, mini_batch_size=part, **options)
    return MultipleNegativesRankingLoss(model, **options)


def _dev_metric(model: SentenceTransformer, prepared: Prepared, spec: TrainingSpec) -> float:
    from rankops.training.torch_encoder import encode_texts

    dev = prepared.dev
    products = encode_texts(model, [prepared.texts[row] for row in dev.pool], spec.max_product_tokens)
    return dev.ndcg(encode_texts(model, dev.queries, spec.max_query_tokens), products)


def _arguments(job: TrainingJob, prepared: Prepared) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    from rankops.training.sampling import RankingBatches

    spec = job.spec

    def batches(*_args: Any, **_kwargs: Any) -> Any:
        return RankingBatches(
            prepared.examples,
            prepared.same_text,
            batch_size=spec.batch_size,
            steps=spec.max_steps,
            seed=spec.seed,
            share=Ranks.current().share,
        )

    return SentenceTransformerTrainingArguments(batch_sampler=batches, **arguments(job))


def _write_checkpoint(job: TrainingJob, model: SentenceTransformer, result: TrainingResult, progress: Progress) -> None:
    """Stage the folder and rename it. Wall time stays out: equal inputs give equal bytes, and so one digest."""
    from rankops.dataset import load_dataset
    from rankops.training.fusion import fit_fusion
    from rankops.training.torch_encoder import TorchEncoder, save_model

    model.max_seq_length = max(job.spec.max_query_tokens, job.spec.max_product_tokens)
    with staged_directory(job.output) as staged:
        save_model(model, staged)
        facts = result.model_dump(mode="json", exclude={"seconds"})
        write_json(staged / "training.json", facts)
        if job.hybrid.enabled:
            dataset, encoder = load_dataset(job.dataset), TorchEncoder(staged)
            fusion = fit_fusion(dataset, encoder, job.hybrid, seed=job.spec.seed, progress=progress)
            fusion.save(staged)
