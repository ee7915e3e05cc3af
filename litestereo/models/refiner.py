"""Look once more, at full size: a choice among few disparities by what both pictures show there."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.models.layers import full_precision
from litestereo.models.registry import REFINER_PASSES

__all__ = ["Refiner"]

_CHANNELS = 32
# The network's own disparity, the largest and the smallest within 3 px, one pixel more and less.
_CANDIDATES = 5
_REACH = 3
# Beside how well each candidate matches: how far it is to the largest and to the smallest, whether
# the right picture holds the pixel, and the left picture.
_CONTEXT = 4
# Grey levels about their mean of 5x5 pixels, in units of this; differences count up to two units.
_LEVELS, _MOST = 16.0, 2.0
_STEP_PX = 4.0
# Before training: the network's own disparity, nearly.
_OWN_AT_FIRST = 4.0


class Refiner(nn.Module):
    """Corrects a full-size disparity where the pictures themselves say so.

    Networks that decide at a quarter of the size leave two kinds of error that both pictures show
    plainly at full size: edges a few pixels off, and fractions of a pixel. So each pixel is given
    five candidates: its disparity, the nearest and the farthest surface within 3 px, and one pixel
    more and less. Three convolutions see how well each matches and weigh them, like StereoNet's
    refinement (Khamis et al. 2018, arXiv 1807.08865), but with the right picture in sight. A second
    pass begins where the first one ended, so surfaces reach 6 px and fractions are tried anew.

    Attributes:
        passes: how often it looks.
    """

    def __init__(self, *, passes: int = REFINER_PASSES) -> None:
        """Build the three convolutions; at first hardly anything changes.

        Args:
            passes: how often it looks; none leaves the disparity as it is.
        """
        super().__init__()
        self.passes = passes
        inputs = _CANDIDATES + _CONTEXT
        self.conv0 = nn.Conv2d(inputs, _CHANNELS, 4, stride=2, padding=1)
        self.conv1 = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)
        self.conv2 = nn.ConvTranspose2d(_CHANNELS, _CANDIDATES, 4, stride=2, padding=1)
        nn.init.zeros_(self.conv2.weight)
        bias = cast(Tensor, self.conv2.bias)
        with torch.no_grad():
            bias.zero_()
            bias[0] = _OWN_AT_FIRST

    def forward(self, disparity: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Return the corrected disparity, (B, 1, H, W) float32, pixels.

        Gradients reach the given disparity as if it had only been added to.

        Args:
            disparity: (B, 1, H, W) float32, pixels; H and W even.
            left: (B, 3, H, W) float RGB, 0 to 255.
            right: same of the right camera.
        """
        seen, other = _detail(left), _detail(right)
        for _ in range(self.passes):
            given = torch.relu(disparity.detach())  # a pass may end a little below 0
            nearer, farther = _surfaces(given)
            x = torch.relu(self.conv0(_evidence(given, seen, other, nearer, farther)))
            x = torch.relu(self.conv1(x))
            disparity = disparity + _correction(self.conv2(x), nearer, farther)
        return disparity


@full_precision
def _surfaces(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much nearer and how much farther the outermost surfaces around are, in pixels."""
    size, margin = 2 * _REACH + 1, _REACH
    largest = F.max_pool2d(disparity, size, stride=1, padding=margin)
    smallest = -F.max_pool2d(-disparity, size, stride=1, padding=margin)
    return largest - disparity, disparity - smallest


@full_precision
def _evidence(
    disparity: Tensor, seen: Tensor, other: Tensor, nearer: Tensor, farther: Tensor
) -> Tensor:
    """Return (B, 9, H, W): what the convolutions see; `seen` and `other` are both eyes' detail."""
    columns = _columns(disparity)
    at = columns - disparity
    own, more, less = _read(other, at, shifts=(0, -1, 1))
    (near,), (far,) = (_read(other, at + change, shifts=(0,)) for change in (-nearer, farther))
    matched = torch.cat((own, near, far, more, less), dim=1)
    parts = (
        (matched - seen).abs().clamp(max=_MOST),
        (nearer / _STEP_PX).clamp(max=_MOST),
        (farther / _STEP_PX).clamp(max=_MOST),
        (0.5 - at).clamp(0.0, 1.0),  # a step would jump where two runtimes differ by rounding
        seen.clamp(-_MOST, _MOST),
    )
    return torch.cat(parts, dim=1)


@full_precision
def _correction(logits: Tensor, nearer: Tensor, farther: Tensor) -> Tensor:
    _, near, far, more, less = torch.softmax(logits, dim=1).chunk(_CANDIDATES, dim=1)
    return near * nearer - far * farther + (more - less)


@full_precision
def _detail(picture: Tensor) -> Tensor:
    """Return (B, 1, H, W): how much lighter a pixel is than those around it."""
    grey = picture.mean(dim=1, keepdim=True)
    around = F.avg_pool2d(grey, 5, stride=1, padding=2, count_include_pad=False)
    return (grey - around) / _LEVELS


def _columns(like: Tensor) -> Tensor:
    width = like.shape[3]
    return torch.arange(width, dtype=like.dtype, device=like.device).view(1, 1, 1, -1)


def _read(row: Tensor, at: Tensor, *, shifts: tuple[int, ...]) -> list[Tensor]:
    """Return (B, 1, H, W) for each shift: `row` at the columns `at + shift`, linear between two.

    Left of the picture its first column stands. `at` is no column right of its own, and no shift
    more than 1.
    """
    last = row[..., -1:]
    row = torch.cat((row, last, last), dim=3)
    whole = at.floor()
    share = at - whole
    # Not clamp, and not on integers: TensorRT 8.6 clips neither those nor to a computed bound.
    taps = {
        offset: torch.gather(row, 3, torch.relu(whole + offset).long())
        for offset in {shift + tap for shift in shifts for tap in (0, 1)}
    }
    return [taps[shift] * (1 - share) + taps[shift + 1] * share for shift in shifts]
