"""Fine-tuning of a cross-encoder: graded (order candidates) or match (decide whether two offers are one product).

The network learns pairs with binary cross-entropy; beside it trees learn counts of shared words. On the dev split a
logistic regression weighs the two, which also makes the score a calibrated probability, and (match) the threshold of
the best F1 is chosen. As with a bi-encoder, the run is a function of its inputs, interrupted or not.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankops.cross_encoding import DESCRIPTION, TOKENIZER, Blend, CrossEncoder, Logits, PairConfig
from rankops.dataset import Dataset, load_dataset
from rankops.decisions import best_threshold, fit_logistic
from rankops.errors import BadInput
from rankops.files import sha256_file, staged_directory, write_json
from rankops.pair_tokens import PairTokenizer
from rankops.pair_trees import LEXICAL, LexicalModel
from rankops.release.manifest import STORE_MARKER
from rankops.specs import ModelSpec, RankingSpec
from rankops.torch_cross_encoding import BATCH_TOKENS, load_checkpoint, load_network, logits_of, token_types
from rankops.training.crossencoder_data import JudgedPairs, dev_data, dev_metric, training_data
from rankops.training.job import Progress, ShouldStop, TrainingJob, TrainingResult, never_stop
from rankops.training.pair_ensemble import fit_lexical
from rankops.training.prepare import interruptible
from rankops.training.ranks import Ranks
from rankops.training.runs import LORA, arguments, begin, keep_result, run_trainer

if TYPE_CHECKING:
    from rankops.training.crossencoder_trainer import PairTrainer

__all__ = ["recalibrate", "train"]

_BEFORE = "before.json"
METRICS = {"match": "average precision", "graded": "nDCG@10"}


def train(job: TrainingJob, progress: Progress, should_stop: ShouldStop = never_stop) -> TrainingResult:
    """Fine-tune ``job.base_model`` on ``job.dataset`` and write the checkpoint folder ``job.output``.

    Resumes and stops as :func:`rankops.training.biencoder.train` does, and raises the same errors.
    """
    started = time.monotonic()
    key = job.key()
    if (finished := begin(job, key, progress)) is not None:
        return finished
    network = _Network(job)
    dataset = load_dataset(job.dataset)
    data, features = training_data(dataset, job.ranking, job.spec.seed)
    dev = dev_data(dataset, job.spec.seed)
    progress(f"{len(data):,} training pairs, {int(data.labels.sum()):,} right; {len(dev):,} dev pairs")
    lexical = None
    if job.ranking.lexical and Ranks.current().is_first:
        progress(f"trees over counts of shared words: {len(data):,} pairs")
        lexical = fit_lexical(data, features, job.spec.seed)
    interruptible(should_stop)(0)
    before = _before(job, network, dev, progress)
    run = run_trainer(
        job,
        lambda callbacks, elapsed: network.trainer(data, dev, callbacks, elapsed),
        metric=METRICS[job.ranking.objective],
        progress=progress,
        should_stop=should_stop,
        started=started,
    )
    network.merge()
    result = run.result(
        key,
        dev_before=before,
        pairs=len(data),
        dev_queries=len(set(dev.query_ids)),
        dev_products=len({right for _, right in dev.pairs}),
    )
    if not Ranks.current().is_first:
        return result
    keep_result(job, result)
    config = _fitted(job, network, dev, lexical)
    _write_checkpoint(job, network, config, lexical, result)
    told = "" if config.threshold is None else f", threshold {config.threshold:.3f}"
    progress(
        f"checkpoint after step {result.best_step}: dev {result.metric} {before:.4f} -> "
        f"{result.dev_metric_best:.4f}{told}, {result.seconds:.0f} s"
    )
    return result


class _Network:
    """The model being trained, with its tokenizer and the settings by which it reads pairs."""

    def __init__(self, job: TrainingJob) -> None:
        from transformers import set_seed

        logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
        set_seed(job.spec.seed)
        self.job = job
        self.model = load_network(job.base_model, marked=job.ranking.mark_shared_words)
        longest = int(getattr(self.model.config, "max_position_embeddings", 512))
        if job.ranking.max_pair_tokens > longest:
            raise BadInput(
                f"ranking.max_pair_tokens {job.ranking.max_pair_tokens} is more than the {longest} positions of the "
                "base model",
                f"choose at most {longest}",
            )
        self.tokenizer_file = job.base_model / TOKENIZER
        self.config = PairConfig(
            max_pair_tokens=job.ranking.max_pair_tokens,
            marked=token_types(self.model) > 2,
            both_orders=job.ranking.both_orders,
            blend=Blend(),
            threshold=None,
            files={},
        )
        self.tokenizer = PairTokenizer(
            self.tokenizer_file, max_tokens=self.config.max_pair_tokens, marked=self.config.marked
        )

    def encoder(self, config: PairConfig, logits: Logits, lexical: LexicalModel | None = None) -> CrossEncoder:
        """The network as it is now, as what scores pairs."""
        return CrossEncoder(config, self.tokenizer, logits, lexical, batch_tokens=BATCH_TOKENS)

    def measure(self, model: Any, dev: JudgedPairs) -> float:
        """The dev metric of the network alone, in one order of each pair."""
        model.eval()
        single = replace(self.config, both_orders=False)
        scores = self.encoder(single, logits_of(model)).neural(dev.pairs).astype(np.float64)
        return dev_metric(dev, scores, self.job.ranking)

    def trainer(
        self, data: JudgedPairs, dev: JudgedPairs, callbacks: list[Any], elapsed: Callable[[], float]
    ) -> PairTrainer:
        """A trainer over the pairs in both orders."""
        from transformers import TrainingArguments

        from rankops.training.crossencoder_trainer import PairBatches, PairTrainer

        job, spec = self.job, self.job.spec
        if spec.method == "lora":
            self._add_lora()
        micro = -(-spec.batch_size // spec.gradient_accumulation)
        rows = self.tokenizer(data.pairs)
        swapped = self.tokenizer([(right, left) for left, right in data.pairs])
        common = {**arguments(job), "per_device_train_batch_size": micro, "remove_unused_columns": False}
        return PairTrainer(
            rows=rows,
            swapped=swapped,
            targets=data.targets,
            batches=PairBatches(
                [len(row) for row in rows],
                batch_size=micro,
                steps=spec.max_steps * spec.gradient_accumulation,
                seed=spec.seed,
                swap=job.ranking.swap,
                share=Ranks.current().share,
            ),
            positive_weight=job.ranking.positive_weight,
            measure=lambda model: self.measure(model, dev),
            typed=token_types(self.model) > 1,
            elapsed=elapsed,
            model=self.model,
            args=TrainingArguments(gradient_accumulation_steps=spec.gradient_accumulation, **common),
            callbacks=callbacks,
        )

    def _add_lora(self) -> None:
        from peft import LoraConfig, TaskType, get_peft_model

        self.model = get_peft_model(self.model, LoraConfig(task_type=TaskType.SEQ_CLS, **LORA))

    def merge(self) -> None:
        """Fold adapters into the weights they adapt: a checkpoint is always a whole model."""
        if self.job.spec.method == "lora":
            self.model = self.model.merge_and_unload()
        self.model.eval()


def _before(job: TrainingJob, network: _Network, dev: JudgedPairs, progress: Progress) -> float:
    """The dev metric before the first step, measured once and kept in the work folder."""
    path = job.work / _BEFORE
    with Ranks.current().first_in_turn():
        if not path.is_file():
            progress(f"dev {METRICS[job.ranking.objective]} before training: {len(dev):,} pairs")
            write_json(path, {"dev": network.measure(network.model, dev)})
    return float(json.loads(path.read_text())["dev"])


def _fitted(job: TrainingJob, network: _Network, dev: JudgedPairs, lexical: LexicalModel | None) -> PairConfig:
    """Weights and threshold from the dev split, which neither part has learned from."""
    encoder = network.encoder(network.config, logits_of(network.model), lexical)
    return _calibrated(encoder, dev, job.ranking)


def _calibrated(encoder: CrossEncoder, dev: JudgedPairs, spec: RankingSpec) -> PairConfig:
    parts = encoder.parts(dev.pairs)
    blend = Blend(**fit_logistic(parts, dev.targets))
    if spec.objective == "graded":
        return replace(encoder.config, blend=blend)
    threshold, _ = best_threshold(dev.labels, blend.probabilities(parts))
    return replace(encoder.config, blend=blend, threshold=min(threshold, 1.0))


def recalibrate(
    checkpoint: Path, dataset: Dataset, spec: ModelSpec, out: Path, progress: Callable[[str], None]
) -> None:
    """Write ``checkpoint`` to the folder ``out`` with blend and threshold chosen on the dev split of ``dataset``."""
    dev = dev_data(dataset, spec.training.seed)
    progress(f"weights and threshold from {len(dev):,} dev pairs")
    encoder = load_checkpoint(checkpoint)
    config = _calibrated(encoder, dev, spec.ranking)
    with staged_directory(out) as staged:
        shutil.copytree(checkpoint, staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns(STORE_MARKER))
        write_json(staged / DESCRIPTION, {**encoder.config.facts, **config.described()})
    progress(f"threshold {encoder.config.threshold} -> {config.threshold}")


def _write_checkpoint(
    job: TrainingJob, network: _Network, config: PairConfig, lexical: LexicalModel | None, result: TrainingResult
) -> None:
    """Stage the folder and rename it. Wall time stays out: equal inputs give equal bytes, and so one digest."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(job.base_model), local_files_only=True)
    tokenizer.model_max_length = config.max_pair_tokens
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        backend.no_padding()
        backend.no_truncation()
    with staged_directory(job.output) as staged:
        network.model.save_pretrained(str(staged), safe_serialization=True)
        tokenizer.save_pretrained(str(staged))
        for path in staged.rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes 0600: a server under another user could not read it
        files = {}
        if lexical is not None:
            lexical.save(staged / LEXICAL)
            files = {LEXICAL: sha256_file(staged / LEXICAL)}
        write_json(staged / DESCRIPTION, {**config.described(), "objective": job.ranking.objective, "files": files})
        write_json(staged / "training.json", result.model_dump(mode="json", exclude={"seconds"}))
