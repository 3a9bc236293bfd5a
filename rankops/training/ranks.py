"""One training as several processes (torchrun): which of them this is, and what they agree on.

Every process holds the whole model and computes its share of each batch; gradients are averaged between them
(PyTorch's DistributedDataParallel, which the Hugging Face trainer switches on under torchrun). The batch of a step is
the same as in one process, so the result is too, up to the order in which numbers are added. Everything that is done
once (mining, measuring, writing) is done by the first process while the others wait.

Nothing here imports PyTorch before there is a second process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = timedelta(hours=6)  # the first process may mine and measure for long while the others wait
_ENVIRONMENT = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK")


@dataclass(frozen=True)
class Ranks:
    """This process among those of one training."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """As torchrun says in the environment; one process without it."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def join(self) -> None:
        """Meet the other processes; needed before anything below. On GPUs each process takes its own."""
        if self.count == 1:
            return
        import torch
        import torch.distributed as processes

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            processes.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE)
        else:
            os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"  # else it says cpu:1, from which no state can be loaded
            processes.init_process_group("gloo", timeout=_PATIENCE)

    def leave(self) -> None:
        """Part from the others."""
        if self.count > 1:
            import torch.distributed as processes

            if processes.is_initialized():
                processes.destroy_process_group()

    def wait(self) -> None:
        """Until every process is here."""
        self.agreed(True)

    def agreed(self, said: bool) -> bool:
        """Whether the processes all say so; each must ask."""
        return not self.any(not said)

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so; each must ask, and all get the same answer."""
        if self.count == 1:
            return said
        import torch
        import torch.distributed as processes

        told = torch.tensor([int(said)])
        processes.all_reduce(told, op=processes.ReduceOp.MAX)
        return bool(told.item())

    def once(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in the first process, in every process; it is called there only."""
        if self.count == 1:
            return work()
        import torch.distributed as processes

        told = [work() if self.is_first else None]
        processes.broadcast_object_list(told, src=0)
        found: T = told[0]  # type: ignore[assignment]
        return found

    @contextmanager
    def first_in_turn(self) -> Iterator[None]:
        """The body runs in the first process, then in the others: they find what it remembered on disk."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def share(self, rows: Sequence[int]) -> list[int]:
        """This process's part of a batch. All parts are equally long, so that the mean of means is the mean.

        Up to ``count - 1`` rows of a batch that cannot be dealt out evenly are left out.
        """
        even = len(rows) // self.count
        return list(rows[: even * self.count][self.rank :: self.count])


def alone() -> bool:
    """For work that several processes cannot share: True in the first one, which forgets that there are others."""
    if not Ranks.current().is_first:
        return False
    for name in _ENVIRONMENT:
        os.environ.pop(name, None)
    return True
