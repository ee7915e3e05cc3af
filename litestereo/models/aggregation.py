"""Cost aggregation: a U-Net over the 48 disparity channels, steered by the left image."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from litestereo.models.convnext import ChannelNorm, ConvNeXtBlock
from litestereo.models.fasternet import FasterNetBlock, WrappedFasterNetBlock
from litestereo.models.pyramid import Features
from litestereo.models.registry import DISPARITY_LEVELS

__all__ = ["ConvNeXtAggregation", "FasterNetAggregation", "ImageAttention"]

_C4, _C8, _C16 = DISPARITY_LEVELS, 2 * DISPARITY_LEVELS, 4 * DISPARITY_LEVELS


class ImageAttention(nn.Module):
    """Multiply a cost map by gates made from image features with long row and column strips."""

    def __init__(self, feature_channels: int, cost_channels: int) -> None:
        """Size the gates for one scale.

        Args:
            feature_channels: of the left features at this scale.
            cost_channels: of the volume at this scale.
        """
        super().__init__()
        c = cost_channels
        self.conv0 = nn.Conv2d(feature_channels, c, 1)
        self.conv0_1, self.conv0_2 = _strip(c, 7)
        self.conv1_1, self.conv1_2 = _strip(c, 11)
        self.conv2_1, self.conv2_2 = _strip(c, 21)
        self.conv3 = nn.Conv2d(c, c, 1)

    def forward(self, cost: Tensor, features: Tensor) -> Tensor:
        """Gate `cost` (B, C, H, W) by `features` (B, F, H, W).

        Args:
            cost: (B, C, H, W) float.
            features: (B, F, H, W) float.
        """
        base = self.conv0(features)
        short = self.conv0_2(self.conv0_1(base))
        middle = self.conv1_2(self.conv1_1(base))
        long = self.conv2_2(self.conv2_1(base))
        return cost * cast(Tensor, self.conv3(base + short + middle + long))


def _strip(channels: int, length: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    half = length // 2
    row = nn.Conv2d(channels, channels, (1, length), padding=(0, half), groups=channels)
    column = nn.Conv2d(channels, channels, (length, 1), padding=(half, 0), groups=channels)
    return row, column


def _upsample(channels_in: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(
        channels_in, channels_in // 2, 3, stride=2, padding=1, output_padding=1, bias=False
    )


def _repeat(block: Callable[[], nn.Module], times: int) -> nn.Sequential:
    return nn.Sequential(*(block() for _ in range(times)))


class ConvNeXtAggregation(nn.Module):
    """LAS1's aggregation: ConvNeXt blocks at 1/4, 1/8 and 1/16."""

    def __init__(
        self,
        feature_channels: tuple[int, int, int, int],
        blocks: tuple[int, int, int],
        *,
        expansion: int,
        layer_scale_init: float,
    ) -> None:
        """Build the U-Net with so many `blocks` at each scale.

        Args:
            feature_channels: of the left features at 1/4, 1/8, 1/16 and 1/32.
            blocks: how many at 1/4, 1/8 and 1/16.
            expansion: how many times as wide a block is inside.
            layer_scale_init: where the scale per channel of a ConvNeXt block starts.
        """
        super().__init__()

        def block(channels: int) -> ConvNeXtBlock:
            return ConvNeXtBlock(channels, expansion=expansion, layer_scale_init=layer_scale_init)

        f4, f8, f16, _ = feature_channels
        self.conv0 = _repeat(lambda: block(_C4), blocks[0])
        self.conv1 = nn.Sequential(ChannelNorm(_C4), nn.Conv2d(_C4, _C8, 2, stride=2))
        self.conv2 = _repeat(lambda: block(_C8), blocks[1])
        self.conv3 = nn.Sequential(ChannelNorm(_C8), nn.Conv2d(_C8, _C16, 2, stride=2))
        self.conv4 = _repeat(lambda: block(_C16), blocks[2])
        self.upconv1 = nn.Sequential(_upsample(_C16))
        self.upconv2 = nn.Sequential(_upsample(_C8))
        self.redir1 = block(_C4)
        self.redir2 = block(_C8)
        self.att4 = ImageAttention(f4, _C4)
        self.att8 = ImageAttention(f8, _C8)
        self.att16 = ImageAttention(f16, _C16)

    def forward(self, cost: Tensor, features: Features) -> Tensor:
        """Map the volume (B, 48, H/4, W/4) and left features to scores of the same shape, >= 0.

        Args:
            cost: (B, 48, H/4, W/4) float.
            features: of the left picture, finest first.
        """
        if self.training:
            # cuDNN's depthwise kernels take a third of the time on it (H200: 0.54 ms for 1.9).
            cost = cost.contiguous(memory_format=torch.channels_last)
        cost4 = self.att4(self.conv0(cost), features[0])
        cost8 = self.att8(self.conv2(self.conv1(cost4)), features[1])
        cost16 = self.att16(self.conv4(self.conv3(cost8)), features[2])
        up8 = torch.relu(self.upconv1(cost16) + self.redir2(cost8))
        # Unlike LAS2, the finest skip starts from the volume as it came in.
        return torch.relu(self.upconv2(up8) + self.redir1(cost))


