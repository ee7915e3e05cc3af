"""What a run keeps on disk, so that a kill at any moment loses at most a minute."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from litestereo.errors import TrainingError

__all__ = ["Average", "load_state", "save_state"]


class Average:
    """Exponential moving average of a model's floating-point state, buffers included."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Start from the model's present values."""
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Move towards the model; early steps move faster, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = model.state_dict()
        floating = [k for k, v in self.values.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.values[k] for k in floating], [state[k] for k in floating], 1 - decay
        )
        for key in self.values.keys() - set(floating):
            self.values[key].copy_(state[key])


def save_state(
    path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, step: int
) -> None:
    """Write the run's state beside `path` and move it into place in one act."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.values,
        "step": step,
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.save(state, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(
    path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average
) -> int:
    """Restore a run from `path` and return the number of steps that it had made.

    Raises:
        TrainingError: the file is not a state of this model.
    """
    device = next(model.parameters()).device
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        values: dict[str, Tensor] = state["average"]
        average.values = {k: values[k] for k in average.values}
        return int(state["step"])
    except Exception as error:
        raise TrainingError(
            f"{path} is not a training state of this model ({error}); "
            "remove it or choose another output folder"
        ) from error
