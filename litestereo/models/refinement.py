"""From scores to a full-size disparity and its confidence; all of it in FP32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.layers import ConvBlock, InstanceNorm, full_precision

__all__ = [
    "DisparityDistribution",
    "confidence_from_distribution",
    "context_head",
    "convex_upsample",
    "distribution_from_cost",
    "image_stem",
]


class DisparityDistribution(NamedTuple):
    """First two moments of the distribution over levels, in quarter pixels.

    Attributes:
        mean: (B, 1, H/4, W/4) expected disparity: the soft-argmax.
        square: (B, 1, H/4, W/4) expected squared disparity.
    """

    mean: Tensor
    square: Tensor


@full_precision
def distribution_from_cost(cost: Tensor) -> DisparityDistribution:
    """Read scores (B, D, H/4, W/4) as a softmax distribution over the levels 0..D-1."""
    probability = torch.softmax(cost, dim=1)
    levels = torch.arange(cost.shape[1], dtype=cost.dtype, device=cost.device).view(1, -1, 1, 1)
    # Multiply and sum, not a convolution or product of matrices: those may run in TF32, whose
    # 10-bit mantissa is worth 0.03 quarter pixels at the far end of the range.
    first = probability * levels
    mean = first.sum(dim=1, keepdim=True)
    square = (first * levels).sum(dim=1, keepdim=True)
    return DisparityDistribution(mean, square)


@full_precision
def confidence_from_distribution(mean: Tensor, square: Tensor, disparity: Tensor) -> Tensor:
    """Rate how sharply the distribution gathers around the disparity that was chosen.

    With v = sum_k p_k (k - d)^2, the second moment of the level distribution p about the final
    quarter-size disparity d, the confidence is 1 / (1 + sqrt(v)): 1 where all mass is on d, 1/2
    where it is one quarter-size pixel (four pixels) away from it, towards 0 where it is spread.

    Args:
        mean: (B, 1, H/4, W/4) sum_k p_k k.
        square: (B, 1, H/4, W/4) sum_k p_k k^2.
        disparity: (B, 1, H/4, W/4) final disparity d in quarter pixels.

    Returns:
        (B, 1, H, W) in (0, 1], bilinear between the quarter-size values.
    """
    moment = square - 2.0 * disparity * mean + disparity * disparity
    # Rounding can leave a small negative number; the floor also keeps the root's slope finite.
    deviation = moment.clamp(min=1e-6).sqrt()
    confidence = 1.0 / (1.0 + deviation)
    return F.interpolate(confidence, scale_factor=4.0, mode="bilinear", align_corners=False)


@full_precision
def convex_upsample(disparity_quarter: Tensor, mask_logits: Tensor) -> Tensor:
    """Bring a disparity to full size, each pixel a weighted mean of its 3x3 coarse neighbours.

    Args:
        disparity_quarter: (B, 1, H/4, W/4) in quarter pixels.
        mask_logits: (B, 9, H, W) weights before their softmax; neighbours row by row.

    Returns:
        (B, 1, H, W) disparity in pixels.

    Convention: neighbours beyond the border count as disparity 0, as in the published models.
    """
    padded = F.pad(4.0 * disparity_quarter, (1, 1, 1, 1))
    # Slices rather than one-hot filters: a filter is exact too, until it runs in TF32.
    ends = (-2, -1, None)
    shifts = [padded[:, :, y : ends[y], x : ends[x]] for y in range(3) for x in range(3)]
    neighbours = F.interpolate(torch.cat(shifts, dim=1), scale_factor=4.0, mode="nearest")
    return (torch.softmax(mask_logits, dim=1) * neighbours).sum(dim=1, keepdim=True)


def image_stem(*, instance_norm: bool = False) -> nn.Sequential:
    """Make the two convolutions that bring the left image to (B, 16, H/2, W/2)."""

    def norm() -> nn.Module:
        return InstanceNorm() if instance_norm else nn.BatchNorm2d(16)

    first = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
    second = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    return nn.Sequential(
        ConvBlock(first, norm(), activation=nn.LeakyReLU(0.01)),
        ConvBlock(second, norm(), activation=nn.ReLU()),
    )


def context_head(channels: int) -> nn.Sequential:
    """Make the two convolutions that turn left features into upsampling context, same shape."""

    def conv() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    return nn.Sequential(
        ConvBlock(conv(), InstanceNorm(), activation=nn.LeakyReLU(0.01)),
        ConvBlock(conv(), InstanceNorm(), activation=nn.ReLU()),
    )
