"""Loss and gradients of a batch, launched kernel by kernel or replayed as one CUDA graph.

Several processes that replay average their gradients afterwards: DistributedDataParallel does it
from hooks of the backward pass, which a replay does not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from litestereo.errors import TrainingError
from litestereo.training.recording import record

if TYPE_CHECKING:
    from litestereo.training.group import Group

__all__ = ["AveragedGradients", "Gradients", "ReplayedGradients", "check_gradients", "check_replay"]

# How far gradients may be from float32's, as a share of their length: so many times as far as the
# network's own, and so much more. Of all parameters, and of one that holds a hundredth of it.
# Rounding to bfloat16 alone moves LAS1's by 0.07 to 0.4 (two and eight pairs of 64x128, a CPU).
_ALL_MAY_DIFFER, _ONE_MAY_DIFFER, _COUNTS = (1.5, 0.05), (2.0, 0.3), 0.01

_Answer = tuple[Tensor, dict[str, Tensor]]
_Batch = tuple[Tensor, ...]


class Gradients:
    """Runs a module that returns loss and metrics forwards and backwards."""

    def __init__(self, module: nn.Module) -> None:
        """Take the module.

        Args:
            module: of pictures and truth to a loss and a dictionary of metrics.
        """
        self.module = module

    def __call__(self, *batch: Tensor) -> _Answer:
        """Leave the batch's gradients, and no others, in the parameters; return loss and metrics.

        Args:
            batch: what the module takes.
        """
        self.module.zero_grad(set_to_none=True)
        loss, metrics = self.module(*batch)
        loss.backward()
        return loss.detach(), metrics


class ReplayedGradients(Gradients):
    """The same as one CUDA graph, recorded with the first batch; the next ones have its shapes.

    The recorded gradients stay the parameters' own: nobody else may set them to None. Loss and
    metrics are overwritten by the next call.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take the module; nothing in it may wait for the GPU, nor draw but from its `generator`.

        Args:
            module: of pictures and truth on a GPU to a loss and a dictionary of metrics.
        """
        super().__init__(module)
        self._batch: _Batch = ()
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
            self._recorded = self._record()
        for kept, given in zip(self._batch, batch, strict=True):
            kept.copy_(given)
        graph, answer = self._recorded
        graph.replay()
        return answer

    def _record(self) -> tuple[torch.cuda.CUDAGraph, _Answer]:
        run = super().__call__
        restore = _restoring(self.module)

        def ready() -> None:
            restore()
            # Gradients that are None here are made in the graph's own memory, and each replay
            # writes them anew.
            self.module.zero_grad(set_to_none=True)

        return record(
            lambda: run(*self._batch),
            what="the step",
            instead="train without --cuda-graph",
            generators=_generators(self.module),
            ready=ready,
        )


class AveragedGradients(Gradients):
    """Gradients of either kind, averaged over all processes in one exchange.

    Losses, metrics and buffers stay each process's own. Of buffers DistributedDataParallel sends
    the first process's to all before each forward pass; training does not read them, and only the
    first one's are scored or saved, so that nothing which is kept differs.
    """

    def __init__(self, gradients: Gradients, group: Group) -> None:
        """Start every process from the first one's weights and buffers.

        Args:
            gradients: of this process; each parameter gets one.
            group: the processes that train together.
        """
        super().__init__(gradients.module)
        self._gradients, self._group = gradients, group
        group.share(self.module.state_dict().values())
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
        sizes = [parameter.numel() for parameter in self._parameters]
        self._flat = torch.empty(sum(sizes), device=group.device)
        parts = torch.split(self._flat, sizes)
        # Laid out as the parameters, like their gradients: few kernels then copy all of them.
        self._parts = [
            part.as_strided(parameter.shape, parameter.stride())
            for part, parameter in zip(parts, self._parameters, strict=True)
        ]

    def __call__(self, *batch: Tensor) -> _Answer:
        """Leave the mean gradients in the parameters; return this process's loss and metrics.

        Args:
            batch: this process's.
        """
        answer = self._gradients(*batch)
        own = [p.grad for p in self._parameters if p.grad is not None]
        torch._foreach_copy_(self._parts, own)
        self._group.average(self._flat)
        # Back to where they were, as a replay writes there.
        torch._foreach_copy_(own, self._parts)
        return answer


def check_gradients(
    gradients: Gradients, module: nn.Module, group: Group, *batch: Tensor, instead: str
) -> bool:
    """Compare gradients of compiled or recorded steps with those of the module's own code.

    torch.compile has made wrong ones without a word, and a CUDA graph's memory can be written to by
    others: training then destroys the weights that it began with. Two ways to round to bfloat16 may
    be far apart and both be right, so what is compared is how far each is from float32.

    Args:
        gradients: what trains; it is called once, or twice where it draws random numbers.
        module: what it was made of; its attribute `autocast`, if any, is False for float32.
        group: the processes that train together.
        batch: what the module takes.
        instead: how to train otherwise, for the message.

    Returns:
        Whether they were compared: beside a recorded step there may be no memory for another one,
        and the network's own gradients may not be finite.

    Raises:
        TrainingError: they are farther from float32 than rounding makes them.
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    used, own, exact = _three_ways(gradients, module, list(named.values()), batch)
    lacking = 1 - torch.stack([own, exact]).isfinite().all().float()
    for each in (lacking, own, exact):
        group.average(each)
    if lacking > 0:
        return False
    sizes = [p.numel() for p in named.values()]

    def lengths(flat: Tensor) -> Tensor:
        return torch.stack(torch._foreach_norm(torch.split(flat, sizes)))

    length, apart, own_apart = map(lengths, (exact, used - exact, own - exact))
    total = length.norm().clamp(min=1e-12)
    (times, more), (one_times, one_more) = _ALL_MAY_DIFFER, _ONE_MAY_DIFFER
    whole, most = apart.norm() / total, times * own_apart.norm() / total + more
    ones, ones_most = apart / length, one_times * own_apart / length + one_more
    counts = length >= _COUNTS * total
    worst = int(torch.where(counts, ones - ones_most, -torch.inf).argmax())
    one, one_most = ones[worst], ones_most[worst]
    if not (whole < most and one < one_most):
        raise TrainingError(
            f"the gradients of these steps are not the network's own: {whole:.2f} of their length "
            f"from float32's ({most:.2f} is the most), {one:.2f} at {list(named)[worst]} "
            f"({one_most:.2f}); {instead}, and report it with torch {torch.__version__}"
        )
    return True


