"""A smaller student: the layers and heads that cost least are cut out, and what is left learns the teacher's vectors.

What to cut is measured, not assumed: layers go one after another, each time the one without which the vectors of real
texts change least; heads go by the same measure, equally many from each layer, so that the graph stays regular. The
student then is a checkpoint like any other, and its rungs are judged against the teacher's outputs and relevance.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankops.errors import BadInput
from rankops.specs import StudentSpec

Progress = Callable[[str], None]
_SCANNED = 32


def make_student(checkpoint: Path, out: Path, spec: StudentSpec, texts: Sequence[str], progress: Progress) -> Path:
    """Write the student of a bi-encoder checkpoint into ``out`` and return it.

    ``texts``: real queries and product texts, none of them held out. Raises :class:`BadInput` for a model without a
    plain stack of layers, and for a student that would not be smaller.
    """
    from sentence_transformers import SentenceTransformer

    teacher = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    student = SentenceTransformer(str(checkpoint), device="cpu", local_files_only=True)
    network = student[0].auto_model
    sample = list(texts[:: max(1, len(texts) // _SCANNED)][:_SCANNED])
    progress(f"student: cutting to {spec.layers or 'all'} layers, {spec.heads or 'all'} heads a layer")
    cut_layers(student, network, spec, sample)
    cut_heads(student, network, spec, sample)
    if spec.steps:
        progress(f"student: {spec.steps} steps of learning the teacher's vectors of {len(texts)} texts")
        _distil(teacher, student, spec, list(texts))
    student.save(str(out), create_model_card=False, safe_serialization=True)
    for name in ("tokenizer.json",):
        shutil.copyfile(checkpoint / name, out / name)
    return out


def cut_layers(student: Any, network: Any, spec: StudentSpec, sample: Sequence[str]) -> list[int]:
    """Remove layers until ``spec.layers`` are left; the places of the removed ones, in the order in which they went."""
    import torch

    stack = getattr(getattr(network, "encoder", None), "layer", None)
    if stack is None:
        raise BadInput(
            f"{type(network).__name__} has no plain stack of layers", "leave compression.student out for this model"
        )
    if spec.layers is None:
        return []
    if spec.layers >= len(stack):
        raise BadInput(
            f"compression.student.layers is {spec.layers}, the model has {len(stack)}", "keep fewer layers than it has"
        )
    reference, kept, removed = _vectors(student, sample), list(range(len(stack))), []
    whole = list(stack)
    while len(kept) > spec.layers:
        costs = {}
        for place in kept:
            network.encoder.layer = torch.nn.ModuleList(whole[other] for other in kept if other != place)
            costs[place] = _cost(reference, _vectors(student, sample))
        least = min(kept, key=lambda place: (costs[place], place))
        kept.remove(least)
        removed.append(least)
    network.encoder.layer = torch.nn.ModuleList(whole[place] for place in kept)
    network.config.num_hidden_layers = len(kept)
    return removed


def cut_heads(student: Any, network: Any, spec: StudentSpec, sample: Sequence[str]) -> dict[int, list[int]]:
    """Remove heads until ``spec.heads`` are left in each layer; the removed heads of each layer."""
    if spec.heads is None:
        return {}
    count = int(network.config.num_attention_heads)
    if spec.heads >= count:
        raise BadInput(
            f"compression.student.heads is {spec.heads}, a layer has {count}", "keep fewer heads than it has"
        )
    reference, removed = _vectors(student, sample), {}
    for number, layer in enumerate(network.encoder.layer):
        size = int(layer.attention.self.attention_head_size)
        weight = layer.attention.output.dense.weight.data
        costs = {}
        for head in range(count):
            columns = weight[:, head * size : (head + 1) * size]
            before = columns.clone()
            columns.zero_()
            costs[head] = _cost(reference, _vectors(student, sample))
            columns.copy_(before)
        removed[number] = sorted(sorted(costs, key=lambda head: (costs[head], head))[: count - spec.heads])
    network.prune_heads(removed)
    return removed


def _distil(teacher: Any, student: Any, spec: StudentSpec, texts: list[str]) -> None:
    """Mean squared error to the teacher's vectors (Reimers & Gurevych 2020, without a second language)."""
    import tempfile

    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MSELoss

    data = Dataset.from_dict({"sentence": texts, "label": teacher.encode(texts, show_progress_bar=False).tolist()})
    with tempfile.TemporaryDirectory(prefix="rankops-student-") as scratch:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            max_steps=spec.steps,
            per_device_train_batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            warmup_ratio=0.1,
            seed=spec.seed,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        SentenceTransformerTrainer(model=student, args=arguments, train_dataset=data, loss=MSELoss(student)).train()
    student.eval()


def _vectors(model: Any, texts: Sequence[str]) -> np.ndarray:
    found: np.ndarray = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return found


def _cost(reference: np.ndarray, found: np.ndarray) -> float:
    """1 - mean cosine of unit rows."""
    return float(1 - np.einsum("ij,ij->i", reference, found).mean())
