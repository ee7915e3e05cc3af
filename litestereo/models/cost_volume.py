"""Cost volumes with disparity as channels: four dimensions at every step."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.registry import DISPARITY_LEVELS

__all__ = ["CostStem3d", "correlation_volume", "grouped_correlation_volume", "mean_over_groups"]


def correlation_volume(left: Tensor, right: Tensor, *, levels: int = DISPARITY_LEVELS) -> Tensor:
    """Correlate each left pixel with the right pixels 0, 1, 2, ... columns to its left.

    Args:
        left: (B, C, H, W) features of the left image.
        right: (B, C, H, W) features of the right image.
        levels: number of disparities D.

    Returns:
        (B, D, H, W): channel d holds the mean over channels of left[x] * right[x - d], and 0
        where x < d.
    """
    planes = [(left * right).mean(dim=1, keepdim=True)]
    padded = F.pad(right, (levels - 1, 0))
    for d in range(1, levels):
        shifted = padded[:, :, :, levels - 1 - d : -d]
        planes.append((left * shifted).mean(dim=1, keepdim=True))
    return torch.cat(planes, dim=1)


def grouped_correlation_volume(left: Tensor, right: Tensor, *, groups: int) -> Tensor:
    """Correlate group by group of neighbouring channels.

    Args:
        left: (B, C, H, W) features of the left image, C divisible by `groups`.
        right: (B, C, H, W) features of the right image.
        groups: number of groups G.

    Returns:
        (B * G, D, H, W), groups of one sample next to each other.
    """
    batch, channels, height, width = left.shape
    # Groups travel as batch: the same code as for one group, and no fifth dimension.
    shape = (batch * groups, channels // groups, height, width)
    return correlation_volume(left.reshape(shape), right.reshape(shape))


def mean_over_groups(volume: Tensor, *, groups: int) -> Tensor:
    """Average a (B * G, D, H, W) grouped volume to the (B, D, H, W) volume of all channels."""
    rows, levels, height, width = volume.shape
    flat = volume.reshape(rows // groups, groups, levels * height, width)
    return flat.mean(dim=1).reshape(rows // groups, levels, height, width)


class _Conv3dBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm3d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.bn(self.conv(x)))


class CostStem3d(nn.Sequential):
    """LAS1's first look at the volume: three 3x3x3 convolutions over disparity, rows, columns."""

    def __init__(self) -> None:
        """Build the 1 -> 4 -> 4 -> 1 channel chain."""
        super().__init__(_Conv3dBlock(1, 4), _Conv3dBlock(4, 4), _Conv3dBlock(4, 1))

    def forward(self, volume: Tensor) -> Tensor:
        """Map (B, D, H, W) to the same shape, values in [0, 6]."""
        return cast(Tensor, super().forward(volume.unsqueeze(1))).squeeze(1)
