"""Flags of the training spec do what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rankops.files import file_digests
from rankops.specs import HybridSpec
from rankops.training.biencoder import train
from rankops.training.job import TrainingJob
from tests.training.conftest import SPEC


@pytest.fixture
def run(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> Callable[..., tuple[str, list[tuple[int, float]]]]:
    def made(name: str, **changes: object) -> tuple[str, list[tuple[int, float]]]:
        job = TrainingJob(
            spec=SPEC.model_copy(update={"max_steps": 4, "hard_negatives": 0, **changes}),
            hybrid=HybridSpec(enabled=False),
            base_model=tiny_model,
            dataset=tiny_dataset,
            output=tmp_path / name / "checkpoint",
            work=tmp_path / name / "work",
            threads=1,
        )
        result = train(job, lambda event: None)
        return file_digests(job.output)["model.safetensors"], result.losses

    return made


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_gradient_checkpointing_runs_layers_twice_and_gives_the_same_weights(run: Callable) -> None:
    calls = {"plain": 0, "checkpointed": 0}
    digests = {}
    for name in calls:

        def count(module: torch.nn.Module, inputs: object, name: str = name) -> None:
            calls[name] += type(module).__name__ == "BertLayer" and module.training

        hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
        digests[name], _ = run(name, gradient_checkpointing=name == "checkpointed")
        hook.remove()
    assert calls["plain"] > 0 and calls["checkpointed"] == 2 * calls["plain"]
    assert digests["checkpointed"] == digests["plain"]
    _, losses = run("lora", gradient_checkpointing=True, method="lora")
    assert len(losses) == 4


def test_the_temperature_scales_the_loss(run: Callable) -> None:
    _, cold = run("cold", temperature=0.05)
    _, warm = run("warm", temperature=1.0)
    chance = math.log(8)  # of eight products in a batch: what softmax over hardly different numbers comes to
    assert abs(warm[0][1] - chance) < 0.1 < abs(cold[0][1] - chance)


def test_the_deterministic_mode_is_on_before_the_first_step(run: Callable, restored: None) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    first, _ = run("first", deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert run("second", deterministic=True)[0] == first
