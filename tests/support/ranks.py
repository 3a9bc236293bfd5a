"""Several processes of one training, started as torchrun starts them, but from one Python that has imported PyTorch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

_FORK = """
import os, sys
import torch, transformers, sentence_transformers, datasets, accelerate
import rankops.training.biencoder, rankops.training.callbacks, rankops.training.crossencoder_trainer
from rankops.training.__main__ import main
pids = []
for rank in range(int(os.environ["WORLD_SIZE"])):
    if (pid := os.fork()) == 0:
        os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
        status = main(sys.argv[1:])
        sys.stderr.flush()
        os._exit(status)  # no clean-up of threads that the fork left behind
    pids.append(pid)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""


def train_by(count: int, job_file: Path) -> str:
    """Run the job in ``count`` processes to the end; returns what was said. Fails where one of them does.

    The one process that several are compared with runs like this too, so that both see the same machine.
    """
    environment = fresh_environment()
    command = [sys.executable, "-m", "rankops.training", str(job_file)]
    if count > 1:
        environment |= _meeting_point(count)
        command = [sys.executable, "-c", _FORK, str(job_file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def fresh_environment() -> dict[str, str]:
    """This process's, without what trainings of earlier tests left in it: accelerate keeps its precision there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _meeting_point(count: int) -> dict[str, str]:
    """Where ``count`` processes of this machine find each other, as torchrun would tell them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    size = str(count)
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}


def assert_same(one: Path, other: Path) -> None:
    """Equal weights, up to the order in which gradients are added, which Adam's division magnifies.

    A bias of the keys moves all scores of a softmax alike: its gradient is rounding alone, which Adam turns into steps
    of the learning rate in any direction, and no output depends on it.
    """
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    differences = {name: float(np.abs(mine[name] - theirs[name]).max()) for name in mine if "key.bias" not in name}
    assert max(differences.values()) < 1e-3, max(differences.items(), key=lambda item: item[1])
