"""Small parts that several networks share, and the rule for where FP32 is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ConvBlock", "InstanceNorm", "PyramidLevel", "full_precision"]

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` compute in at least float32, also inside an autocast region.

    Half-precision tensor arguments are cast up. Disparities need it: float16 numbers are 1/8 px
    apart beyond 128 px, and a sum over 48 levels in float16 is off by up to 0.2 px.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        args = cast("P.args", tuple(_upcast(value) for value in args))
        kinds = {value.device.type for value in args if isinstance(value, Tensor)}
        # Entered only when there is something to switch off, so that exporters meet no context.
        for kind in kinds:
            if torch.is_autocast_enabled(kind):
                with torch.autocast(kind, enabled=False):
                    return function(*args, **kwargs)
        return function(*args, **kwargs)

    return wrapper


def _upcast(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


class InstanceNorm(nn.Module):
    """Normalise each channel of each sample over its pixels, in float32; no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, zero mean and unit variance over H x W."""
        return _instance_norm(x)


@full_precision
def _instance_norm(x: Tensor) -> Tensor:
    return F.instance_norm(x, eps=1e-5)


class ConvBlock(nn.Module):
    """A convolution, then at most one norm and one activation, named as in the checkpoints."""

    def __init__(
        self, conv: nn.Module, norm: nn.Module | None = None, *, activation: nn.Module | None = None
    ) -> None:
        """Chain the given parts."""
        super().__init__()
        parts = (conv, norm, activation)
        self.block = nn.Sequential(*(part for part in parts if part is not None))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the parts in order to (B, C, H, W)."""
        return cast(Tensor, self.block(x))


class PyramidLevel(nn.Module):
    """Bring a coarse map up by two and fuse it with the finer one."""

    def __init__(self, low_channels: int, high_channels: int) -> None:
        """Size the level; its output has `high_channels`."""
        super().__init__()
        high = high_channels
        up = nn.ConvTranspose2d(low_channels, high, 4, stride=2, padding=1, bias=False)
        fuse = nn.Conv2d(2 * high, high, 3, padding=1, bias=False)
        self.deconv = ConvBlock(up, nn.BatchNorm2d(high), activation=nn.LeakyReLU(0.2))
        self.conv = ConvBlock(fuse, nn.BatchNorm2d(high), activation=nn.LeakyReLU(0.2))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Fuse `low` (B, L, H/2, W/2) into `high` (B, C, H, W); gives (B, C, H, W)."""
        return cast(Tensor, self.conv(torch.cat((high, self.deconv(low)), dim=1)))
