"""A cross-encoder as the ladder sees it: logits of dev pairs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankops.compression.export import ExportTask, check_checkpoint
from rankops.compression.parity import LogitParity, compare_logits
from rankops.compression.targets import providers_for
from rankops.cross_encoding import DESCRIPTION, MODEL, TOKENIZER, CrossEncoder, OnnxCrossEncoder, PairConfig
from rankops.dataset import Dataset
from rankops.errors import BadInput
from rankops.files import sha256_file, write_json
from rankops.pair_features import clean_text
from rankops.pair_parts import part_files
from rankops.pair_tokens import Pair
from rankops.specs import ModelSpec, Target

PAIRS = 96


@dataclass
class CrossEncoderSubject:
    """Implements :class:`rankops.compression.subject.Subject`. Questions are cleaned pairs."""

    checkpoint: Path
    spec: ModelSpec
    target: Target
    questions: list[Pair]
    export_task: ExportTask = "text-classification"
    what: str = "fp32, PyTorch (transformers)"
    batches: tuple[int, ...] = (1, 8, 32)

    @property
    def texts(self) -> list[Pair]:
        """The cleaned pairs."""
        return self.questions

    def reference(self) -> CrossEncoder:
        """The checkpoint."""
        from rankops.torch_cross_encoding import load_checkpoint

        return load_checkpoint(self.checkpoint)

    def open(self, folder: Path, *, threads: int = 1) -> OnnxCrossEncoder:
        """The artifact as the server runs it."""
        return OnnxCrossEncoder(folder, threads=threads, providers=providers_for(self.target))

    def write(self, folder: Path, model: Path, rung: str) -> Path:
        """``model.onnx``, ``tokenizer.json``, the parts and the description that names them by digest.

        Only what changes scores is written: the folder's digest names a model, not a measurement.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config = PairConfig.read(self.checkpoint / DESCRIPTION)
        shutil.copyfile(model, folder / MODEL)
        names = [TOKENIZER, *part_files(config.files)]
        for name in names:
            shutil.copyfile(self.checkpoint / name, folder / name)
        facts = {"objective": self.spec.ranking.objective, "model": self.spec.name, "target": self.target, "rung": rung}
        files = {name: sha256_file(folder / name) for name in [MODEL, *names]}
        write_json(folder / DESCRIPTION, {**config.described(), **facts, "files": files})
        return folder

    def outputs(self, model: CrossEncoder) -> tuple[np.ndarray, float]:
        """Logits of the pairs, and pairs per second."""
        start = time.perf_counter()
        logits = model.neural(self.questions)
        return logits, len(self.questions) / (time.perf_counter() - start)

    def compare(self, reference: np.ndarray, found: np.ndarray) -> LogitParity:
        """By correlation."""
        return compare_logits(reference, found)

    def ask(self, model: CrossEncoder, question: Pair) -> object:
        """Score one pair, trees included."""
        return model.score([question])

    def ask_many(self, model: CrossEncoder, count: int) -> object:
        """Score many pairs in one call."""
        return model.score(self.questions[:count])


def subject(checkpoint: Path, dataset: Dataset, spec: ModelSpec, target: Target) -> CrossEncoderSubject:
    """A subject over evenly spaced judged pairs of the dev split."""
    check_checkpoint(checkpoint)
    if not (checkpoint / DESCRIPTION).is_file():
        raise BadInput(f"{checkpoint / DESCRIPTION} is missing", "rematerialize the checkpoint")
    return CrossEncoderSubject(checkpoint, spec, target, _sample_pairs(dataset))


def _sample_pairs(dataset: Dataset) -> list[Pair]:
    judged = dataset.split("dev").join(dataset.judgements, on="query_id").sort("query_id", "product_id")
    texts = dict(zip(dataset.catalogue["product_id"].to_list(), dataset.product_texts(), strict=True))
    if judged.is_empty():
        raise BadInput("the dataset has no judged dev pair", "rematerialize the dataset asset")
    count = min(PAIRS, judged.height)
    rows = [judged.row(place * judged.height // count, named=True) for place in range(count)]
    return [(clean_text(row["query"]), clean_text(texts[row["product_id"]])) for row in rows]
