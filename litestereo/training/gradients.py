"""Loss and gradients of a batch, launched kernel by kernel or replayed as one CUDA graph.

A light network's kernels are done sooner than Python launches the next one: a step on a large GPU
waits for the host. A CUDA graph is recorded once and launched as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from litestereo.errors import TrainingError
from litestereo.training.objective import SelfDistillation

if TYPE_CHECKING:
    from litestereo.training.group import Group

__all__ = ["Gradients", "ReplayedGradients", "check_replay"]

# Of libraries that choose kernels and take memory in their first calls, which no graph may record.
_WARM_UP_CALLS = 3

_Answer = tuple[Tensor, dict[str, Tensor]]


class Gradients:
    """Runs a module that returns loss and metrics forwards and backwards."""

    def __init__(self, module: nn.Module) -> None:
        """Take the module.

        Args:
            module: of pictures and truth to a loss and a dictionary of metrics.
        """
        self._module = module

    def __call__(self, *batch: Tensor) -> _Answer:
        """Leave the batch's gradients, and no others, in the parameters; return loss and metrics.

        Args:
            batch: what the module takes.
        """
        self._module.zero_grad(set_to_none=True)
        loss, metrics = self._module(*batch)
        loss.backward()
        return loss.detach(), metrics


class ReplayedGradients(Gradients):
    """The same as one CUDA graph, recorded with the first batch; the next ones have its shapes.

    The recorded gradients stay the parameters' own: nobody else may set them to None. Loss and
    metrics are overwritten by the next call.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take the module; nothing in it may draw random numbers or wait for the GPU.

        Args:
            module: of pictures and truth on a GPU to a loss and a dictionary of metrics.
        """
        super().__init__(module)
        self._batch: tuple[Tensor, ...] = ()
        self._recorded: tuple[torch.cuda.CUDAGraph, _Answer] | None = None

    def __call__(self, *batch: Tensor) -> _Answer:
        """Leave the batch's gradients, and no others, in the parameters; return loss and metrics.

        Args:
            batch: what the module takes, each time of the same shapes.

        Raises:
            TrainingError: the step cannot be recorded.
        """
        if self._recorded is None:
            self._batch = tuple(tensor.clone() for tensor in batch)
            try:
                self._recorded = self._record()
            except RuntimeError as error:
                raise TrainingError(
                    f"the step cannot be recorded as a CUDA graph ({error}); train without "
                    "--cuda-graph"
                ) from error
        for kept, given in zip(self._batch, batch, strict=True):
            kept.copy_(given)
        graph, answer = self._recorded
        graph.replay()
        return answer

    def _record(self) -> tuple[torch.cuda.CUDAGraph, _Answer]:
        run = super().__call__
        buffers = list(self._module.buffers())
        before = [buffer.clone() for buffer in buffers]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP_CALLS):
                run(*self._batch)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.no_grad():  # warming up counted as batches in the norms' statistics
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
        graph = torch.cuda.CUDAGraph()
        # Gradients that are None here are made in the graph's own memory, and each replay writes
        # them anew.
        self._module.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            answer = run(*self._batch)
        return graph, answer


def check_replay(module: nn.Module, group: Group) -> None:
    """Refuse to replay steps where that cannot work.

    Args:
        module: what would be recorded.
        group: the processes that train together.

    Raises:
        TrainingError: without a GPU, with several, or for self-distillation.
    """
    if group.device.type != "cuda":
        raise TrainingError("--cuda-graph needs a CUDA GPU, and this run is on the CPU")
    if group.world > 1:
        raise TrainingError(
            f"--cuda-graph is for one GPU, and {group.world} processes train here; leave it out"
        )
    if isinstance(module, SelfDistillation):
        raise TrainingError(
            "self-distillation draws random numbers in each step, which a CUDA graph would repeat; "
            "leave --cuda-graph out"
        )
