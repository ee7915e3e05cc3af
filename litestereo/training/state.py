"""What a run keeps on disk, so that a kill at any moment loses at most a minute."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from litestereo.errors import TrainingError
from litestereo.models.weights import tensors_from
from litestereo.runtime.files import write_atomic
from litestereo.training.identity import differences

__all__ = ["Average", "Progress", "Statistics", "load_state", "save_state"]


@dataclass(kw_only=True, slots=True)
class Progress:
    """What a run has done, over all its sittings.

    Attributes:
        step: optimiser steps.
        pairs: pairs seen by all processes together.
        share: of the schedule, 0 to 1.
        seconds: of training by the clock, validation and start-up left out.
        best: the smallest validation figure; None before the first validation.
        best_of: hash of the scenes that it is of; None before, and in older states.
    """

    step: int = 0
    pairs: int = 0
    share: float = 0.0
    seconds: float = 0.0
    best: float | None = None
    best_of: str | None = None


_Network = TypeVar("_Network", bound=nn.Module)


class _OtherRunError(TrainingError):
    """The state is sound, but not of this run."""


class Statistics:
    """The floating-point buffers of a model (its norms' running statistics), to undo a bad batch.

    They are overwritten where they lie, as a CUDA graph needs it, and nothing waits for a GPU.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take the buffers.

        Args:
            model: whose buffers stay where they are in memory.
        """
        self._buffers = [b for b in model.buffers() if b.is_floating_point()]
        self._kept = self._flat()

    def keep(self) -> None:
        """Remember the present values."""
        self._kept = self._flat()

    @torch.no_grad()
    def restore(self, bad: Tensor) -> None:
        """Bring the kept values back, all of them or those that are no longer finite.

        Args:
            bad: a boolean on the buffers' device; true brings all back.
        """
        now = self._flat()
        values = torch.where(bad | ~torch.isfinite(now), self._kept, now)
        torch._foreach_copy_(self._buffers, self._parts(values))

    def _parts(self, values: Tensor) -> list[Tensor]:
        parts = torch.split(values, [buffer.numel() for buffer in self._buffers])
        return [part.view_as(b) for part, b in zip(parts, self._buffers, strict=True)]

    def _flat(self) -> Tensor:
        # One tensor, as some hundred small kernels a step would be felt on a GPU.
        return torch.cat([buffer.detach().reshape(-1) for buffer in self._buffers])


class Average:
    """Exponential moving average of a model's floating-point state, buffers included."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Start from the model's present values.

        Args:
            model: whose weights are averaged.
            decay: share of the average that a late step keeps.
        """
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int, bad: Tensor) -> None:
        """Move towards the model; early steps move faster, so that the start is forgotten.

        Args:
            model: after the step; its floating-point state is finite.
            step: counted from the start of the run.
            bad: a boolean on the model's device; where it is true the average stays.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        state = model.state_dict()
        floating = [k for k, v in self.values.items() if v.is_floating_point()]
        values = [self.values[k] for k in floating]
        # As lerp with a weight that the host does not know.
        moves = torch._foreach_sub([state[k] for k in floating], values)
        torch._foreach_mul_(moves, (1 - decay) * ~bad)
        torch._foreach_add_(values, moves)
        for key in self.values.keys() - set(floating):
            self.values[key].copy_(state[key])

    def network(self, like: _Network) -> _Network:
        """Return a copy of `like`, in evaluation mode, that has the averaged weights.

        Args:
            like: of the same architecture; it stays as it is.

        Raises:
            TrainingError: a weight is not finite, so that no file shall have it.
        """
        sound = torch.stack([torch.isfinite(value).all() for value in self.values.values()])
        if not bool(sound.all()):
            names = [k for k, fine in zip(self.values, sound.tolist(), strict=True) if not fine]
            raise TrainingError(
                f"{len(names)} of the averaged tensors are not finite ({names[0]} first), and are "
                "not saved; start again with a lower --learning-rate or from other weights"
            )
        network = copy.deepcopy(like).eval()
        network.load_state_dict(self.values)
        return network


def save_state(
    path: Path,
    *,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: Average,
    progress: Progress,
    identity: Mapping[str, object] | None = None,
) -> None:
    """Write the run's state beside `path` and move it into place in one act.

    Args:
        path: the file.
        model: what is trained.
        optimizers: of that model.
        average: of its weights.
        progress: what the run has done.
        identity: of the run, as `identity_of` has it.

    Raises:
        InputError: the place cannot be written; the old state stays.
    """
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "average": average.values,
        "progress": asdict(progress),
        "identity": dict(identity or {}),
    }
    content = io.BytesIO()
    torch.save(state, content)
    write_atomic(path, content.getvalue(), durable=True)


def load_state(
    path: Path,
    *,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: Average,
    identity: Mapping[str, object] | None = None,
) -> Progress:
    """Restore a run from `path` and return what it had done.

    Args:
        path: the file.
        model: is filled.
        optimizers: are filled.
        average: is filled.
        identity: of this run; None does not ask whose state it is.

    Raises:
        TrainingError: the file is not a state of this model, or of a run with other options. One
            that does not tell its options, as older ones, is taken.
    """
    device = next(model.parameters()).device
    try:
        state: dict[str, Any] = tensors_from(path, device=device)
        differs = differences(state.get("identity", {}), identity or {})
        if differs:
            raise _OtherRunError(
                f"{path} is of another run: {differs}; give what it had, or choose another output "
                "folder"
            )
        model.load_state_dict(state["model"])
        kept = state["optimizers"] if "optimizers" in state else [state["optimizer"]]  # as once
        for optimizer, its in zip(optimizers, kept, strict=True):
            for group, saved in zip(optimizer.param_groups, its["param_groups"], strict=True):
                if "fused" in group:  # of this device, not of the one that the run began on
                    saved["fused"] = group["fused"]
            optimizer.load_state_dict(its)
        values: dict[str, Tensor] = state["average"]
        average.values = {k: values[k] for k in average.values}
        return Progress(**state["progress"])
    except _OtherRunError:
        raise
    except Exception as error:
        raise TrainingError(
            f"{path} is not a training state of this model ({error}); "
            "remove it or choose another output folder"
        ) from error
