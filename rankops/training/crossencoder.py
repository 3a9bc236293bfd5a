"""Fine-tuning of a cross-encoder: graded (order candidates) or match (decide whether two offers are one product).

The network learns pairs with binary cross-entropy; beside it trees learn counts of shared words, and (where the spec
says so) a word model which words answer which. On the dev split they are weighed: by logistic regression and with the
threshold of the best F1 (match), or by the mixture that orders candidates best, whose score a logistic regression then
makes a calibrated probability (graded). As with a bi-encoder, the run is a function of its inputs, interrupted or not.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankops.cross_encoding import DESCRIPTION, TOKENIZER, Blend, CrossEncoder, Logits, PairConfig
from rankops.dataset import Dataset, Split, load_dataset
from rankops.decisions import best_shares, best_threshold, fit_logistic
from rankops.errors import BadInput
from rankops.feature_selection import FeatureScore
from rankops.files import sha256_file, staged_directory, write_json
from rankops.pair_features import PairFeatures
from rankops.pair_parts import FILES, PairPart, Parts
from rankops.pair_tokens import PairTokenizer
from rankops.release.manifest import STORE_MARKER
from rankops.specs import ModelSpec, RankingSpec
from rankops.torch_cross_encoding import BATCH_TOKENS, load_checkpoint, load_network, logits_of, token_types
from rankops.training.crossencoder_data import Candidates, JudgedPairs, dev_data, dev_metric, dev_orders, training_data
from rankops.training.job import Progress, ShouldStop, TrainingJob, TrainingResult, never_stop
from rankops.training.pair_ensemble import fit_lexical
from rankops.training.pair_words import fit_words
from rankops.training.prepare import interruptible
from rankops.training.ranks import Ranks
from rankops.training.runs import LORA, arguments, begin, keep_result, run_trainer

if TYPE_CHECKING:
    from rankops.training.crossencoder_trainer import PairTrainer

__all__ = ["recalibrate", "train"]

_BEFORE = "before.json"
_NETWORK = "neural"
_LEAST_SLOPE = 1e-3
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
    candidates = _candidates(job, dataset, progress)
    data, features = training_data(dataset, job.ranking, job.spec.seed, candidates["train"])
    dev = dev_data(dataset, job.ranking, job.spec.seed, candidates["dev"])
    progress(f"{len(data):,} training pairs, {int(data.labels.sum()):,} right; {len(dev):,} dev pairs")
    parts, verdicts = _parts(job, data, features, progress)
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
    ).model_copy(update={"features": verdicts})
    if not Ranks.current().is_first:
        return result
    keep_result(job, result)
    config = _calibrated(network.encoder(network.config, logits_of(network.model), parts), dev, job.ranking)
    _write_checkpoint(job, network, config, parts, result)
    told = "" if config.threshold is None else f", threshold {config.threshold:.3f}"
    progress(
        f"checkpoint after step {result.best_step}: dev {result.metric} {before:.4f} -> "
        f"{result.dev_metric_best:.4f}{told}, {result.seconds:.0f} s"
    )
    return result


def _candidates(job: TrainingJob, dataset: Dataset, progress: Progress) -> dict[Split, Candidates]:
    """What the ranker will be asked to order, for the queries of train and dev; a matcher is asked about its pairs."""
    splits: tuple[Split, ...] = ("train", "dev")
    if job.ranking.objective == "match":
        return {split: {} for split in splits}
    from rankops.training.candidates import split_candidates

    progress(f"candidates of the queries among {dataset.catalogue.height:,} products")
    return split_candidates(dataset, splits, job.ranking, job.retriever or job.base_model)


def _parts(
    job: TrainingJob, data: JudgedPairs, features: PairFeatures, progress: Progress
) -> tuple[dict[str, PairPart], list[FeatureScore]]:
    """What stands beside the network, by name, and the verdicts on the trees' features. The first process fits it."""
    found: dict[str, PairPart] = {}
    verdicts: list[FeatureScore] = []
    if not Ranks.current().is_first:
        return found, verdicts
    if job.ranking.lexical:
        progress(f"trees over counts of shared words: {len(data):,} pairs")
        found["lexical"], verdicts = fit_lexical(data, features, job.spec.seed, job.ranking.features)
        if verdicts:
            progress(f"{sum(v.kept for v in verdicts)} of {len(verdicts)} features kept")
    if job.ranking.word_model is not None:
        progress(f"word model: {int(data.labels.sum()):,} right pairs")
        found["words"] = fit_words(data, job.ranking.word_model)
    return found, verdicts


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

    def encoder(self, config: PairConfig, logits: Logits, parts: Parts) -> CrossEncoder:
        """The network as it is now, as what scores pairs."""
        return CrossEncoder(config, self.tokenizer, logits, parts, batch_tokens=BATCH_TOKENS)

    def measure(self, model: Any, dev: JudgedPairs) -> float:
        """The dev metric of the network alone, in one order of each pair."""
        model.eval()
        single = replace(self.config, both_orders=False)
        scores = self.encoder(single, logits_of(model), {}).neural(dev.pairs).astype(np.float64)
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


