"""MobileNetV2 (arXiv 1801.04381) up to 1/32: the backbone of LAS1, with its checkpoint's names."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["MobileNetBackbone"]


class _SeparableConv(nn.Module):
    """The first block: depthwise 3x3, then a linear 1x1."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(
            channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv_pw = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.bn1(self.conv_dw(x)))
        return cast(Tensor, self.bn2(self.conv_pw(x)))


class _InvertedResidual(nn.Module):
    """Widen six times by 1x1, depthwise 3x3, narrow by a linear 1x1; add the input if it fits."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        wide = 6 * channels_in
        self.residual = stride == 1 and channels_in == channels_out
        self.conv_pw = nn.Conv2d(channels_in, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv_dw = nn.Conv2d(wide, wide, 3, stride=stride, padding=1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv_pwl = nn.Conv2d(wide, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self.bn1(self.conv_pw(x)))
        y = nn.functional.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.residual else cast(Tensor, y)


def _stage(channels_in: int, channels_out: int, *, depth: int, stride: int) -> nn.Sequential:
    first = _InvertedResidual(channels_in, channels_out, stride=stride)
    rest = (_InvertedResidual(channels_out, channels_out, stride=1) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


class MobileNetBackbone(nn.Module):
    """Feature maps at 1/4, 1/8, 1/16 and 1/32 with 24, 32, 96 and 160 channels."""

    def __init__(self) -> None:
        """Build all stages; convolutions carry no bias."""
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.block0 = nn.Sequential(_SeparableConv(32, 16))
        self.block1 = _stage(16, 24, depth=2, stride=2)
        self.block2 = _stage(24, 32, depth=3, stride=2)
        # The checkpoints keep the stages' numbers in the full MobileNetV2 here.
        wide = {
            "3": _stage(32, 64, depth=4, stride=2),
            "4": _stage(64, 96, depth=3, stride=1),
        }
        self.block3 = nn.Sequential(OrderedDict(wide))
        self.block4 = _stage(96, 160, depth=3, stride=2)

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map normalised images (B, 3, H, W) to the four maps, finest first.

        Args:
            images: (B, 3, H, W) float, normalised.
        """
        x = torch.nn.functional.relu6(self.bn1(self.conv_stem(images)))
        c2 = self.block1(self.block0(x))
        c3 = self.block2(c2)
        c4 = self.block3(c3)
        return c2, c3, c4, self.block4(c4)
