"""One training as several processes: the same result as one process, killed or not, and nothing done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankops.errors import BadInput
from rankops.specs import TeacherSpec
from rankops.training.biencoder import TrainingJob
from rankops.training.ranks import Ranks, alone
from rankops.training.runs import begin
from resources.trainer import KubernetesTrainer, launch
from tests.support.ranks import assert_same, fresh_environment, train_by

MakeJob = Callable[..., TrainingJob]


@pytest.fixture(scope="module")
def without_dropout(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model; each process draws its own dropout, and equal results need none."""
    folder = tmp_path_factory.mktemp("no-dropout") / "model"
    shutil.copytree(tiny_model, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    return folder


def written(job: TrainingJob) -> Path:
    path = job.work.parent / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(job.model_dump_json())
    return path


def start(job: TrainingJob) -> subprocess.Popen[str]:
    """By torchrun, as a pod is."""
    command = launch(sys.executable, ["-m", "rankops.training", str(written(job))], 2)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=fresh_environment(), start_new_session=True)


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def jobs(make_job: MakeJob, without_dropout: Path) -> Callable[..., tuple[TrainingJob, TrainingJob]]:
    """The same job for one process and for several."""

    def make(**changes: Any) -> tuple[TrainingJob, TrainingJob]:
        both = [make_job(name, **changes) for name in ("single", "several")]
        return tuple(job.model_copy(update={"base_model": without_dropout}) for job in both)  # type: ignore[return-value]

    return make


def test_two_processes_killed_and_continued_end_where_one_ends(jobs: Any) -> None:
    single, several = jobs()
    train_by(1, written(single))
    process = start(several)
    marker = several.work / "states" / "checkpoint-6" / "sealed.json"
    while not marker.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.005)
    workers = children(process.pid)
    for number in (process.pid, *workers):  # torchrun gives each worker a session of its own
        os.kill(number, signal.SIGKILL)
    process.communicate()
    assert not several.output.exists()
    told = train_by(2, written(several))
    assert told.count("checkpoint after step") == 1  # the first process speaks for both
    assert "continuing from checkpoint-" in told or "finished the steps" in told
    assert_same(several.output, single.output)
    found, expected = (json.loads((job.work.parent / "result.json").read_text()) for job in (several, single))
    assert found["best_step"] == expected["best_step"]
    assert [loss for _, loss in found["losses"]] == pytest.approx([loss for _, loss in expected["losses"]], abs=2e-3)


def test_lessons_of_a_teacher_by_two_processes_end_where_those_of_one_end(jobs: Any, teacher: Path) -> None:
    spec = TeacherSpec(weight=1.0, steps=6, learning_rate=1e-3, temperature=0.2)
    single, several = (job.model_copy(update={"teacher": teacher}) for job in jobs(teacher=spec, max_steps=3))
    train_by(1, written(single))
    told = train_by(2, written(several))
    assert told.count("queries made up") == 1
    assert_same(several.work / "teaching" / "base", single.work / "teaching" / "base")


def test_negatives_of_the_whole_batch_count_with_accumulated_gradients_too(jobs: Any) -> None:
    single, several = jobs(gradient_accumulation=2)
    train_by(1, written(single))
    train_by(2, written(several))
    assert_same(several.output, single.output)


def test_a_batch_is_dealt_out_in_equal_parts() -> None:
    parts = [Ranks(rank, 3).share(range(11)) for rank in range(3)]
    assert [len(part) for part in parts] == [3, 3, 3]
    assert sorted(row for part in parts for row in part) == list(range(9))
    assert Ranks().share(range(11)) == list(range(11))


def test_a_batch_too_small_for_its_processes_is_refused(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    job = make_job("small", batch_size=8)
    with pytest.raises(BadInput, match="too small for 8 processes"):
        begin(job, job.key(), lambda _: None)


def test_work_that_cannot_be_shared_is_done_by_the_first_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert not alone()
    monkeypatch.setenv("RANK", "0")
    assert alone() and Ranks.current() == Ranks(0, 1)


def test_a_pod_trains_with_one_process_a_gpu() -> None:
    arguments = ["-m", "rankops.training", "job.json"]
    assert KubernetesTrainer(claim="c", gpus=1).command(arguments) == ["python", *arguments]
    assert KubernetesTrainer(claim="c", gpus=0).command(arguments) == ["python", *arguments]
    command = KubernetesTrainer(claim="c", gpus=4).command(arguments)
    assert command[:3] == ["python", "-m", "torch.distributed.run"] and command[-3:] == arguments
    assert command[command.index("--nproc-per-node") + 1] == "4"
    with pytest.raises(BadInput, match="2 training processes for 4 GPUs"):
        KubernetesTrainer(claim="c", gpus=4, processes=2).command(arguments)
