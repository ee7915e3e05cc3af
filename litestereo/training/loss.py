"""The losses of the stages and the figures that are watched while training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from litestereo.models.registry import DISPARITY_LEVELS

__all__ = [
    "disparity_loss",
    "distribution_loss",
    "edge_weights",
    "feature_loss",
    "supervised_loss",
    "training_metrics",
]

_COARSE_WEIGHT = 0.3
_ITERATION_DECAY = 0.9
# An edge: two neighbours more than so many pixels of disparity apart, and so many pixels on.
_EDGE_STEP_PX, _EDGE_REACH = 2.0, 3
# Of the error itself beside its logarithm, so that the largest ones keep pulling.
_LINEAR = 0.02


def supervised_loss(
    predictions: Sequence[Tensor],
    coarse_px: Tensor,
    truth_px: Tensor,
    weight: Tensor,
    *,
    robust_px: float = 0.0,
) -> Tensor:
    """The error of the full-size predictions and, weighted 0.3, of the coarse disparity.

    Args:
        predictions: full-size disparities (B, 1, H, W), the best one last; several for recurrent
            networks, where earlier ones weigh 0.9 less each (RAFT-Stereo, equation 5).
        coarse_px: (B, 1, H/4, W/4) disparity in full-size pixels.
        truth_px: (B, 1, H, W) ground truth.
        weight: (B, 1, H, W) how much each pixel counts, or bool.
        robust_px: as of `disparity_loss`.
    """
    count = len(predictions)
    total = torch.zeros((), device=truth_px.device)
    for i, prediction in enumerate(predictions):
        total = total + _ITERATION_DECAY ** (count - 1 - i) * disparity_loss(
            prediction, truth_px, weight, robust_px=robust_px
        )
    size = (truth_px.shape[-2], truth_px.shape[-1])
    grown = F.interpolate(coarse_px, size=size, mode="bilinear", align_corners=False)
    coarse = disparity_loss(grown, truth_px, weight, robust_px=robust_px)
    return total + _COARSE_WEIGHT * coarse


def disparity_loss(
    prediction: Tensor, truth: Tensor, weight: Tensor, *, robust_px: float = 0.0
) -> Tensor:
    """Return the weighted mean of an error in disparity; all of shape (B, 1, H, W).

    Smooth-L1, or s log(1 + e / s) + 0.02 e of each error e: it pulls hardest at the smallest errors
    and half as hard at s, so that the few pixels that nobody can know do not rule the gradient.
    (Log-sum penalty: Candes, Wakin & Boyd 2008, arXiv 0711.1612.)

    Args:
        prediction: pixels.
        truth: pixels, finite everywhere.
        weight: how much each pixel counts, or bool.
        robust_px: s; 0 is smooth-L1.
    """
    if robust_px:
        error = (prediction.float() - truth).abs()
        loss = robust_px * torch.log1p(error / robust_px) + _LINEAR * error
    else:
        loss = F.smooth_l1_loss(prediction.float(), truth, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def distribution_loss(scores: Tensor, truth_px: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy of the levels' distribution against the truth, per 4x4 block.

    An error of the mean alone leaves the distribution free to be wide or to have several peaks. The
    truth of a block is the median of its pixels: beside a step it is on one side, and pixels of the
    other side take a neighbour's by the convex upsampling. It is shared by the two levels next to
    it, whose mean it is. (Of one Laplacian or several: Xu et al. 2024, arXiv 2306.15612.)

    Args:
        scores: (B, 48, H/4, W/4) before their softmax, any precision.
        truth_px: (B, 1, H, W) ground truth, pixels, finite everywhere.
        weight: (B, 1, H, W) how much each pixel counts, or bool; a block counts as their mean.
    """
    with torch.no_grad():
        weights = F.pixel_unshuffle(weight.float(), 4)
        known = weights > 0
        ordered = F.pixel_unshuffle(truth_px, 4).where(known, torch.inf).sort(dim=1).values
        middle = (known.sum(dim=1, keepdim=True) - 1).clamp(min=0) // 2
        level = (ordered.gather(1, middle) / 4).clamp(max=DISPARITY_LEVELS - 1)
        lower = level.floor().clamp(max=DISPARITY_LEVELS - 2)
        upper_share = level - lower
        counts = weights.mean(dim=1, keepdim=True)
    logarithms = F.log_softmax(scores.float(), dim=1)
    likely = [logarithms.gather(1, lower.long() + i) for i in (0, 1)]
    loss = -((1 - upper_share) * likely[0] + upper_share * likely[1])
    return (loss * counts).sum() / counts.sum().clamp(min=1)


@torch.no_grad()
def edge_weights(truth_px: Tensor, valid: Tensor, *, weight: float) -> Tensor:
    """Return how much each pixel counts: `weight` within 4 px of a step in disparity, else 1.

    Nothing where the truth is not valid. A step is between neighbours more than 2 px apart.

    Args:
        truth_px: (B, 1, H, W) ground truth.
        valid: (B, 1, H, W) bool, the pixels that count.
        weight: of edges.
    """
    steps = torch.zeros_like(truth_px)
    for axis in (2, 3):
        last = truth_px.shape[axis] - 1
        known = valid.narrow(axis, 0, last) & valid.narrow(axis, 1, last)
        step = ((truth_px.diff(dim=axis).abs() > _EDGE_STEP_PX) & known).float()
        steps.narrow(axis, 0, last).add_(step)
        steps.narrow(axis, 1, last).add_(step)
    near = F.max_pool2d(steps, 2 * _EDGE_REACH + 1, stride=1, padding=_EDGE_REACH) > 0
    return torch.where(near, weight, 1.0) * valid


def feature_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], *, hidden: Tensor | None = None
) -> Tensor:
    """Return 1 - cosine between feature vectors, averaged over places and then over the maps.

    Args:
        student: maps of (B, C, H, W), any precision.
        teacher: maps of the same shapes.
        hidden: (B, 1, H', W') bool of the picture, true where the student sees nothing; a place
            counts by the share of it that is seen.
    """
    losses = []
    for mine, theirs in zip(student, teacher, strict=True):
        apart = 1 - F.cosine_similarity(mine.float(), theirs.float(), dim=1)
        if hidden is None:
            losses.append(apart.mean())
            continue
        size = (mine.shape[-2], mine.shape[-1])
        seen = 1 - F.adaptive_avg_pool2d(hidden.float(), size)[:, 0]
        losses.append((apart * seen).sum() / seen.sum().clamp(min=1e-6))
    return torch.stack(losses).mean()


@torch.no_grad()
def training_metrics(prediction: Tensor, truth_px: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Return the end-point error (px), and the shares (%) worse than 1 px and of KITTI's D1.

    All are NaN where no pixel is valid.

    Args:
        prediction: (B, 1, H, W), pixels.
        truth_px: same shape, finite everywhere.
        valid: which pixels count.
    """
    error = (prediction - truth_px).abs()
    count = valid.sum()
    bad1 = (error > 1) & valid
    d1 = (error > 3) & (error > 0.05 * truth_px) & valid
    return {
        "epe_px": (error * valid).sum() / count,
        "bad1": 100 * bad1.sum() / count,
        "d1": 100 * d1.sum() / count,
    }
