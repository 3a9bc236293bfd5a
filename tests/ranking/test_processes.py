"""A cross-encoder trained by two processes: what one process makes of the same batches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from rankops.dataset import Dataset
from rankops.training.job import TrainingJob
from tests.ranking.conftest import MATCHER
from tests.support.ranks import assert_same, train_by


def test_two_processes_make_the_matcher_that_one_makes(
    offers: Dataset, make_job: Callable[..., TrainingJob], tiny_base: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text())
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # each process draws its own
    (base / "config.json").write_text(json.dumps({**config, **quiet}))
    training = MATCHER.training.model_copy(update={"max_steps": 6, "evaluate_every": 3})
    short = MATCHER.model_copy(update={"training": training})
    single, several = (make_job(tmp_path / name, offers, short, base_model=base) for name in ("single", "several"))
    for count, job in enumerate((single, several), start=1):
        (tmp_path / f"job-{count}.json").write_text(job.model_dump_json())
        train_by(count, tmp_path / f"job-{count}.json")
    assert_same(several.output, single.output)
    told, expected = (json.loads((job.output / "cross_encoder.json").read_text()) for job in (several, single))
    assert abs(told["threshold"] - expected["threshold"]) < 1e-2
    assert told["files"] == expected["files"]  # the trees, grown once
