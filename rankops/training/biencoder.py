"""Fine-tuning of a bi-encoder: multiple-negatives ranking with in-batch and mined hard negatives.

The run is a function of its inputs: the same job gives the same checkpoint bytes on the same machine with the same
number of threads, whether it was interrupted or not. The trainer of sentence-transformers does the steps
(:mod:`rankops.training.trainer` says what is added to it); batches come from :mod:`rankops.training.sampling`.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput
from rankops.files import staged_directory, write_json
from rankops.specs import TrainingSpec
from rankops.training.job import (
    Progress,
    ShouldStop,
    TrainingEvent,
    TrainingInterrupted,
    TrainingJob,
    TrainingResult,
    never_stop,
)
from rankops.training.prepare import Prepared, interruptible, open_work, prepare

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from rankops.training.trainer import StatefulTrainer

__all__ = ["TrainingEvent", "TrainingInterrupted", "TrainingJob", "TrainingResult", "train"]

_RESULT = "result.json"
_LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": "all-linear"}


def train(job: TrainingJob, progress: Progress, should_stop: ShouldStop = never_stop) -> TrainingResult:
    """Fine-tune ``job.base_model`` on ``job.dataset`` and write the checkpoint folder ``job.output``.

    A killed run is continued from its last evaluation when it is started again with the same inputs and work
    folder, and ends with the same weights. ``should_stop`` is asked between steps; once it says yes the state is
    saved and :class:`TrainingInterrupted` is raised. Raises :class:`BadInput` for data that cannot be trained on,
    an output folder that holds something else, or a precision that this machine lacks.
    """
    started = time.monotonic()
    key = job.key()
    if (finished := _finished(job, key)) is not None:
        progress(f"{job.output} already holds the checkpoint of this job")
        return finished
    _check_precision(job.spec)
    _set_threads(job.threads)
    open_work(job, key, progress)
    model = _load(job)
    prepared = prepare(job, model, progress, should_stop)
    interruptible(should_stop)(0)
    trainer, seconds = _run(job, model, prepared, progress=progress, should_stop=should_stop, started=started)
    result = _result(job, key, trainer, prepared, seconds)
    write_json(job.work / _RESULT, result.model_dump(mode="json"))
    _write_checkpoint(job, model, result)
    progress(
        f"checkpoint after step {result.best_step}: dev nDCG@10 {result.dev_metric_before:.4f} -> "
        f"{result.dev_metric_best:.4f}, {result.seconds:.0f} s"
    )
    return result


def _finished(job: TrainingJob, key: str) -> TrainingResult | None:
    """The result of an earlier run of the same job whose output stands."""
    if not job.output.exists() or (job.output.is_dir() and not any(job.output.iterdir())):
        return None
    written, kept = job.output / "training.json", job.work / _RESULT
    if written.is_file() and json.loads(written.read_text()).get("inputs") == key and kept.is_file():
        return TrainingResult.model_validate_json(kept.read_text())
    raise BadInput(f"{job.output} exists and is not the checkpoint of this job", "delete it or choose another output")


def _check_precision(spec: TrainingSpec) -> None:
    import torch

    if spec.precision == "fp16" and not torch.cuda.is_available():
        raise BadInput("training.precision fp16 needs a CUDA GPU and this machine has none", "choose fp32 or bf16")


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


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
    config = LoraConfig(task_type=TaskType.FEATURE_EXTRACTION, **_LORA)  # type: ignore[arg-type]
    transformer.model = get_peft_model(transformer.model, config)


def _merge_lora(model: SentenceTransformer) -> None:
    """Fold the adapters into the weights they adapt: a checkpoint is always a whole model."""
    transformer: Any = model[0]
    transformer.model = transformer.model.merge_and_unload()


def _run(
    job: TrainingJob,
    model: SentenceTransformer,
    prepared: Prepared,
    *,
    progress: Progress,
    should_stop: ShouldStop,
    started: float,
) -> tuple[StatefulTrainer, float]:
    """Train (or continue, or only load what an earlier process finished) and leave the best weights in ``model``."""
    from transformers import EarlyStoppingCallback, set_seed

    from rankops.training.callbacks import Between
    from rankops.training.trainer import newest_state, sealed_seconds

    state = newest_state(job.work / "states")
    spent = sealed_seconds(state) if state else 0.0

    def elapsed() -> float:
        return spent + time.monotonic() - started

    set_seed(job.spec.seed)  # whatever the preparation drew must not matter: it is skipped on a resume
    if job.spec.method == "lora":
        _add_lora(model)
    between = Between(progress, should_stop)
    patience = EarlyStoppingCallback(early_stopping_patience=job.spec.patience)
    trainer = _trainer(job, model, prepared, [patience, between], elapsed)
    if state is not None and _complete(state, job.spec):
        progress(f"an earlier run finished the steps ({state.name}); writing its checkpoint")
        _restore(trainer, state)
    else:
        if state is not None:
            progress(f"continuing from {state.name}")
        trainer.train(resume_from_checkpoint=str(state) if state else None)
    if between.interrupted:
        raise TrainingInterrupted(
            f"training was asked to stop after step {trainer.state.global_step}; its state is saved in {job.work}",
            "run it again with the same work folder to continue",
        )
    if job.spec.method == "lora":
        _merge_lora(model)
    return trainer, elapsed()


def _trainer(job: TrainingJob, model: Any, prepared: Prepared, callbacks: list[Any], elapsed: Any) -> StatefulTrainer:
    import torch

    from rankops.training.trainer import DevEvaluator, StatefulTrainer, TextColumns

    spec = job.spec
    rows = _rows(prepared)
    product = spec.max_product_tokens
    limits = {name: spec.max_query_tokens if name == "query" else product for name in rows.column_names}
    collator: Any = TextColumns(model, limits)
    return StatefulTrainer(
        elapsed=elapsed,
        model=model,
        args=_arguments(job, prepared, use_cpu=not torch.cuda.is_available()),
        train_dataset=rows,
        loss=_loss(model, spec),
        evaluator=DevEvaluator(lambda current: _dev_metric(current, prepared, spec)),
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

    if spec.gradient_accumulation > 1:
        part = -(-spec.batch_size // spec.gradient_accumulation)
        return CachedMultipleNegativesRankingLoss(model, mini_batch_size=part)
    return MultipleNegativesRankingLoss(model)


def _dev_metric(model: SentenceTransformer, prepared: Prepared, spec: TrainingSpec) -> float:
    from rankops.training.torch_encoder import encode_texts

    dev = prepared.dev
    products = encode_texts(model, [prepared.texts[row] for row in dev.pool], spec.max_product_tokens)
    return dev.ndcg(encode_texts(model, dev.queries, spec.max_query_tokens), products)


def _arguments(job: TrainingJob, prepared: Prepared, *, use_cpu: bool) -> Any:
    from sentence_transformers import SentenceTransformerTrainingArguments

    from rankops.training.sampling import RankingBatches
    from rankops.training.trainer import METRIC

    spec = job.spec

    def batches(*_args: Any, **_kwargs: Any) -> Any:
        return RankingBatches(
            prepared.examples, prepared.same_text, batch_size=spec.batch_size, steps=spec.max_steps, seed=spec.seed
        )

    return SentenceTransformerTrainingArguments(
        output_dir=str(job.work / "states"),
        max_steps=spec.max_steps,
        per_device_train_batch_size=spec.batch_size,
        batch_sampler=batches,
        learning_rate=spec.learning_rate,
        warmup_ratio=spec.warmup_ratio,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        bf16=spec.precision == "bf16",
        fp16=spec.precision == "fp16",
        use_cpu=use_cpu,
        seed=spec.seed,
        eval_strategy="steps",
        eval_steps=spec.evaluate_every,
        save_strategy="steps",
        save_steps=spec.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=METRIC,
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


def _complete(state: Path, spec: TrainingSpec) -> bool:
    """Whether the run of this state had come to its end (steps or patience) when the process died."""
    from rankops.training.trainer import STATE_FILE

    saved = json.loads((state / STATE_FILE).read_text())
    waited = saved["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"]
    return bool(saved["global_step"] >= spec.max_steps or waited >= spec.patience)


def _restore(trainer: StatefulTrainer, state: Path) -> None:
    from transformers import TrainerState

    from rankops.training.trainer import STATE_FILE

    trainer.state = TrainerState.load_from_json(str(state / STATE_FILE))
    trainer.load_best_weights(int(trainer.state.best_global_step or 0))


def _result(job: TrainingJob, key: str, trainer: StatefulTrainer, prepared: Prepared, seconds: float) -> TrainingResult:
    from rankops.training.trainer import METRIC

    history = trainer.state.log_history
    dev_curve = [(0, prepared.dev_before), *((int(h["step"]), float(h[METRIC])) for h in history if METRIC in h)]
    best_step = int(trainer.state.best_global_step or 0)
    parameters = list(trainer.model.parameters())
    return TrainingResult(
        steps=trainer.state.global_step,
        stopped_early=trainer.state.global_step < job.spec.max_steps,
        best_step=best_step,
        dev_metric_before=prepared.dev_before,
        dev_metric_best=dict(dev_curve)[best_step],
        losses=[(int(h["step"]), float(h["loss"])) for h in history if "loss" in h],
        dev_curve=dev_curve,
        seconds=seconds,
        pairs=len(prepared.examples),
        seed=job.spec.seed,
        parameters=sum(p.numel() for p in parameters),
        trained_parameters=trainer.trained_parameters,
        dev_queries=len(prepared.dev.queries),
        dev_products=len(prepared.dev.pool),
        inputs=key,
        spec=job.spec,
    )


def _write_checkpoint(job: TrainingJob, model: SentenceTransformer, result: TrainingResult) -> None:
    """Stage the folder and rename it. Wall time stays out: equal inputs give equal bytes, and so one digest."""
    from rankops.training.torch_encoder import reset_tokenizer

    model.max_seq_length = max(job.spec.max_query_tokens, job.spec.max_product_tokens)
    reset_tokenizer(model)
    with staged_directory(job.output) as staged:
        model.save_pretrained(str(staged), safe_serialization=True, create_model_card=False)
        for path in staged.rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes 0600: a server under another user could not read it
        facts = result.model_dump(mode="json", exclude={"seconds"})
        write_json(staged / "training.json", facts)
