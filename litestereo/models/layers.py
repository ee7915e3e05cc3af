"""Small parts that several networks share, and the rule for where FP32 is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

__all__ = ["ConvBlock", "InstanceNorm", "PyramidLevel", "full_precision"]

_WITH_AUTOCAST = "cpu", "cuda"

F = TypeVar("F", bound=Callable[..., Any])


def full_precision(function: F) -> F:
    """Make `function` compute in at least float32, also inside an autocast region.

    Positional arguments are tensors; those in half precision are cast up. Disparities need it:
    float16 numbers are 1/8 px apart beyond 128 px, and a sum over 48 levels in float16 is off by
    up to 0.2 px.

    Args:
        function: takes tensors and keyword options.
    """

    @wraps(function)
    def wrapper(*tensors: Tensor, **options: Any) -> Any:  # noqa: ANN401 - as `function`
        kind = tensors[0].device.type
        tensors = tuple(_upcast(tensor) for tensor in tensors)
        # Entered only when there is something to switch off, so that exporters meet no context.
        # The devices by name: torch 2.11 cannot compile the question which of them have autocast,
        # and cuts LAS1 into 14 graphs there.
        if kind not in _WITH_AUTOCAST or not torch.is_autocast_enabled(kind):
            return function(*tensors, **options)
        with torch.autocast(kind, enabled=False):
            return function(*tensors, **options)

    return cast(F, wrapper)


def _upcast(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class InstanceNorm(nn.Module):
    """Normalise each channel of each sample over its pixels, in float32; no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, zero mean and unit variance over H x W.

        Args:
            x: (B, C, H, W) float.
        """
        return _instance_norm(x)


@full_precision
def _instance_norm(x: Tensor) -> Tensor:
    return nn.functional.instance_norm(x, eps=1e-5)


class ConvBlock(nn.Module):
    """A convolution, then at most one norm and one activation, named as in the checkpoints."""

    def __init__(
        self, conv: nn.Module, norm: nn.Module | None = None, *, activation: nn.Module | None = None
    ) -> None:
        """Chain the given parts.

        Args:
            conv: comes first.
            norm: comes next; None leaves it out.
            activation: comes last; None leaves it out.
        """
        super().__init__()
        parts = (conv, norm, activation)
        self.block = nn.Sequential(*(part for part in parts if part is not None))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the parts in order to (B, C, H, W).

        Args:
            x: (B, C, H, W) float.
        """
        return cast(Tensor, self.block(x))


class PyramidLevel(nn.Module):
    """Bring a coarse map up by two and fuse it with the finer one."""

    def __init__(self, low_channels: int, high_channels: int) -> None:
        """Size the level; its output has `high_channels`.

        Args:
            low_channels: of the coarser map.
            high_channels: of the finer map.
        """
        super().__init__()
        high = high_channels
        up = nn.ConvTranspose2d(low_channels, high, 4, stride=2, padding=1, bias=False)
        fuse = nn.Conv2d(2 * high, high, 3, padding=1, bias=False)
        self.deconv = ConvBlock(up, nn.BatchNorm2d(high), activation=nn.LeakyReLU(0.2))
        self.conv = ConvBlock(fuse, nn.BatchNorm2d(high), activation=nn.LeakyReLU(0.2))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Fuse `low` (B, L, H/2, W/2) into `high` (B, C, H, W); gives (B, C, H, W).

        Args:
            low: the coarser map.
            high: the finer map.
        """
        return cast(Tensor, self.conv(torch.cat((high, self.deconv(low)), dim=1)))