class _FasterNetDown(nn.Module):
    """Halve the size, double the channels, then one block."""

    def __init__(self, channels_in: int, *, expansion: int) -> None:
        super().__init__()
        channels = 2 * channels_in
        self.proj = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.block = FasterNetBlock(channels, expansion=expansion)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.block(self.proj(x)))


class FasterNetAggregation(nn.Module):
    """The aggregation of the LAS2 models: FasterNet blocks at 1/4, 1/8 and 1/16."""

    def __init__(
        self,
        feature_channels: tuple[int, int, int, int],
        blocks: tuple[int, int, int],
        *,
        expansion: int,
    ) -> None:
        """Build the U-Net; at the coarser scales the downsampling holds the first block.

        Args:
            feature_channels: of the left features at 1/4, 1/8, 1/16 and 1/32.
            blocks: how many at 1/4, 1/8 and 1/16.
            expansion: how many times as wide a block is inside.
        """
        super().__init__()

        def block(channels: int) -> WrappedFasterNetBlock:
            return WrappedFasterNetBlock(channels, expansion=expansion)

        f4, f8, f16, _ = feature_channels
        self.conv0 = _repeat(lambda: block(_C4), blocks[0])
        self.conv1 = _FasterNetDown(_C4, expansion=expansion)
        self.conv2 = _repeat(lambda: block(_C8), blocks[1] - 1)
        self.conv3 = _FasterNetDown(_C8, expansion=expansion)
        self.conv4 = _repeat(lambda: block(_C16), blocks[2] - 1)
        self.conv5 = nn.Sequential(_upsample(_C16), nn.BatchNorm2d(_C8))
        self.conv6 = nn.Sequential(_upsample(_C8), nn.BatchNorm2d(_C4))
        self.redir1 = block(_C4)
        self.redir2 = block(_C8)
        self.att0 = ImageAttention(f4, _C4)
        self.att2 = ImageAttention(f8, _C8)
        self.att4 = ImageAttention(f16, _C16)

    def forward(self, cost: Tensor, features: Features) -> Tensor:
        """Map the volume (B, 48, H/4, W/4) and left features to scores of the same shape, >= 0.

        Args:
            cost: (B, 48, H/4, W/4) float.
            features: of the left picture, finest first.
        """
        cost4 = self.att0(self.conv0(cost), features[0])
        cost8 = self.att2(self.conv2(self.conv1(cost4)), features[1])
        cost16 = self.att4(self.conv4(self.conv3(cost8)), features[2])
        up8 = torch.relu(self.conv5(cost16) + self.redir2(cost8))
        return torch.relu(self.conv6(up8) + self.redir1(cost4))