def _calibrated(encoder: CrossEncoder, dev: JudgedPairs, spec: RankingSpec) -> PairConfig:
    """Weights and threshold from the dev split, which no part has learned from."""
    parts = encoder.parts(dev.pairs)
    if spec.objective == "graded":
        return replace(encoder.config, blend=_ordering(parts, dev))
    blend = Blend(**fit_logistic(parts, dev.targets))
    threshold, _ = best_threshold(dev.labels, blend.probabilities(parts))
    return replace(encoder.config, blend=blend, threshold=min(threshold, 1.0))


def _ordering(parts: Mapping[str, NDArray[np.float64]], dev: JudgedPairs) -> Blend:
    """The mixture that orders best, as a probability: log-loss alone would weigh sure pairs, not the first ten."""
    shares = _shares(parts, dev)
    mixed = _mixed(parts, shares)
    fitted = fit_logistic({"mixed": mixed}, dev.targets)
    slope = max(fitted["mixed"], _LEAST_SLOPE)  # more is never worse, whatever few dev pairs say
    return Blend(**{name: slope * share for name, share in shares.items()}, bias=fitted["bias"])


def _shares(parts: Mapping[str, NDArray[np.float64]], dev: JudgedPairs) -> dict[str, float]:
    """The best mixture; without the network where that is not clearly worse.

    The network is nearly all of a pair's cost: its gain must exceed one standard error of the paired difference.
    """

    def measure(scores: NDArray[np.float64]) -> float:
        return float(dev_orders(dev, scores).mean())

    shares = best_shares(parts, measure)
    others = {name: values for name, values in parts.items() if name != _NETWORK}
    if not others or not shares[_NETWORK]:
        return shares
    without = best_shares(others, measure)
    gain = dev_orders(dev, _mixed(parts, shares)) - dev_orders(dev, _mixed(others, without))
    return shares if gain.mean() > gain.std() / np.sqrt(len(gain)) else {_NETWORK: 0.0, **without}


def _mixed(parts: Mapping[str, NDArray[np.float64]], shares: Mapping[str, float]) -> NDArray[np.float64]:
    return np.asarray(sum(shares[name] * values for name, values in parts.items()))


def recalibrate(
    checkpoint: Path, dataset: Dataset, spec: ModelSpec, out: Path, progress: Callable[[str], None]
) -> None:
    """Write a matcher's ``checkpoint`` to the folder ``out``, blend and threshold chosen on the dev split."""
    dev = dev_data(dataset, spec.ranking, spec.training.seed, {})
    progress(f"weights and threshold from {len(dev):,} dev pairs")
    encoder = load_checkpoint(checkpoint)
    config = _calibrated(encoder, dev, spec.ranking)
    with staged_directory(out) as staged:
        shutil.copytree(checkpoint, staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns(STORE_MARKER))
        write_json(staged / DESCRIPTION, {**encoder.config.facts, **config.described()})
    progress(f"threshold {encoder.config.threshold} -> {config.threshold}")


def _write_checkpoint(
    job: TrainingJob, network: _Network, config: PairConfig, parts: Parts, result: TrainingResult
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
        for name, part in parts.items():
            if not getattr(config.blend, name):
                continue  # what the dev split gave no weight is left out
            part.save(staged / FILES[name])
            files[FILES[name]] = sha256_file(staged / FILES[name])
        write_json(staged / DESCRIPTION, {**config.described(), "objective": job.ranking.objective, "files": files})
        write_json(staged / "training.json", result.model_dump(mode="json", exclude={"seconds"}))
