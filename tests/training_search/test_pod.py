"""One training over several GPUs of a pod."""

from __future__ import annotations

import pytest

from rankops.errors import BadInput
from resources.trainer import KubernetesTrainer

JOB = ["-m", "rankops.training", "/var/lib/rankops/work/1/job.json"]


def test_one_process_is_plain_python() -> None:
    assert KubernetesTrainer(claim="c").command(JOB) == ["python", *JOB]


def test_several_processes_are_workers_of_torchrun_with_a_gpu_each() -> None:
    trainer = KubernetesTrainer(claim="c", gpus=4, processes=4)
    command = trainer.command(JOB)
    assert command[:3] == ["python", "-m", "torch.distributed.run"]
    assert command[command.index("--nproc-per-node") + 1] == "4" and command[-3:] == JOB
    (container,) = trainer.pod_spec()["containers"]
    for side in ("requests", "limits"):
        assert container["resources"][side]["nvidia.com/gpu"] == "4"
    assert KubernetesTrainer(claim="c", gpus=0, processes=2).command(JOB)[-3:] == JOB  # on CPUs, by gloo


def test_processes_that_would_share_gpus_or_leave_some_idle_are_refused() -> None:
    with pytest.raises(BadInput, match="2 training processes for 4 GPUs"):
        KubernetesTrainer(claim="c", gpus=4, processes=2).command(JOB)
