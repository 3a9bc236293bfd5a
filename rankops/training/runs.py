"""One run of a Hugging Face trainer, from a job to a result: begin, train or continue, report. For every such task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankops.errors import BadInput
from rankops.files import write_json
from rankops.specs import TrainingSpec
from rankops.training.job import Progress, ShouldStop, TrainingInterrupted, TrainingJob, TrainingResult
from rankops.training.prepare import open_work
from rankops.training.ranks import Ranks

if TYPE_CHECKING:
    from rankops.training.trainer import Stateful

LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": "all-linear"}
_RESULT = "result.json"

Build = Callable[[list[Any], Callable[[], float]], "Stateful"]
"""From callbacks and a clock (seconds of the run so far) to a trainer."""


def begin(job: TrainingJob, key: str, progress: Progress) -> TrainingResult | None:
    """The result of an earlier run of this job whose output stands; else None, with the work folder opened.

    Raises :class:`BadInput` where the output holds something else, or for a precision that this machine lacks.
    """
    if (finished := _finished(job, key)) is not None:
        progress(f"{job.output} already holds the checkpoint of this job")
        return finished
    _check_precision(job.spec)
    _check_ranks(job.spec)
    _set_threads(job.threads)
    if job.spec.deterministic:
        from transformers import enable_full_determinism

        enable_full_determinism(job.spec.seed)  # before anything runs on a GPU: cuBLAS reads its setting once
    with Ranks.current().first_in_turn():
        open_work(job, key, progress)
    return None


def _check_ranks(spec: TrainingSpec) -> None:
    count = Ranks.current().count
    if spec.batch_size // spec.gradient_accumulation < 2 * count:
        raise BadInput(
            f"training.batch_size {spec.batch_size} in {spec.gradient_accumulation} parts is too small for {count} "
            "processes",
            "raise it to two rows or more for each process and part, or train with fewer processes",
        )


def keep_result(job: TrainingJob, result: TrainingResult) -> None:
    """Remember the result beside the state, for when the same job is started again."""
    write_json(job.work / _RESULT, result.model_dump(mode="json"))


def _finished(job: TrainingJob, key: str) -> TrainingResult | None:
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


def precision_of(spec: TrainingSpec) -> str:
    """What ``spec.precision`` means on this machine: fp32, bf16 or fp16."""
    if spec.precision != "auto":
        return spec.precision
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "fp32"


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Run:
    """A finished run: its trainer holds the best weights."""

    job: TrainingJob
    trainer: Stateful
    seconds: float
    metric: str

    def result(self, key: str, *, dev_before: float, pairs: int, dev_queries: int, dev_products: int) -> TrainingResult:
        """What happened, from the trainer's own log."""
        from rankops.training.trainer import METRIC

        state, spec = self.trainer.state, self.job.spec
        history = state.log_history
        dev_curve = [(0, dev_before), *((int(h["step"]), float(h[METRIC])) for h in history if METRIC in h)]
        best_step = int(state.best_global_step or 0)
        return TrainingResult(
            steps=state.global_step,
            stopped_early=state.global_step < spec.max_steps,
            best_step=best_step,
            dev_metric_before=dev_before,
            dev_metric_best=dict(dev_curve)[best_step],
            losses=[(int(h["step"]), float(h["loss"])) for h in history if "loss" in h],
            dev_curve=dev_curve,
            seconds=self.seconds,
            pairs=pairs,
            seed=spec.seed,
            parameters=sum(p.numel() for p in self.trainer.model.parameters()),
            trained_parameters=self.trainer.trained_parameters,
            dev_queries=dev_queries,
            dev_products=dev_products,
            inputs=key,
            spec=spec,
            metric=self.metric,
        )


def run_trainer(
    job: TrainingJob, build: Build, *, metric: str, progress: Progress, should_stop: ShouldStop, started: float
) -> Run:
    """Train (or continue, or only load what an earlier process finished) and leave the best weights in the model.

    ``metric`` names the dev metric for people. Raises :class:`TrainingInterrupted` once ``should_stop`` says yes and
    the state is saved.
    """
    from transformers import EarlyStoppingCallback, set_seed

    from rankops.training.callbacks import Between
    from rankops.training.trainer import newest_state, sealed_seconds

    with Ranks.current().first_in_turn():
        state = newest_state(job.work / "states")
    spent = sealed_seconds(state) if state else 0.0

    def elapsed() -> float:
        return spent + time.monotonic() - started

    set_seed(job.spec.seed)  # whatever the preparation drew must not matter: it is skipped on a resume
    between = Between(progress, should_stop, metric)
    trainer = build([EarlyStoppingCallback(early_stopping_patience=job.spec.patience), between], elapsed)
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
    return Run(job, trainer, elapsed(), metric)


def _complete(state: Path, spec: TrainingSpec) -> bool:
    """Whether the run of this state had come to its end (steps or patience) when the process died."""
    from rankops.training.trainer import STATE_FILE

    saved = json.loads((state / STATE_FILE).read_text())
    waited = saved["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"]
    return bool(saved["global_step"] >= spec.max_steps or waited >= spec.patience)


def _restore(trainer: Stateful, state: Path) -> None:
    from transformers import TrainerState

    from rankops.training.trainer import STATE_FILE

    trainer.state = TrainerState.load_from_json(str(state / STATE_FILE))
    trainer.load_best_weights(int(trainer.state.best_global_step or 0))


def arguments(job: TrainingJob) -> dict[str, Any]:
    """What the training arguments of every task have in common."""
    import torch

    from rankops.training.trainer import METRIC

    spec = job.spec
    return {
        "output_dir": str(job.work / "states"),
        "max_steps": spec.max_steps,
        "per_device_train_batch_size": -(-spec.batch_size // Ranks.current().count),
        "learning_rate": spec.learning_rate,
        "warmup_ratio": spec.warmup_ratio,
        "lr_scheduler_type": "linear",
        "max_grad_norm": 1.0,
        "bf16": precision_of(spec) == "bf16",
        "fp16": precision_of(spec) == "fp16",
        "gradient_checkpointing": spec.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},  # works with LoRA, whose inputs need no gradient
        "use_cpu": not torch.cuda.is_available(),
        "ddp_backend": None if torch.cuda.is_available() or Ranks.current().count == 1 else "gloo",
        "seed": spec.seed,
        "eval_strategy": "steps",
        "eval_steps": spec.evaluate_every,
        "save_strategy": "steps",
        "save_steps": spec.evaluate_every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": METRIC,
        "greater_is_better": True,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_num_workers": 0,
        "dataloader_drop_last": Ranks.current().count > 1,  # ours are all whole; the trainer warns otherwise
        "dataloader_pin_memory": False,
    }
