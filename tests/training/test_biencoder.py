"""Fine-tuning: it learns, it is reproducible, it survives kills, and it leaves nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rankops.errors import BadInput, RankopsError
from rankops.files import file_digests
from rankops.training.biencoder import TrainingEvent, TrainingInterrupted, TrainingJob, TrainingResult, train

MakeJob = Callable[..., TrainingJob]


def quiet(_event: TrainingEvent | str) -> None:
    pass


@pytest.fixture(scope="module")
def reference(
    tiny_model: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingResult]:
    """One uninterrupted run: its checkpoint and its result."""
    from tests.training.conftest import SPEC

    root = tmp_path_factory.mktemp("reference")
    job = TrainingJob(
        spec=SPEC,
        base_model=tiny_model,
        dataset=tiny_dataset,
        output=root / "checkpoint",
        work=root / "work",
        threads=1,
    )
    return job.output, train(job, quiet)


def test_training_lowers_the_loss_and_raises_the_dev_metric(reference: tuple[Path, TrainingResult]) -> None:
    folder, result = reference
    assert [step for step, _ in result.losses] == list(range(1, 13))
    assert result.losses[-1][1] < result.losses[0][1]
    assert result.dev_metric_best > result.dev_metric_before + 0.05
    assert [step for step, _ in result.dev_curve] == [0, 3, 6, 9, 12]
    assert (result.pairs, result.dev_queries, result.dev_products) == (48, 16, 64)
    assert result.best_step == max(result.dev_curve[1:], key=lambda point: (point[1], -point[0]))[0]
    assert json.loads((folder / "training.json").read_text())["best_step"] == result.best_step


def test_the_checkpoint_is_a_loadable_folder_without_pickles(reference: tuple[Path, TrainingResult]) -> None:
    from sentence_transformers import SentenceTransformer

    folder, _ = reference
    names = set(file_digests(folder))
    assert "model.safetensors" in names and "tokenizer.json" in names and "modules.json" in names
    assert not [name for name in names if Path(name).suffix in (".bin", ".pt", ".pth", ".pkl")]
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert SentenceTransformer(str(folder), device="cpu").encode(["red shoe"]).shape == (1, 32)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer["padding"] is None and tokenizer["truncation"] is None


def test_the_checkpoint_holds_the_weights_of_the_best_step(
    reference: tuple[Path, TrainingResult], make_job: MakeJob
) -> None:
    from rankops.dataset import load_dataset
    from rankops.training.dev import build_dev_task
    from rankops.training.torch_encoder import TorchEncoder

    folder, result = reference
    dataset = load_dataset(make_job().dataset)
    dev, texts, encoder = build_dev_task(dataset, seed=result.seed), dataset.product_texts(), TorchEncoder(folder)
    pool = encoder.encode([texts[row] for row in dev.pool], role="product")
    assert dev.ndcg(encoder.encode(dev.queries, role="query"), pool) == pytest.approx(result.dev_metric_best, abs=1e-9)


def test_the_same_job_gives_the_same_bytes_and_another_seed_others(
    reference: tuple[Path, TrainingResult], make_job: MakeJob
) -> None:
    again, other = make_job("again"), make_job("other", seed=14)
    train(again, quiet)
    train(other, quiet)
    assert file_digests(again.output) == file_digests(reference[0])
    assert file_digests(other.output)["model.safetensors"] != file_digests(reference[0])["model.safetensors"]


def start(job: TrainingJob, root: Path) -> subprocess.Popen[str]:
    path = root / "job.json"
    path.write_text(job.model_dump_json())
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "rankops.training", str(path)], stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_state(process: subprocess.Popen[str], marker: Path) -> None:
    while not marker.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.002)


def test_a_killed_run_continues_and_ends_with_the_same_checkpoint(
    reference: tuple[Path, TrainingResult], make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job("killed")
    process = start(job, tmp_path)
    wait_for_state(process, job.work / "states" / "checkpoint-6" / "sealed.json")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not job.output.exists()
    said: list[str] = []
    result = train(job, lambda event: said.append(str(event)))
    assert any(line.startswith("continuing from checkpoint-") or "finished the steps" in line for line in said)
    assert file_digests(job.output) == file_digests(reference[0])
    assert result.losses == reference[1].losses and result.dev_curve == reference[1].dev_curve


def test_a_state_without_its_seal_is_not_used(
    reference: tuple[Path, TrainingResult], make_job: MakeJob, tmp_path: Path
) -> None:
    from rankops.training.trainer import newest_state

    job = make_job("torn")
    with pytest.raises(TrainingInterrupted):
        train(job, quiet, stop_after(job, 9))
    newest = newest_state(job.work / "states")
    assert newest is not None and newest.name == "checkpoint-10"
    (newest / "sealed.json").unlink()
    older = newest_state(job.work / "states")
    assert older is not None and older.name in ("checkpoint-3", "checkpoint-6", "checkpoint-9")
    assert not newest.exists()
    train(job, quiet)
    assert file_digests(job.output) == file_digests(reference[0])


def stop_after(job: TrainingJob, step: int) -> Callable[[], bool]:
    """Asks to stop once the state of ``step`` is on disk."""
    return (job.work / "states" / f"checkpoint-{step}" / "sealed.json").exists


def test_a_run_asked_to_stop_between_evaluations_saves_and_continues(
    reference: tuple[Path, TrainingResult], make_job: MakeJob
) -> None:
    job = make_job("stopped")
    with pytest.raises(TrainingInterrupted, match="after step 7"):
        train(job, quiet, stop_after(job, 6))
    assert not job.output.exists()
    train(job, quiet)
    assert file_digests(job.output) == file_digests(reference[0])


def test_sigterm_saves_the_state_and_exits_143(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("terminated", max_steps=500, patience=1000)
    process = start(job, tmp_path)
    wait_for_state(process, job.work / "states" / "checkpoint-3" / "sealed.json")
    process.terminate()
    _, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "its state is saved" in stderr and not job.output.exists()


def test_training_stops_early_when_the_dev_metric_no_longer_rises(make_job: MakeJob) -> None:
    result = train(make_job("patient", learning_rate=1e-9, patience=1, max_steps=30), quiet)
    assert result.stopped_early and result.steps == 6 and result.best_step == 3


def test_the_last_steps_are_evaluated_even_off_the_grid(make_job: MakeJob) -> None:
    result = train(make_job("offgrid", max_steps=4), quiet)
    assert [step for step, _ in result.dev_curve] == [0, 3, 4]


def test_lora_trains_few_weights_resumes_and_leaves_a_whole_merged_model(make_job: MakeJob, tiny_model: Path) -> None:
    whole, stopped = make_job("lora", method="lora", max_steps=6), make_job("lora-stopped", method="lora", max_steps=6)
    result = train(whole, quiet)
    assert 0 < result.trained_parameters < result.parameters / 10
    names = set(file_digests(whole.output))
    assert "model.safetensors" in names and not [name for name in names if "adapter" in name]
    assert file_digests(whole.output)["model.safetensors"] != file_digests(tiny_model)["model.safetensors"]
    with pytest.raises(TrainingInterrupted):
        train(stopped, quiet, stop_after(stopped, 3))
    train(stopped, quiet)
    assert file_digests(stopped.output) == file_digests(whole.output)


def test_gradient_accumulation_gives_the_gradients_of_the_whole_batch(make_job: MakeJob, tiny_model: Path) -> None:
    import torch

    from rankops.training.biencoder import _loss
    from rankops.training.torch_encoder import load_model
    from rankops.training.trainer import TextColumns

    rows = [{"query": f"zz {i}", "positive": f"thing number {i}" * (i % 3 + 1)} for i in range(8)]
    gradients = []
    for parts in (1, 4):
        model = load_model(tiny_model, "cpu").eval()  # no dropout: the two must agree exactly
        batch = TextColumns(model, {"query": 8, "positive": 16})(rows)
        features = [{k.split("_", 1)[1]: v for k, v in batch.items() if k.startswith(c)} for c in ("query", "positive")]
        _loss(model, make_job(gradient_accumulation=parts).spec)(features, None).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5) and gradients[0].abs().max() > 1e-3


def test_bf16_trains(make_job: MakeJob) -> None:
    result = train(make_job("bf16", precision="bf16", max_steps=3), quiet)
    assert result.steps == 3


def test_fp16_without_a_gpu_is_refused_with_a_remedy(make_job: MakeJob) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BadInput, match="fp16 needs a CUDA GPU"):
        train(make_job(precision="fp16"), quiet)


def test_a_loss_that_is_not_a_number_ends_the_run(make_job: MakeJob) -> None:
    job = make_job("nan")
    object.__setattr__(job, "spec", job.spec.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0}))
    with pytest.raises(RankopsError, match="the loss is"):
        train(job, quiet)
    assert not job.output.exists()


def test_a_finished_job_is_not_trained_again(reference: tuple[Path, TrainingResult], make_job: MakeJob) -> None:
    job = make_job("twice", max_steps=3)
    first = train(job, quiet)
    said: list[str] = []
    assert train(job, lambda event: said.append(str(event))) == first
    assert said == [f"{job.output} already holds the checkpoint of this job"]


def test_an_output_folder_with_something_else_is_left_alone(make_job: MakeJob) -> None:
    job = make_job("taken")
    job.output.mkdir(parents=True)
    (job.output / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="not the checkpoint of this job"):
        train(job, quiet)
    assert (job.output / "thesis.txt").read_text() == "mine"


def test_state_of_other_inputs_is_not_continued(make_job: MakeJob) -> None:
    with pytest.raises(TrainingInterrupted):
        train(make_job("mixed"), quiet, stop_after(make_job("mixed"), 3))
    said: list[str] = []
    train(make_job("mixed", max_steps=3), lambda event: said.append(str(event)))
    assert any("state of other inputs" in line for line in said)
    assert not any("continuing" in line for line in said)
