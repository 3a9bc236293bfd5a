"""A student: what is cut is measured, what is left is a checkpoint, and it learns its teacher's vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from rankops.compression.ladder import compress
from rankops.compression.reference import CheckpointEncoder
from rankops.compression.student import make_student
from rankops.compression.targets import detect_target
from rankops.errors import BadInput
from rankops.specs import ModelSpec, StudentSpec
from tests.compression.conftest import COLOURS, THINGS

TEXTS = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]


def vectors(folder: Path) -> np.ndarray:
    return CheckpointEncoder(folder, max_query_tokens=24, max_product_tokens=24).encode(TEXTS, role="query")


def closeness(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.einsum("ij,ij->i", left, right).mean())


def test_a_cut_student_is_a_smaller_checkpoint_that_learns_towards_its_teacher(
    checkpoint: Path, tmp_path: Path
) -> None:
    cut = make_student(checkpoint, tmp_path / "cut", StudentSpec(layers=1, heads=2, steps=0), TEXTS, print)
    config = json.loads((cut / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    assert len(config["pruned_heads"]["0"]) == 2
    spec = StudentSpec(layers=1, heads=2, steps=40, batch_size=32, learning_rate=3e-3)
    learnt = make_student(checkpoint, tmp_path / "learnt", spec, TEXTS, print)
    teacher = vectors(checkpoint)
    assert closeness(vectors(learnt), teacher) > closeness(vectors(cut), teacher) + 0.02


def test_a_layer_that_does_nothing_is_the_one_that_goes(checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertModel

    from tests.compression.conftest import save_checkpoint

    model = BertModel.from_pretrained(checkpoint)
    idle = model.encoder.layer[0]
    with torch.no_grad():
        for part in (idle.attention.output.dense, idle.output.dense):
            part.weight.zero_()
            part.bias.zero_()
    folder = save_checkpoint(tmp_path / "idle", model.eval())
    student = make_student(folder, tmp_path / "student", StudentSpec(layers=1, steps=0), TEXTS, print)
    assert closeness(vectors(student), vectors(folder)) > 0.99


@pytest.mark.parametrize(("asked", "named"), [({"layers": 2}, "layers"), ({"heads": 4}, "heads")])
def test_a_student_that_would_not_be_smaller_is_refused(checkpoint: Path, tmp_path: Path, asked, named: str) -> None:
    with pytest.raises(BadInput, match=rf"compression\.student\.{named}"):
        make_student(checkpoint, tmp_path / "out", StudentSpec(**asked), TEXTS, print)


def test_a_spec_of_a_student_says_what_is_smaller_and_is_for_bi_encoders() -> None:
    with pytest.raises(ValidationError, match="smaller"):
        StudentSpec()
    with pytest.raises(ValidationError, match="bi-encoders"):
        ModelSpec(name="ranker", task="ranking", compression={"student": {"layers": 3}})


def test_the_ladder_judges_a_students_rungs_against_the_teacher(
    checkpoint: Path, dataset, spec: ModelSpec, reciprocal_rank, tmp_path: Path
) -> None:
    asked = spec.compression.model_copy(update={"student": StudentSpec(layers=1, steps=2)})
    told = spec.model_copy(update={"compression": asked})
    report = compress(checkpoint, dataset, told, detect_target(), tmp_path / "out", score=reciprocal_rank)
    rows = {rung.name: rung for rung in report.rungs}
    student = rows["student-int8-lean"]
    assert student.what.startswith("student, ") and "could not be built" not in student.reason, student
    assert student.size_mb < rows["int8-lean"].size_mb
    assert student.cosine_mean < rows["int8-lean"].cosine_mean
