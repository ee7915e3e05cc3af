"""Muon (Jordan et al. 2024): momentum that is made orthogonal, so that no direction rules.

A step has the size that AdamW's has (Liu et al. 2025, arXiv 2502.16982, equation 4), so that one
rate serves both. torch.optim.Muon takes no convolutions, one matrix at a time, and no flag that a
batch was bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "is_matrix"]

_MOMENTUM = 0.95
# Of AdamW's steps the root of the mean square is 0.2 to 0.4.
_LIKE_ADAMW = 0.2
_ITERATIONS = 5
# Of the odd polynomial a x + b x^3 + c x^5, which takes singular values to 0.7 to 1.2, roughly.
_A, _B, _C = 3.4445, -4.7750, 2.0315
# Stems, heads and depthwise filters have too few rows or columns to turn.
_LEAST = 10


def is_matrix(parameter: nn.Parameter) -> bool:
    """Tell whether Muon shall train this: a linear layer or a 2-D convolution, wide on both sides.

    Args:
        parameter: of a network.
    """
    if parameter.ndim not in (2, 4):
        return False
    return min(parameter.shape[:2]) >= _LEAST


class Muon(torch.optim.Optimizer):
    """Trains matrices, those of one shape at once.

    Attributes:
        found_inf: 1 where the gradients are not finite, so that the step changes nothing; a tensor
            without dimensions on their device, as torch's fused optimisers have it, or None.
    """

    found_inf: Tensor | None = None

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        """Take what `is_matrix` is true of.

        Args:
            parameters: linear layers (out, in), convolutions (out, in, height, width), transposed
                ones (in, out, height, width); all on one device.
            lr: learning rate, of the size that AdamW takes.
            weight_decay: share of the weights that a step takes away, times the rate.
        """
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient.

        Args:
            closure: none is called; torch's signature.
        """
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            for _, alike in groupby(sorted(trained, key=_sides), key=_sides):
                self._move(list[Tensor](alike), group)

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        rate = group["lr"]
        if self.found_inf is not None:
            good = 1 - self.found_inf
            grads = [torch.where(good > 0, g, m) for g, m in zip(grads, momenta, strict=True)]
            rate = rate * good
        torch._foreach_lerp_(momenta, grads, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(grads, momenta, _MOMENTUM)  # Nesterov's
        turned = _orthogonal(torch.stack([_as_matrix(each) for each in ahead]))
        turned *= -_LIKE_ADAMW * max(turned.shape[1:]) ** 0.5 * rate
        torch._foreach_mul_(parameters, 1 - group["weight_decay"] * rate)
        moves = [_like(matrix, p) for matrix, p in zip(turned, parameters, strict=True)]
        torch._foreach_add_(parameters, moves)


def _sides(parameter: Tensor) -> tuple[int, int]:
    """Return (out, in x height x width)."""
    return parameter.shape[0], parameter[0].numel()


def _as_matrix(weight: Tensor) -> Tensor:
    """Return (out, height x width x in), a view of what is laid out channels last."""
    return weight.movedim(1, -1).flatten(1)


def _like(matrix: Tensor, weight: Tensor) -> Tensor:
    """Undo `_as_matrix`."""
    out, channels, *kernel = weight.shape
    if matrix.shape[1] == channels:
        return matrix.view(weight.shape)  # strides as the weight's: one kernel then adds many
    return matrix.view(out, *kernel, channels).movedim(-1, 1)


def _orthogonal(matrices: Tensor) -> Tensor:
    """Return U V' of each U S V', roughly, by Newton-Schulz iteration.

    Args:
        matrices: (N, out, in).
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    if x.is_cuda:
        x = x.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=_B, alpha=_C), x, beta=_A)
    return (x.mT if tall else x).to(matrices.dtype).contiguous()