def _three_ways(
    gradients: Gradients, module: nn.Module, parameters: Sequence[nn.Parameter], batch: _Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what trains, the module's own and its own in float32; NaN without memory for them."""
    restore = _restoring(module)
    generators = _generators(module)
    if generators:
        gradients(*batch)  # which may record them, and recording draws, too
    drawn = [generator.get_state() for generator in generators]
    gradients(*batch)
    used = _flat([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
    own = []
    for precise in (False, True):
        for generator, state in zip(generators, drawn, strict=True):
            generator.set_state(state)  # all calls see the same numbers
        try:
            own.append(_own_gradients(module, parameters, batch, precise=precise))
        except torch.cuda.OutOfMemoryError:
            own.append(torch.full_like(used, float("nan")))
    restore()
    return used, own[0], own[1]


def _own_gradients(
    module: nn.Module, parameters: Sequence[nn.Parameter], batch: _Batch, *, precise: bool
) -> Tensor:
    """Return gradients by the module's own code, in float32 where they shall be precise."""
    autocast = getattr(module, "autocast", None)
    if precise:
        module.autocast = False  # type: ignore[assignment]
    try:
        loss, _ = module.forward(*batch)
    finally:
        module.autocast = autocast  # type: ignore[assignment]
    # Not by `backward`: what is recorded writes into the parameters' gradients for ever.
    return _flat(torch.autograd.grad(loss, parameters, materialize_grads=True))


def _generators(module: nn.Module) -> list[torch.Generator]:
    """Return what the module draws its random numbers from, if it draws any."""
    generator: torch.Generator | None = getattr(module, "generator", None)
    return [generator] if generator else []


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _restoring(module: nn.Module) -> Callable[[], None]:
    """Return what undoes all that later calls add to the norms' statistics and their counts."""
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]

    @torch.no_grad()
    def restore() -> None:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)

    return restore


def check_replay(group: Group) -> None:
    """Refuse to replay steps where that cannot work.

    Args:
        group: the processes that train together.

    Raises:
        TrainingError: without a GPU.
    """
    if group.device.type != "cuda":
        raise TrainingError("--cuda-graph needs a CUDA GPU, and this run is on the CPU")
