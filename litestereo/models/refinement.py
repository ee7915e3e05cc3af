"""From scores to a full-size disparity and its confidence; all of it in FP32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.layers import ConvBlock, InstanceNorm, full_precision
from litestereo.models.registry import DISPARITY_LEVELS

__all__ = [
    "confidence_from_distribution",
    "context_head",
    "convex_upsample",
    "distribution_from_cost",
    "expected_disparity",
    "image_stem",
]


@full_precision
def distribution_from_cost(cost: Tensor) -> Tensor:
    """Turn scores (B, 48, H/4, W/4) into the probability of each disparity level, same shape.

    Args:
        cost: (B, 48, H/4, W/4) float.
    """
    return torch.softmax(cost, dim=1)


@full_precision
def expected_disparity(probability: Tensor) -> Tensor:
    """Average the levels by their probability (B, 48, H/4, W/4); gives (B, 1, H/4, W/4).

    Args:
        probability: (B, 48, H/4, W/4) float, sum 1 over the levels.
    """
    # Multiply and sum, not a convolution or product of matrices: those may run in TF32, whose
    # 10-bit mantissa is worth 0.03 quarter pixels at the far end of the range.
    return (probability * _levels(probability)).sum(dim=1, keepdim=True)


@full_precision
def confidence_from_distribution(probability: Tensor, disparity: Tensor) -> Tensor:
    """Rate how sharply the distribution gathers around the disparity that was chosen.

    With v = sum_k p_k (k - d)^2, the second moment of the level distribution p about the final
    quarter-size disparity d, the confidence is 1 / (1 + sqrt(v)): 1 where all mass is on d, 1/2
    where it lies one quarter-size pixel (four pixels) off, towards 0 where it is spread.

    Args:
        probability: (B, 48, H/4, W/4) probability p of each level k.
        disparity: (B, 1, H/4, W/4) final disparity d in quarter pixels.

    Returns:
        (B, 1, H, W) in (0, 1], bilinear between the quarter-size values.
    """
    # About d from the start: E[k^2] - 2 d E[k] + d^2 would save a pass over the levels, and lose
    # the narrow distributions to cancellation (squares reach 2209, FP32 keeps 7 digits).
    offset = _levels(probability) - disparity
    moment = (probability * offset * offset).sum(dim=1, keepdim=True)
    # The floor keeps the root's slope finite for losses on the confidence.
    confidence = 1.0 / (1.0 + moment.clamp(min=1e-6).sqrt())
    return F.interpolate(confidence, scale_factor=4.0, mode="bilinear", align_corners=False)


def _levels(like: Tensor) -> Tensor:
    levels = torch.arange(DISPARITY_LEVELS, dtype=like.dtype, device=like.device)
    return levels.view(1, -1, 1, 1)


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
    """Make the two convolutions that bring the left image to (B, 16, H/2, W/2).

    Args:
        instance_norm: normalise each picture by itself instead of by BatchNorm.
    """

    def norm() -> nn.Module:
        return InstanceNorm() if instance_norm else nn.BatchNorm2d(16)

    first = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
    second = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    return nn.Sequential(
        ConvBlock(first, norm(), activation=nn.LeakyReLU(0.01)),
        ConvBlock(second, norm(), activation=nn.ReLU()),
    )


def context_head(channels: int) -> nn.Sequential:
    """Make the two convolutions that turn left features into upsampling context, same shape.

    Args:
        channels: of the left features.
    """

    def conv() -> nn.Conv2d:
        return nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    return nn.Sequential(
        ConvBlock(conv(), InstanceNorm(), activation=nn.LeakyReLU(0.01)),
        ConvBlock(conv(), InstanceNorm(), activation=nn.ReLU()),
    )
