"""ConvNeXt (arXiv 2201.03545): the block and the downsampling of LAS1's aggregation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ChannelNorm", "ConvNeXtBlock"]


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        """Size the norm; eps is 1e-6."""
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, norm and a two-layer pixelwise network, scaled and added to the input."""

    def __init__(self, channels: int, *, expansion: int, layer_scale_init: float) -> None:
        """Size the block; `gamma`, the scale per channel, starts at `layer_scale_init`."""
        super().__init__()
        wide = expansion * channels
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale_init))
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, wide)
        self.pwconv2 = nn.Linear(wide, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + cast(Tensor, y.permute(0, 3, 1, 2))
