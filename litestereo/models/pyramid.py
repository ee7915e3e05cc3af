"""Feature pyramids: a backbone whose coarse maps are carried back up to 1/4 of the image."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.fasternet import FasterNetBackbone
from litestereo.models.layers import ConvBlock, InstanceNorm, PyramidLevel
from litestereo.models.mobilenet import MobileNetBackbone

__all__ = ["FasterNetPyramid", "Features", "MobileNetPyramid"]

Features = tuple[Tensor, Tensor, Tensor, Tensor]
"""Maps of one batch at 1/4, 1/8, 1/16 and 1/32, finest first."""


class _ReplicatingConv2d(nn.Conv2d):
    """A 3x3 convolution, padding 1 by the border's own values.

    Training puts the border together itself: torch.compile takes the gradient of PyTorch's
    replicating pad to be laid out otherwise than it is (seen with torch 2.13 on a CPU).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, padding_mode="replicate", bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        rows = torch.cat([input[:, :, :1], input, input[:, :, -1:]], 2)
        padded = torch.cat([rows[..., :1], rows, rows[..., -1:]], 3)
        return F.conv2d(padded, self.weight)


def _out_conv(channels: int) -> ConvBlock:
    return ConvBlock(_ReplicatingConv2d(channels), InstanceNorm())


class MobileNetPyramid(MobileNetBackbone):
    """Features of LAS1; backbone and pyramid share one level of names in its checkpoint."""

    def __init__(self) -> None:
        """Build the backbone and the three levels."""
        super().__init__()
        self.fpn_layer4 = PyramidLevel(160, 96)
        self.fpn_layer3 = PyramidLevel(96, 32)
        self.fpn_layer2 = PyramidLevel(32, 24)
        self.out_conv = _out_conv(24)

    def forward(self, images: Tensor) -> Features:
        """Map normalised images (B, 3, H, W) to 24, 32, 96 and 160 channels.

        Args:
            images: (B, 3, H, W) float, normalised.
        """
        c2, c3, c4, c5 = self.extract(images)
        p4 = self.fpn_layer4(c5, c4)
        p3 = self.fpn_layer3(p4, c3)
        p2 = self.fpn_layer2(p3, c2)
        return cast(Tensor, self.out_conv(p2)), p3, p4, c5


class FasterNetPyramid(nn.Module):
    """Features of the LAS2 models."""

    def __init__(self) -> None:
        """Build the backbone and the three levels."""
        super().__init__()
        self.backbone = FasterNetBackbone()
        self.fpn_layer4 = PyramidLevel(320, 160)
        self.fpn_layer3 = PyramidLevel(160, 80)
        self.fpn_layer2 = PyramidLevel(80, 40)
        self.out_conv = _out_conv(40)

    def forward(self, images: Tensor) -> Features:
        """Map normalised images (B, 3, H, W) to 40, 80, 160 and 320 channels.

        Args:
            images: (B, 3, H, W) float, normalised.
        """
        c2, c3, c4, c5 = self.backbone(images)
        p4 = self.fpn_layer4(c5, c4)
        p3 = self.fpn_layer3(p4, c3)
        p2 = self.fpn_layer2(p3, c2)
        return cast(Tensor, self.out_conv(p2)), p3, p4, c5
