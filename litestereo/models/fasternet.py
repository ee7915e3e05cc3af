"""FasterNet (arXiv 2303.03667): its block, and the T0 backbone of the LAS2 models."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["FasterNetBackbone", "FasterNetBlock", "WrappedFasterNetBlock"]


class _PartialConv(nn.Module):
    """A 3x3 convolution over the first quarter of the channels; the others pass unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mixed = channels // 4
        self.kept = channels - self.mixed
        self.partial_conv3 = nn.Conv2d(self.mixed, self.mixed, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed, kept = torch.split(x, [self.mixed, self.kept], dim=1)
        return torch.cat((self.partial_conv3(mixed), kept), dim=1)


class FasterNetBlock(nn.Module):
    """A partial convolution, then a two-layer pixelwise network, added to the input."""

    def __init__(self, channels: int, *, expansion: int) -> None:
        """Size the block; its inside is `expansion` times as wide as `channels`.

        Args:
            channels: of what goes in and comes out.
            expansion: how many times as wide a block is inside.
        """
        super().__init__()
        wide = expansion * channels
        self.spatial_mixing = _PartialConv(channels)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.GELU(),
            nn.Conv2d(wide, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: (B, C, H, W) float.
        """
        return x + cast(Tensor, self.mlp(self.spatial_mixing(x)))


class WrappedFasterNetBlock(nn.Module):
    """A `FasterNetBlock` under the name `block`, as the checkpoints have it off the backbone."""

    def __init__(self, channels: int, *, expansion: int) -> None:
        """Size the block as `FasterNetBlock` does.

        Args:
            channels: of what goes in and comes out.
            expansion: how many times as wide a block is inside.
        """
        super().__init__()
        self.block = FasterNetBlock(channels, expansion=expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape.

        Args:
            x: (B, C, H, W) float.
        """
        return cast(Tensor, self.block(x))


class _PatchEmbedding(nn.Module):
    """Cut the image into 4x4 patches of `channels` numbers each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, stride=4, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.proj(images)))


class _Downsample(nn.Module):
    """Halve height and width, double the channels."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(channels_in, 2 * channels_in, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(2 * channels_in)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.reduction(x)))


class _Stage(nn.Module):
    def __init__(self, channels: int, *, depth: int, first: bool) -> None:
        super().__init__()
        self.downsample = nn.Identity() if first else _Downsample(channels // 2)
        self.blocks = nn.Sequential(*(FasterNetBlock(channels, expansion=2) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.blocks(self.downsample(x)))


class FasterNetBackbone(nn.Module):
    """Feature maps at 1/4, 1/8, 1/16 and 1/32 with 40, 80, 160 and 320 channels."""

    def __init__(self) -> None:
        """Build the four stages of the T0 size."""
        super().__init__()
        self.patch_embed = _PatchEmbedding(40)
        self.stages_0 = _Stage(40, depth=1, first=True)
        self.stages_1 = _Stage(80, depth=2, first=False)
        self.stages_2 = _Stage(160, depth=8, first=False)
        self.stages_3 = _Stage(320, depth=2, first=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map normalised images (B, 3, H, W) to the four maps, finest first.

        Args:
            images: (B, 3, H, W) float, normalised.
        """
        c2 = self.stages_0(self.patch_embed(images))
        c3 = self.stages_1(c2)
        c4 = self.stages_2(c3)
        return c2, c3, c4, self.stages_3(c4)
