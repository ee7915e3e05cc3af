"""Batched random draws on one device from one seeded generator."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

__all__ = ["Draw"]


class Draw:
    """Draw float32 tensors from a seeded generator that lives on `device`."""

    def __init__(self, device: torch.device | str, *, seed: int) -> None:
        """Seed a generator of its own, so that scenes do not depend on the global state.

        Args:
            device: where the numbers are drawn.
            seed: the same one gives the same scenes on the same device.
        """
        self.device = torch.device(device)
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        self._constants: dict[tuple[Any, ...], Tensor] = {}

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw uniformly from [low, high).

        Args:
            shape: of the tensor.
            low: least value.
            high: bound that is not reached.
        """
        unit = torch.rand(shape, device=self.device, generator=self.generator)
        return unit * (high - low) + low

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Draw so that the logarithm is uniform between those of `low` and `high`.

        Args:
            shape: of the tensor.
            low: least value, above 0.
            high: bound.
        """
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        """Draw from a normal distribution of mean 0.

        Args:
            shape: of the tensor.
            std: standard deviation.
        """
        return torch.randn(shape, device=self.device, generator=self.generator) * std

    def chance(self, *shape: int, p: float) -> Tensor:
        """Draw booleans that are true with probability `p`.

        Args:
            shape: of the tensor.
            p: 0 to 1.
        """
        return torch.rand(shape, device=self.device, generator=self.generator) < p

    def integers(self, *shape: int, high: int) -> Tensor:
        """Draw int64 from 0 to high - 1.

        Args:
            shape: of the tensor.
            high: bound that is not reached.
        """
        return torch.randint(high, shape, device=self.device, generator=self.generator)

    def choice(self, weights: list[float], *shape: int) -> Tensor:
        """Draw indices of `weights` with the probabilities that they state.

        Args:
            weights: 0 or more; they need not sum to 1.
            shape: of the tensor.
        """
        total, bounds = sum(weights), list(accumulate(weights))[:-1]
        drawn = self.uniform(*shape, high=total)[..., None]
        return (drawn >= self.constant(*bounds)).sum(-1)

    def constant(self, *values: float | tuple[float, ...]) -> Tensor:
        """Return one float32 tensor for equal values; it is shared, so nobody may write to it.

        Recorded work cannot make one from numbers, which would be a copy that it waits for.

        Args:
            values: numbers, or tuples of them.
        """
        if values not in self._constants:
            self._constants[values] = torch.tensor(values, dtype=torch.float32, device=self.device)
        return self._constants[values]
