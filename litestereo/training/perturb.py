"""What a student sees in place of the clean pair: other light, other cameras, things in the way.

Nothing moves, so the disparity of the clean pair stays the right answer. Ranges of gamma and blur
as in the LAS2 paper (section on stage two), everything else of the size that rigs differ by.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from litestereo.training.scenes.camera import blur, grey, jpeg, noise, per_eye
from litestereo.training.scenes.random import Draw

__all__ = ["perturb"]

_PATCHES = 3


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it would be cut at every draw
@torch.no_grad()
def perturb(draw: Draw, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Change the colours of a batch, often differently in both eyes, and hide parts of the right.

    Args:
        draw: source of randomness.
        left: (B, 3, H, W) RGB, 0..255; H and W multiples of 8.
        right: likewise.

    Returns:
        Both pictures, float32 whole numbers in 0..255, and (B, 1, H, W) bool, true where the right
        one is hidden.
    """
    pair = torch.stack([left, right], 1).float() / 255
    pair = _jitter(draw, pair)
    pair = blur(draw, pair)
    pair = noise(draw, pair)
    pair = grey(draw, pair)
    pair = jpeg(draw, pair.clamp(0, 1))
    pair = (pair.clamp(0, 1) * 255).round()
    right, hidden = _erased(draw, pair[:, 1])
    return pair[:, 0].contiguous(), right, hidden


def _jitter(draw: Draw, pair: Tensor) -> Tensor:
    """Change brightness, contrast, saturation, white balance and gamma; in half the rigs by eye."""
    batch = pair.shape[0]
    by_eye = draw.chance(batch, 1, 1, p=0.5)

    def spread(channels: int, shared: float, own: float) -> Tensor:
        return per_eye(
            draw.normal(batch, 1, channels, std=shared),
            draw.normal(batch, 2, channels, std=own) * by_eye,
        )

    mean = pair.mean((2, 3, 4), keepdim=True)
    pair = mean + (pair - mean) * spread(1, 0.2, 0.08).clamp(-0.6, 0.6).exp()
    luma = pair.mean(2, keepdim=True)
    pair = luma + (pair - luma) * (1 + spread(1, 0.3, 0.1).clamp(-1, 1))
    pair = pair * (spread(1, 0.2, 0.1) + spread(3, 0.05, 0.03)).clamp(-0.7, 0.7).exp()
    gamma = draw.log_uniform(batch, 1, 1, low=0.7, high=1.5).log()
    gamma = per_eye(gamma, draw.normal(batch, 2, 1, std=0.06) * by_eye)
    return pair.clamp(1e-4, 1) ** gamma.exp()


def _erased(draw: Draw, right: Tensor) -> tuple[Tensor, Tensor]:
    """Cover up to three rectangles of half of the right pictures with their mean colour.

    What is hidden from one eye must be filled in from its surroundings (as in RAFT-Stereo).
    """
    batch, _, height, width = right.shape
    row = torch.arange(height, device=right.device).view(1, -1, 1)
    column = torch.arange(width, device=right.device).view(1, 1, -1)
    hidden = torch.zeros((batch, height, width), dtype=torch.bool, device=right.device)
    some = draw.chance(batch, 1, 1, p=0.5)
    for _ in range(_PATCHES):
        used = some & draw.chance(batch, 1, 1, p=0.6)
        tall = height * draw.uniform(batch, 1, 1, low=0.08, high=0.25)
        wide = width * draw.uniform(batch, 1, 1, low=0.04, high=0.16)
        top = height * draw.uniform(batch, 1, 1, low=-0.1)
        start = width * draw.uniform(batch, 1, 1, low=-0.1)
        inside = (row >= top) & (row < top + tall) & (column >= start) & (column < start + wide)
        hidden |= inside & used
    mean = F.adaptive_avg_pool2d(right, 1).round()
    return torch.where(hidden[:, None], mean, right).contiguous(), hidden[:, None]
