"""The processes of one run: torchrun's group, or this process alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

# Now, before there is a group: its defaults keep one that exists, whose threads would then outlive
# `destroy_process_group` and abort the process at its end, every second time (torch 2.13, gloo).
import torch.distributed.nn.functional
from torch import Tensor

from litestereo.errors import TrainingError

__all__ = ["Group", "joined_group"]

_T = TypeVar("_T")
# One process may label pairs for hours while the others wait.
_PATIENCE = timedelta(hours=12)
_OF_TORCHRUN = ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def _default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, slots=True)
class Group:
    """This process among all that train together.

    Attributes:
        rank: number of this process; 0 writes and talks.
        world: number of processes.
        device: where this process trains.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=_default_device)

    def agree(self, *values: float) -> tuple[float, ...]:
        """Return the first process's `values` on every process.

        Args:
            values: of this process.
        """
        if self.world == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return tuple(shared.tolist())

    def gather(self, part: Sequence[_T]) -> list[_T]:
        """Return all processes' parts, one after the other, on every process.

        Args:
            part: of this process; it is pickled.
        """
        if self.world == 1:
            return list(part)
        parts: list[Sequence[_T]] = [()] * self.world
        dist.all_gather_object(parts, part)
        return [each for one in parts for each in one]

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` with the first process's.

        Args:
            tensors: of the same shapes on every process.
        """
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average(self, tensor: Tensor) -> None:
        """Overwrite `tensor` with the mean over all processes, to the last bit the same on each.

        Args:
            tensor: floating-point, of the same shape and layout on every process.
        """
        if self.world > 1:
            dist.all_reduce(tensor)
            tensor /= self.world

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_group() -> Iterator[Group]:
    """Join torchrun's group where there is one, and leave it afterwards.

    Raises:
        TrainingError: something else than torchrun has set RANK.
    """
    if "RANK" not in os.environ:
        yield Group()
        return
    if missing := [name for name in _OF_TORCHRUN if name not in os.environ]:
        raise TrainingError(
            f"RANK is set, but not {', '.join(missing)}; start with torchrun, or unset RANK"
        )
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device, timeout=_PATIENCE)
    else:
        device = torch.device("cpu")
        dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()
